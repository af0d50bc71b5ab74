"""What changed between two versions of the code that a notebook runs, statement by statement.

What only moved, or was renamed together with its users, did not change.
"""

from __future__ import annotations

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from fnmatch import fnmatchcase

from common.workflow.freshness.vouching.definitions import CELLS, OWN, Code, Definition
from common.workflow.freshness.vouching.statements import Statement

DRAWING = ("common.plots", "papers.*.figures")
"""Modules that only draw: what they change shows in figures, which are compared."""


@dataclass(frozen=True)
class Change:
    """A definition that is not what it was.

    Attributes:
        name: dotted; the old name of what was removed.
        how: "changed", "added" or "removed".
        old: statements that were taken away.
        new: statements that stand in their place, or are new.
        fixed_when_imported: why no run can show that this makes no difference; "" if one can.
    """

    name: str
    how: str
    old: tuple[Statement, ...] = ()
    new: tuple[Statement, ...] = ()
    fixed_when_imported: str = ""
    drawing: bool = False


def changes(old: Code, new: Code, words: Iterable[str] = ()) -> list[Change]:
    """What differs in whatever the notebook may run.

    Args:
        old: one version.
        new: another one.
        words: by which something may be meant besides: the notebook's parameters, and names of
            functions that the runner calls.
    """
    words = set(words)
    names = Renaming(old, new)
    lives_in_old, lives_in_new = live(old, words), live(new, words)
    found = []
    for before, after in names.pairs:
        if before.name in lives_in_old or after.name in lives_in_new:
            found += [change] if (change := _changed(before, after, names)) else []
    lives_in_new -= _asked_for_by_nobody(names.only_new, new)
    lives_in_new -= _unmentioned_values(names.only_new, new)
    found += [_added(one) for one in names.only_new if one.name in lives_in_new]
    found += [_removed(one, names) for one in names.only_old if one.name in lives_in_old]
    told = [one for one in found if one.drawing or one.old or one.new or one.fixed_when_imported]
    return [one for one in told if not _imports_python(one)]


def _imports_python(change: Change) -> bool:
    """Importing a module of Python's own changes nothing."""
    _, found, library = change.name.partition(".import ")
    return bool(found) and library.partition(".")[0] in sys.stdlib_module_names


def is_drawing(module: str) -> bool:
    """Whether a module only draws."""
    return any(fnmatchcase(module, pattern) for pattern in DRAWING)


# ------------------------------------------------------------------------------- renamed or moved


class Renaming:
    """Which old definition became which new one.

    Attributes:
        pairs: (old, new) of definitions that correspond.
        only_old: what has no counterpart now.
        only_new: what had none.
    """

    def __init__(self, old: Code, new: Code):
        self._names = {name: name for name in old.definitions.keys() & new.definitions.keys()}
        left = [one for name, one in old.definitions.items() if name not in self._names]
        come = [one for name, one in new.definitions.items() if name not in self._names]
        self._modules = _moved_modules(
            left, come, old.modules - new.modules, new.modules - old.modules
        )
        self._match(left, come, new)
        by_name = new.definitions
        self.pairs = [
            (old.definitions[a], by_name[b]) for a, b in self._names.items() if b in by_name
        ]
        matched = set(self._names.values())
        self.only_old = [one for one in left if one.name not in self._names]
        self.only_new = [one for one in come if one.name not in matched]

    def of(self, name: str) -> str:
        """What is called `name` now was, or would have been, called this."""
        if name in self._names:
            return self._names[name]
        parts = name.split(".")
        for size in range(len(parts) - 1, 0, -1):
            head, rest = ".".join(parts[:size]), ".".join(parts[size:])
            if head in self._names:
                return f"{self._names[head]}.{rest}"
            if head in self._modules:
                return f"{self._modules[head]}.{rest}"
        return self._modules.get(name, name)

    def text(self, text: str) -> str:
        """An old text as it would read now."""
        return re.sub("«([^»]+)»", lambda found: f"«{self.of(found[1])}»", text)

    def renamed(self, statement: Statement) -> Statement:
        """An old statement as it would read now."""
        return replace(
            statement,
            text=self.text(statement.text),
            place=tuple(map(self.text, statement.place)),
            literals=tuple((value, self.text(around)) for value, around in statement.literals),
        )

    def same(self, old: Definition, new: Definition) -> bool:
        """Whether both say the same of the same things."""
        return (
            old.kind == new.kind
            and self.text(old.text) == new.text
            and [(a, self.text(b)) for a, b in old.fixed] == list(new.fixed)
            and list(map(self.text, old.attributes)) == list(new.attributes)
            and [self.renamed(one).key for one in old.statements]
            == [one.key for one in new.statements]
        )

    def _match(self, left: list[Definition], come: list[Definition], new: Code) -> None:
        """Pair what is alike but for names; drop pairs until all names fit."""
        candidates: dict[str, str] = {}
        for by_tail in (True, False):
            taken = set(candidates.values())
            groups: dict[object, tuple[list[Definition], list[Definition]]] = defaultdict(
                lambda: ([], [])
            )
            for one in left:
                if one.name not in candidates:
                    groups[_shape(one, by_tail)][0].append(one)
            for one in come:
                if one.name not in taken:
                    groups[_shape(one, by_tail)][1].append(one)
            for old_ones, new_ones in groups.values():
                if len(old_ones) == len(new_ones) == 1:
                    candidates[old_ones[0].name] = new_ones[0].name
                    continue
                for one in old_ones:  # several alike: only where the module moved as a whole
                    moved = f"{self._modules.get(one.module, '')}.{one.tail}"
                    if moved in {other.name for other in new_ones}:
                        candidates[one.name] = moved
        old_by_name = {one.name: one for one in left}
        self._names |= candidates
        while wrong := [
            a
            for a in candidates
            if a in self._names and not self.same(old_by_name[a], new.definitions[self._names[a]])
        ]:
            for name in wrong:
                del self._names[name]
        # What moved with its module and changed on the way is a change, not another thing.
        taken = set(self._names.values())
        for one in left:
            there = f"{self._modules.get(one.module, '')}.{one.tail}"
            if one.name not in self._names and there in new.definitions and there not in taken:
                self._names[one.name] = there


def _moved_modules(
    left: list[Definition], come: list[Definition], gone: set[str], fresh: set[str]
) -> dict[str, str]:
    """Old names of modules that are called otherwise now: most of what they define is there."""
    places = defaultdict(set)
    for one in come:
        if one.module in fresh:
            places[_shape(one, True)].add(one.module)
    moved: dict[str, str] = {}
    for module in sorted(gone):
        own = [one for one in left if one.module == module]
        votes = Counter(place for one in own for place in places[_shape(one, True)])
        if votes:
            best, number = max(sorted(votes.items()), key=lambda item: item[1])
            if 2 * number >= len(own) and best not in moved.values():
                moved[module] = best
    return moved


def _shape(one: Definition, by_tail: bool) -> object:
    """What stays of a definition whatever it and others of this project are called."""
    pieces = [one.text, *(text for _, text in one.fixed), *one.attributes]
    pieces += [part for statement in one.statements for part in statement.key]
    own = re.compile("«(" + "|".join(map(re.escape, OWN)) + ")[^»]+»")
    return one.kind, one.tail if by_tail else "", tuple(own.sub("«»", piece) for piece in pieces)


# ------------------------------------------------------------------------------------ differences


def _changed(old: Definition, new: Definition, names: Renaming) -> Change | None:
    if names.same(old, new):
        return None
    drawing = is_drawing(new.module)
    reason = "" if drawing else _reason(old, new, names)
    before = [names.renamed(one) for one in old.statements]
    keys = [one.key for one in before], [one.key for one in new.statements]
    matcher = SequenceMatcher(None, *keys, autojunk=False)
    blocks = [one for one in matcher.get_opcodes() if one[0] != "equal"]
    gone = tuple(one for _, i, j, _, _ in blocks for one in before[i:j])
    come = tuple(one for _, _, _, i, j in blocks for one in new.statements[i:j])
    return Change(new.name, "changed", gone, come, reason, drawing)


def _reason(old: Definition, new: Definition, names: Renaming) -> str:
    """Why no run can show that the change makes no difference."""
    if old.compiled or new.compiled:
        return "is compiled, and compiled code is not traced"
    if old.kind != new.kind:
        return f"was a {old.kind} and is a {new.kind}"
    if new.kind in ("value", "effect"):
        return f"is a {'value' if new.kind == 'value' else 'statement'} of its module"
    if new.kind == "class":
        before = list(map(names.text, old.attributes))
        if names.text(old.text) != new.text:
            return "has other bases or decorators"
        if before != list(new.attributes)[: len(before)]:
            return "has other attributes"
        return "has new attributes, which may replace inherited ones" if new.inherits else ""
    if list(map(names.text, old.decorators)) != new.decorators:
        return "has other decorators"
    defaults = {name: names.text(text) for name, text in old.defaults.items()}
    both = defaults.keys() & new.defaults.keys()
    if other := sorted(name for name in both if defaults[name] != new.defaults[name]):
        return f"has another default for {', '.join(other)}"
    return ""


def _added(one: Definition) -> Change:
    return Change(one.name, "added", (), one.statements, _one_sided(one), is_drawing(one.module))


def _removed(one: Definition, names: Renaming) -> Change:
    gone = tuple(names.renamed(statement) for statement in one.statements)
    return Change(one.name, "removed", gone, (), _one_sided(one), is_drawing(one.module))


def _one_sided(one: Definition) -> str:
    if one.kind == "effect" and not is_drawing(one.module):
        return "is a statement of its module"
    if one.compiled and one.kind == "function":
        return "is compiled, and compiled code is not traced"
    return ""


# ----------------------------------------------------------------------------- what can be called


def live(code: Code, words: set[str]) -> set[str]:
    """Names of the definitions that may run: everything else, nothing that runs mentions.

    What runs when modules are imported may, and whatever is mentioned there by a word that is its
    name: a call, an attribute, a text. Registered functions are called by names that stand in
    parameters, methods by whoever holds an object of their class.
    """
    waiting = set(words)
    for one in code.definitions.values():
        waiting |= one.imports_mention
    by_word: dict[str, list[Definition]] = defaultdict(list)
    found = set()
    for one in code.definitions.values():
        if one.kind != "function" or _is_hook(one):
            found.add(one.name)
            waiting |= one.mentions
        by_word[_called(one, code)].append(one)
    seen: set[str] = set()
    while waiting := waiting - seen:
        seen |= waiting
        meant = [one for word in waiting for one in by_word.get(word, [])]
        found |= {one.name for one in meant}
        waiting = {word for one in meant for word in one.mentions}
    return found


def _asked_for_by_nobody(added: list[Definition], code: Code) -> set[str]:
    """Names of new functions that a decorator hands on, and nothing else mentions."""
    functions = {name for name, one in code.definitions.items() if one.kind == "function"}
    waiting = {}
    for one in added:
        tokens = [found for text in one.decorators for found in re.findall("«([^»]+)»", text)]
        # `f.register` gives an existing function another case.
        extends = any(found.rpartition(".")[0] in functions for found in tokens)
        if one.decorators and not extends and "." not in one.tail:
            waiting[one.name] = one
    others = [one for name, one in code.definitions.items() if name not in waiting]
    while others:
        words = set().union(*(one.imports_mention | one.mentions for one in others))
        others = [one for one in waiting.values() if one.tail in words]
        waiting = {name: one for name, one in waiting.items() if one not in others}
    return set(waiting)


def _unmentioned_values(added: list[Definition], code: Code) -> set[str]:
    """Names of new values that nothing else mentions."""
    values = {one.name: one.tail for one in added if one.kind == "value"}
    words: set[str] = set()
    for name, one in code.definitions.items():
        if name not in values:
            words |= one.imports_mention | one.mentions
    return {name for name, tail in values.items() if tail not in words}


def _is_hook(one: Definition) -> bool:
    """Whether others than those who mention it may call it."""
    return one.name == CELLS or one.tail.startswith("__") or bool(one.decorators)


def _called(one: Definition, code: Code) -> str:
    """The word by which it may be meant: its name; of a method, its class's name."""
    owner = code.definitions.get(one.name.rpartition(".")[0])
    name = owner.name if owner is not None and owner.kind == "class" else one.name
    return name.rpartition(".")[2]

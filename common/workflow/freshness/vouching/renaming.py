"""Which definition of one version became which of another: moved, or renamed with its users."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

from common.workflow.freshness.vouching.definitions import OWN, Code, Definition
from common.workflow.freshness.vouching.statements import Statement


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
        return statement.rewritten(self.text)

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

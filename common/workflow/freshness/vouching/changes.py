"""What changed between two versions of the code that a notebook runs, statement by statement.

What only moved, or was renamed together with its users, did not change.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher
from fnmatch import fnmatchcase

from common.workflow.freshness.vouching.definitions import Code, Definition
from common.workflow.freshness.vouching.reach import asked_for_by_nobody, live, unmentioned_values
from common.workflow.freshness.vouching.renaming import Renaming
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
    lives_in_new -= asked_for_by_nobody(names.only_new, new)
    lives_in_new -= unmentioned_values(names.only_new, new)
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

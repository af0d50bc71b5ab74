"""Whether two runs in miniature say that two versions of the code measure the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from common.workflow.freshness.vouching.changes import Change
from common.workflow.freshness.vouching.statements import Statement

Lines = Mapping[str, set[int]]
"""Numbers of the lines that ran, by module or cell."""


@dataclass(frozen=True)
class Doubt:
    """Why equal measurements in miniature do not vouch for a change.

    Attributes:
        name: of the definition.
        reason: what is the matter with it.
        arguable: whether somebody who knows better may say so.
    """

    name: str
    reason: str
    arguable: bool = True


def doubts(changes: Iterable[Change], old_lines: Lines, new_lines: Lines) -> list[Doubt]:
    """What speaks against the changes, given the lines that ran with the old and the new code."""
    found = lasting_doubts(changes)
    for change in changes:
        for statements, lines, which in (
            (change.old, old_lines, "old"),
            (change.new, new_lines, "new"),
        ):
            unseen = sorted(
                {one.lines[0] for one in statements if one.leaves_trace and not _ran(one, lines)}
            )
            if unseen:
                where = ", ".join(map(str, unseen[:5]))
                more = f" and {len(unseen) - 5} more" if len(unseen) > 5 else ""
                told = f"{which} line {where}{more} never ran in smoke"
                found.append(Doubt(change.name, told))
    return found


def lasting_doubts(changes: Iterable[Change]) -> list[Doubt]:
    """What speaks against the changes whatever runs show."""
    found = []
    for change in changes:
        if change.fixed_when_imported:
            found.append(Doubt(change.name, change.fixed_when_imported, arguable=False))
        if change.drawing or change.fixed_when_imported:
            continue
        if choices := sorted({word for one in (*change.old, *change.new) for word in one.choices}):
            told = f"a changed statement chooses ({', '.join(choices)})"
            found.append(Doubt(change.name, told))
    rest = [one for one in changes if not one.drawing and not one.fixed_when_imported]
    return found + _changed_literals(rest)


def _ran(statement: Statement, lines: Lines) -> bool:
    first, last = statement.lines
    return any(number in lines.get(statement.source, ()) for number in range(first, last + 1))


def _changed_literals(changes: list[Change]) -> list[Doubt]:
    """Literals that are others now: the same ones in the same order are not.

    What one function lost and another one gained, within the same expression, has moved; what
    several lost and one gained was there several times.
    """
    lost: set[tuple[str, str]] = set()
    gained: set[tuple[str, str]] = set()
    suspects = []
    for change in changes:
        old = [literal for one in change.old for literal in one.literals]
        new = [literal for one in change.new for literal in one.literals]
        if [value for value, _ in old] != [value for value, _ in new]:
            lost.update(old)
            gained.update(new)
            suspects.append((change, {*old, *new}))
    others = lost ^ gained
    return [
        Doubt(change.name, f"a literal changed ({', '.join(_unlike(change))})")
        for change, own in suspects
        if own & others
    ]


def _unlike(change: Change) -> list[str]:
    """Literals that only one side has; all of them where it is their order that changed."""
    old, new = (
        Counter(value for one in side for value, _ in one.literals)
        for side in (change.old, change.new)
    )
    return sorted((old - new) + (new - old)) or sorted(old)

"""Numbers that were copied wrongly: which number was meant."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache

SHORTEST = 3
"""Significant digits of a number that can be meant. Of the numbers with two digits, a fifth is one
exchanged digit away from a given one; with three digits 3 %, with four 0.4 %."""
LONG = 5
"""Significant digits from which on two edits are allowed instead of one: 1 % are that close."""
LONGEST_NUMBER = 20
"""Digits of a number that can be repaired, which bounds the work."""


def meant_number(number: Fraction, candidates: Iterable[Fraction]) -> Fraction | None:
    """The only candidate that a number resembles.

    Both are positive integers of at least `SHORTEST` digits, the candidate without counting zeros
    at its end. They are at most one edit apart (a digit more, less or exchanged), or two where the
    candidate has at least `LONG` such digits, and not by a power of ten. The limits are ours; they
    are narrow because every repair can turn a wrong program into a right one.

    Returns:
        The candidate, or None if there is none, or more than one.
    """
    digits = _digits(number)
    if not SHORTEST <= len(digits) <= LONGEST_NUMBER:
        return None
    alike = {candidate for candidate in candidates if _resemble(digits, _digits(candidate))}
    return alike.pop() if len(alike) == 1 else None


def _digits(number: Fraction) -> str:
    """Nothing for what is no positive integer."""
    return str(number.numerator) if number.denominator == 1 and number > 0 else ""


def _resemble(digits: str, other: str) -> bool:
    significant = other.rstrip("0")
    if len(significant) < SHORTEST or significant == digits.rstrip("0"):
        return False
    limit = 2 if len(significant) >= LONG else 1
    return abs(len(digits) - len(other)) <= limit and edit_distance(digits, other) <= limit


@lru_cache(maxsize=4_096)
def edit_distance(a: str, b: str) -> int:
    """Levenshtein's distance: insertions, deletions and exchanges of one character."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, start=1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(b, start=1):
            best = min(row[j] + 1, row[j - 1] + 1, diagonal + (left != right))
            diagonal, row[j] = row[j], best
    return row[-1]

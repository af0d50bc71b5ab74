"""Ranges for the numbers of a word problem that was not written as a template."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from common.tasks.question_numbers import Role
from common.tasks.solution_steps import BoundSolution, NotATemplate, Reason
from common.tasks.step_expressions import Expression, Inconsistent, Number
from common.tasks.word_problems import Slot

PROBES = (10**6, 10**9)
"""Factors that tell how results grow: as a number, as its square, or not at all."""


def growing_numbers(bound: BoundSolution) -> tuple[int, ...]:
    """The numbers that grow with the level.

    As many as possible such that every result that depends on them grows in proportion to them
    and stays positive: never two factors of one product, never a divisor. Counts come before
    amounts of money, so that unit prices stay small, and larger numbers before smaller ones.

    Raises:
        NotATemplate: not even one can grow.
    """
    steps = [(name, Expression(text)) for name, text in bound.steps]
    waiting = [i for i in bound.drawn if bound.numbers[i].role is Role.FREE]
    waiting.sort(key=lambda i: (bound.numbers[i].money, -bound.numbers[i].value))
    chosen: set[int] = set()
    for _ in range(2):  # what could not grow before another number grew may do so now
        for index in waiting:
            if index not in chosen and _in_proportion(bound, steps, chosen | {index}):
                chosen.add(index)
    if not chosen:
        raise NotATemplate(Reason.NO_FREEDOM, "none can grow")
    return tuple(i for i in bound.drawn if i in chosen)


def _in_proportion(
    bound: BoundSolution, steps: Sequence[tuple[str, Expression]], growing: set[int]
) -> bool:
    names = {f"n{i}" for i in growing}
    results = []
    for factor in PROBES:
        known: dict[str, Number] = {}
        for i in bound.drawn:
            value = int(bound.numbers[i].value)
            known[f"n{i}"] = value * factor if i in growing else value
        for name, step in steps:
            try:
                known[name] = step.value(known)
            except Inconsistent:
                return False
        results.append(known)
    first, second = results
    depends = set(names)
    for name, step in steps:
        if first[name] <= 0 or second[name] <= 0:
            return False
        if depends & set(step.names):
            depends.add(name)
            growth = Fraction(second[name]) / first[name] / (PROBES[1] // PROBES[0])
            if not Fraction(99, 100) < growth < Fraction(101, 100):
                return False
    return steps[-1][0] in depends


def slots(bound: BoundSolution, growing: Sequence[int], *, in_ratio: bool) -> dict[str, Slot]:
    """A slot for each number that is drawn.

    Level 1 goes from half to twice the original value, in round steps where the original is
    round. From level 2 the growing numbers are drawn from m … 10m-1 each, or from a fifth around
    a common multiple of their original values.

    Args:
        bound: the solution.
        growing: see `growing_numbers`.
        in_ratio: keep the growing numbers in nearly the same proportion.
    """
    largest = max(int(bound.numbers[i].value) for i in growing)
    made = {}
    for i in bound.drawn:
        value = int(bound.numbers[i].value)
        scaled: tuple[int | Fraction, int | Fraction] | None = None
        if i in growing:
            ratio = Fraction(value, largest)
            scaled = (6 * ratio, 9 * ratio) if in_ratio else (1, 10)
        if bound.numbers[i].role is Role.SMALL:
            made[f"n{i}"] = Slot(value, (2, 9), scaled)
        else:
            grid = _grid(value)
            low = max(grid * math.ceil(Fraction(value, 2 * grid)), 2)
            made[f"n{i}"] = Slot(value, (low, 2 * value), scaled, grid)
    return made


def _grid(value: int) -> int:
    """1, or a tenth of the power of ten that divides a round value."""
    zeros = len(str(value)) - len(str(value).rstrip("0"))
    return int(10 ** max(zeros - 1, 0))


def ranks(bound: BoundSolution, growing: Sequence[int]) -> tuple[tuple[str, ...], ...]:
    """Groups of slots that keep the order of their original values: growing ones, and others."""
    others = [i for i in bound.drawn if i not in growing]
    groups = []
    for group in (list(growing), others):
        group.sort(key=lambda i: bound.numbers[i].value)
        if len(group) > 1:
            groups.append(tuple(f"n{i}" for i in group))
    return tuple(groups)

"""Word problems whose numbers are drawn anew at several magnitudes, with exact solutions.

The levels are those of GSM-Ranges (arXiv 2502.08680, Section 3): the wording and the sequence of
operations stay, the numbers grow from the original magnitude to seven digits.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from types import MappingProxyType

import numpy as np

from common.tasks.step_expressions import Expression, Inconsistent, whole

LEVELS: Mapping[int, int] = MappingProxyType(
    {0: 1, 1: 1, 2: 100, 3: 1_000, 4: 10_000, 5: 100_000, 6: 1_000_000}
)
"""Multiplier of each level: 0 keeps the original numbers, 1 redraws them at the same magnitude."""

MOST_DRAWS = 10_000
"""How often values are drawn before a template is given up."""

_HOLE = re.compile(r"\{(=?)([A-Za-z_]\w*)\}")


@dataclass(frozen=True)
class WordProblem:
    """A question with its worked solution.

    Attributes:
        question: the text that is asked.
        solution: in the form of GSM8K (arXiv 2110.14168): lines of text with `<<expr=value>>`
            before each computed number, then `#### N`.
        answer: N.
        template: name of the template.
        level: a key of `LEVELS`.
        values: the number in each slot.
        steps: `("16-3=13", …)`, in the order of the solution.
    """

    question: str
    solution: str
    answer: int
    template: str
    level: int
    values: Mapping[str, int]
    steps: tuple[str, ...]


@dataclass(frozen=True)
class Slot:
    """A number of the question that is drawn.

    Attributes:
        original: the value at level 0.
        small: smallest and largest value at level 1.
        scaled: at levels from 2 the value lies between these multiples of the level's multiplier
            m: (1, 10) draws from m … 10m-1. None: it keeps the range of level 1.
        grid: values of level 1 are `small[0]` plus multiples of it.
    """

    original: int
    small: tuple[int, int]
    scaled: tuple[int | Fraction, int | Fraction] | None = (1, 10)
    grid: int = 1

    def bounds(self, level: int) -> tuple[int, int, int]:
        """First value, number of values and their distance at a level from 1."""
        if level > 1 and self.scaled is not None:
            low, high = (math.ceil(LEVELS[level] * multiple) for multiple in self.scaled)
            return max(low, 2), max(high - max(low, 2), 1), 1
        return self.small[0], (self.small[1] - self.small[0]) // self.grid + 1, self.grid


@dataclass(frozen=True)
class Template:
    """A word problem with slots.

    Attributes:
        name: unique among templates that are used together.
        question: text with `{slot}` for each number that is drawn.
        slots: by name.
        steps: name of the result and its expression in slots, earlier results and constants.
        solution: lines of text; `{name}` stands for a number, `{=name}` for a step's
            `<<expr=value>>value`.
        require: expressions that have to be positive integers beside the steps' results, where
            the story needs more than the solution computes.
        ascending: groups of slots whose values keep this order.

    Raises:
        ValueError: a name is unknown, unused or taken twice, or the original values are
            inconsistent.
    """

    name: str
    question: str
    slots: Mapping[str, Slot]
    steps: tuple[tuple[str, str], ...]
    solution: str
    require: tuple[str, ...] = ()
    ascending: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        asked = {name for _, name in _HOLE.findall(self.question)}
        if asked != set(self.slots):
            raise self._error("slots", f"{sorted(asked ^ set(self.slots))} only in one of the two")
        known = set(self.slots)
        for result, expression in self._steps:
            if unknown := set(expression.names) - known:
                raise self._error("steps", f"{result} uses unknown {sorted(unknown)}")
            if result in known:
                raise self._error("steps", f"{result} is taken twice")
            known.add(result)
        if not self._steps:
            raise self._error("steps", "there are none")
        used = {name for _, expression in self._steps for name in expression.names}
        if unused := known - used - {self._steps[-1][0]}:
            raise self._error("steps", f"{sorted(unused)} are never used")
        if unknown := {name for _, name in _HOLE.findall(self.solution)} - known:
            raise self._error("solution", f"uses unknown {sorted(unknown)}")
        try:
            self._results({name: slot.original for name, slot in self.slots.items()})
        except Inconsistent as error:
            raise self._error("slots", f"original values are inconsistent: {error}") from None

    def _error(self, argument: str, reason: str) -> ValueError:
        return ValueError(f"{argument}: template {self.name!r}: {reason}")

    @cached_property
    def _steps(self) -> tuple[tuple[str, Expression], ...]:
        return tuple((name, Expression(text)) for name, text in self.steps)

    @cached_property
    def _require(self) -> tuple[Expression, ...]:
        return tuple(map(Expression, self.require))

    def _results(self, values: Mapping[str, int]) -> dict[str, int]:
        """Slots and results; raises `Inconsistent` unless all are positive integers."""
        known = dict(values)
        for name, expression in self._steps:
            known[name] = whole(expression.value(known))
        for expression in self._require:
            whole(expression.value(known))
        return known

    def sample(
        self,
        level: int,
        rng: np.random.Generator,
        *,
        separators: bool = False,
        trailing_zeros: bool = False,
    ) -> WordProblem:
        """A problem with new numbers: every result a positive integer, all arithmetic exact.

        Values are drawn uniformly from their ranges until they are consistent. Beside scaled
        slots, those that stay small are redrawn, too; the original value is left out wherever a
        range of level 1 has another one.

        Args:
            level: a key of `LEVELS`.
            rng: what the values are drawn with; unused at level 0.
            separators: write numbers of the texts with commas; annotations have none.
            trailing_zeros: at levels from 2, scaled slots are values of level 1 times the level's
                multiplier (magnitude grows, the number of significant digits does not).

        Raises:
            ValueError: the level is unknown, or no consistent values were found.
        """
        if level not in LEVELS:
            raise ValueError(f"level: one of {', '.join(map(str, LEVELS))}, got {level}")
        if level == 0:
            values = {name: slot.original for name, slot in self.slots.items()}
            return self._problem(level, values, self._results(values), separators)
        for _ in range(MOST_DRAWS):
            if (known := self.draw(level, rng, trailing_zeros=trailing_zeros)) is not None:
                values = {name: known[name] for name in self.slots}
                return self._problem(level, values, known, separators)
        raise ValueError(
            f"level: template {self.name!r} found no consistent values at level {level} "
            f"in {MOST_DRAWS} draws"
        )

    def draw(
        self, level: int, rng: np.random.Generator, *, trailing_zeros: bool = False
    ) -> dict[str, int] | None:
        """Slots and results of a single draw, None if they are not consistent.

        Args:
            level: a key of `LEVELS` from 1.
            rng: what the values are drawn with.
            trailing_zeros: see `sample`.
        """
        try:
            row = rng.random(len(self.slots)).tolist()
            return self._results(self._drawn(row, level, trailing_zeros))
        except Inconsistent:
            return None

    @cached_property
    def _bounds(self) -> dict[int, list[tuple[int, int, int]]]:
        return {level: [slot.bounds(level) for slot in self.slots.values()] for level in LEVELS}

    def _drawn(self, row: list[float], level: int, trailing_zeros: bool) -> dict[str, int]:
        """Values from numbers in [0, 1), in ascending order where the template says so."""
        bounds = self._bounds[1 if trailing_zeros else level]
        values = {
            name: low + grid * int(share * count)
            for (low, count, grid), name, share in zip(bounds, self.slots, row, strict=True)
        }
        for group in self.ascending:
            ordered = sorted(values[name] for name in group)
            values.update(zip(group, ordered, strict=True))
        for (_, count, _), (name, slot) in zip(bounds, self.slots.items(), strict=True):
            if values[name] == slot.original and count > 1:
                raise Inconsistent(f"{name} has its original value")
            if trailing_zeros and slot.scaled is not None:
                values[name] *= LEVELS[level]
        return values

    def _problem(
        self, level: int, values: dict[str, int], known: dict[str, int], separators: bool
    ) -> WordProblem:
        steps = {name: f"{rule.written(known)}={known[name]}" for name, rule in self._steps}

        def fill(match: re.Match[str]) -> str:
            name = match[2]
            number = f"{known[name]:,}" if separators else str(known[name])
            return f"<<{steps[name]}>>{number}" if match[1] else number

        answer = known[self._steps[-1][0]]
        return WordProblem(
            question=_HOLE.sub(fill, self.question),
            solution=f"{_HOLE.sub(fill, self.solution)}\n#### "
            + (f"{answer:,}" if separators else str(answer)),
            answer=answer,
            template=self.name,
            level=level,
            values=values,
            steps=tuple(steps.values()),
        )


def generate(
    templates: Mapping[str, Template] | Iterable[Template],
    level: int,
    sets: int,
    seed: int,
    *,
    separators: bool = False,
    trailing_zeros: bool = False,
) -> list[WordProblem]:
    """`sets` problems of every template; each set holds every template once.

    A problem follows from seed, level, set and the template's name, so that it stays the same
    when other templates come or go.

    Args:
        templates: by name, or one after the other.
        level: a key of `LEVELS`.
        sets: how many; level 0 has one distinct set only.
        seed: of all draws, not negative.
        separators: see `Template.sample`.
        trailing_zeros: see `Template.sample`.

    Raises:
        ValueError: no templates, a negative number of sets or seed, or what `Template.sample`
            raises.
    """
    chosen = list(templates.values() if isinstance(templates, Mapping) else templates)
    if not chosen:
        raise ValueError("templates: there are none")
    if sets < 0 or seed < 0:
        raise ValueError(f"sets, seed: must not be negative, got {sets} and {seed}")
    return [
        one.sample(
            level,
            np.random.default_rng([seed, level, number, zlib.crc32(one.name.encode())]),
            separators=separators,
            trailing_zeros=trailing_zeros,
        )
        for number in range(sets)
        for one in chosen
    ]

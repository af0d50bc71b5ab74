"""What a verdict is computed from: one `Sample` per group of a claim, one value per unit.

The unit is what was randomised. A unit that has no value where the claim needs one is never
dropped: the claim's `missing` says what it counts as, and by default it is an obstacle that
leaves the claim undecided.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.stats import Floats
from common.workflow.claims.schema import Claim, Measure
from common.workflow.claims.selection import by_unit, constant, matches

Unit = tuple[Any, ...]


@dataclass(frozen=True)
class Paired:
    """Two arms measured on the same units, (n,) each."""

    a: Floats
    b: Floats


@dataclass(frozen=True)
class Arms:
    """Two arms measured on units of their own, (n,) and (m,)."""

    a: Floats
    b: Floats


@dataclass(frozen=True)
class Slopes:
    """One trend, slope or exponent per unit, (n,)."""

    values: Floats


@dataclass(frozen=True)
class Outcomes:
    """0 or 1 per unit, (n,)."""

    values: Floats


@dataclass(frozen=True)
class Survival:
    """Times, and whether the event was seen then (1) or not yet (0), for two arms."""

    times_a: Floats
    events_a: Floats
    times_b: Floats
    events_b: Floats


@dataclass(frozen=True)
class Cases:
    """Measured values beside their limit or expected value, (n,), and the number of the unit."""

    measured: Floats
    reference: Floats
    unit: NDArray[np.int64]


@dataclass(frozen=True)
class Headline:
    """The number that a paper prints and that its own numbers should give."""

    printed: int | str


Data = Paired | Arms | Slopes | Outcomes | Survival | Cases | Headline


@dataclass(frozen=True)
class Sample:
    """What one group of a claim is decided from.

    Attributes:
        data: the arrays.
        units: a label for each value of the arrays.
        group: the values of the `for_each` columns.
        bound: the smallest effect of interest, on the scale of the effect.
        obstacles: what makes a computation impossible, in words.
        counted: how many missing values were replaced, as the claim says.
        varies: False when randomness leaves no trace in the measurements.
    """

    data: Data
    units: tuple[str, ...] = ()
    group: dict[str, Any] = field(default_factory=dict)
    bound: float = 0.0
    obstacles: tuple[str, ...] = ()
    counted: int = 0
    varies: bool = True


@dataclass
class Filling:
    """Replaces missing values as the claim says, and keeps count."""

    missing: float | str
    obstacles: list[str] = field(default_factory=list)
    counted: int = 0

    def __call__(self, value: float, against: float, where: str) -> float:
        """`value`, or what it counts as; `against` is what speaks most against the claim."""
        if not np.isnan(value):
            return value
        if self.missing == "undecided":
            self.obstacles.append(f"no value for {where}")
            return value
        self.counted += 1
        return against if self.missing == "failure" else float(self.missing)

    def sample(self, data: Data, units: Sequence[str], bound: float, varies: bool) -> Sample:
        """A sample that knows what was replaced."""
        return Sample(data, tuple(units), {}, bound, tuple(self.obstacles), self.counted, varies)


@dataclass(frozen=True)
class GroupRows:
    """One group's rows, and the seeds of the run, all of which should occur in them."""

    claim: Claim
    frame: pd.DataFrame
    seeds: tuple[int, ...]

    @property
    def measure(self) -> Measure:
        """What the claim measures."""
        assert self.claim.measure is not None
        return self.claim.measure

    def filling(self) -> Filling:
        """A fresh count of missing values."""
        return Filling(self.measure.missing)

    def values(self, per: tuple[str, ...]) -> dict[Unit, float]:
        """The metric by unit; a seed of the run without any row has a missing value."""
        return self.present(per) | dict.fromkeys(self.absent(per), np.nan)

    def present(self, by: tuple[str, ...]) -> dict[Unit, float]:
        """The metric by the values of the columns `by`, for rows that exist."""
        series = by_unit(self.claim, self.frame, by)
        return {
            key if isinstance(key, tuple) else (key,): float(value) for key, value in series.items()
        }

    def absent(self, per: tuple[str, ...]) -> Iterable[Unit]:
        """Units that stand for the seeds of the run that have no row here."""
        if "seed" in per:
            present = set(self.frame["seed"])
            for seed in (seed for seed in self.seeds if seed not in present):
                yield tuple(seed if name == "seed" else "any" for name in per)

    def arm(self, factor: str, level: Any) -> GroupRows:
        """The same for the rows of one level of a factor."""
        return replace(self, frame=self.frame[matches(self.frame[factor], level)])

    def bound(self, value: float | str | None, default: float = 0.0) -> float:
        """The smallest effect of interest, which may stand in a column."""
        if value is None:
            return default
        return constant(self.frame, value, ("test", "expect", "bound"))


def in_order(units: Iterable[Unit]) -> list[Unit]:
    """Units sorted, numbers before texts."""
    return sorted(units, key=lambda unit: [(isinstance(one, str), one) for one in unit])


def label(names: Sequence[str], unit: Unit) -> str:
    """For example `seed 3, prompt 7`."""
    return ", ".join(f"{name} {value}" for name, value in zip(names, unit, strict=True))

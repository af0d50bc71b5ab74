"""What a paper's printed numbers say, given that each was rounded to its last digit."""

from __future__ import annotations

from decimal import Decimal
from itertools import product
from math import nan

import numpy as np

from common.stats import Interval
from common.workflow.claims.expression import evaluate
from common.workflow.claims.kinds import Arithmetic


def printed_interval(printed: int | str) -> tuple[float, float]:
    """All values that are printed so: half a unit of the last digit on either side.

    >>> printed_interval("0.440")
    (0.4395, 0.4405)
    >>> printed_interval(12)
    (12.0, 12.0)
    """
    if isinstance(printed, int):
        return float(printed), float(printed)
    number = Decimal(printed)
    half = Decimal((0, (1,), int(number.as_tuple().exponent))) / 2
    return float(number - half), float(number + half)


def headline_interval(test: Arithmetic) -> Interval:
    """The values of the expression over the rounding intervals of all its numbers.

    Evaluated at every combination of ends and middles: exact where the expression is monotone in
    each number, as ratios, differences and means are. NaN ends when it has no value somewhere.
    """
    names = list(test.numbers)
    points = []
    for printed in test.numbers.values():
        low, high = printed_interval(printed)
        points.append(sorted({low, (low + high) / 2, high}) if len(names) <= 8 else [low, high])
    middle = [float(Decimal(printed)) for printed in test.numbers.values()]
    columns = np.array([middle, *product(*points)]).T  # as arrays: 2^16 points in 0.1 s, not 8 s
    with np.errstate(all="ignore"):
        values = evaluate(test.expression, dict(zip(names, columns, strict=True)))
    if not np.isfinite(values).all():
        return Interval(nan, nan, nan, 1.0, len(names))
    return Interval(float(values[0]), float(values.min()), float(values.max()), 1.0, len(names))


def headline_fits(test: Arithmetic, interval: Interval, low: float, high: float) -> bool:
    """Whether a headline printed as anything in [low, high] can follow from `interval`."""
    slack = 1e-9 * max(abs(low), abs(high))  # what computing with binary fractions may cost
    low, high = low - slack, high + slack
    if test.relation == "at_least":
        return interval.high >= low
    if test.relation == "at_most":
        return interval.low <= high
    return interval.low <= high and low <= interval.high

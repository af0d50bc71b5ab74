"""What a paper's printed numbers say, given that each was rounded to its last digit."""

from __future__ import annotations

from decimal import Decimal
from itertools import product
from math import isfinite, nan

import numpy as np

from common.stats import Interval
from common.workflow.claim_kinds import Arithmetic
from common.workflow.expression import evaluate


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
    values = [_value(test, dict(zip(names, point, strict=True))) for point in product(*points)]
    middle = {name: float(Decimal(printed)) for name, printed in test.numbers.items()}
    ends = np.array(values)
    return Interval(_value(test, middle), float(ends.min()), float(ends.max()), 1.0, len(names))


def _value(test: Arithmetic, numbers: dict[str, float]) -> float:
    """The expression's value, NaN where it has none (a division by zero, a root of -1)."""
    try:
        with np.errstate(all="ignore"):
            value = float(evaluate(test.expression, numbers))
    except (ZeroDivisionError, OverflowError, TypeError):
        return nan
    return value if isfinite(value) else nan


def headline_fits(test: Arithmetic, interval: Interval, low: float, high: float) -> bool:
    """Whether a headline printed as anything in [low, high] can follow from `interval`."""
    slack = 1e-9 * max(abs(low), abs(high))  # what computing with binary fractions may cost
    low, high = low - slack, high + slack
    if test.relation == "at_least":
        return interval.high >= low
    if test.relation == "at_most":
        return interval.low <= high
    return interval.low <= high and low <= interval.high

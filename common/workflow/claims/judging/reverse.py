"""The opposite of what was measured, to show that a claim can fail.

Judged on reversed measurements, a supported claim has to come out contradicted.
"""

from __future__ import annotations

from dataclasses import replace
from functools import singledispatch
from math import log

import numpy as np

from common import stats
from common.stats import Floats
from common.workflow.claims.judging.arithmetic import (
    headline_fits,
    headline_interval,
    printed_interval,
)
from common.workflow.claims.judging.counts import relative_errors
from common.workflow.claims.judging.decisions import decide
from common.workflow.claims.judging.samples import (
    Arms,
    Cases,
    Headline,
    Outcomes,
    Paired,
    Sample,
    Slopes,
    Survival,
)
from common.workflow.claims.kinds import (
    AnyTest,
    Arithmetic,
    Bound,
    ClosedForm,
    DifferenceOfProportions,
    Equivalence,
    Exponent,
    MonotoneTrend,
    Ordering,
    PairedDifference,
    PairedRatio,
    Proportion,
    TimeToEvent,
    UnpairedDifference,
)


@singledispatch
def reverse(test: AnyTest, sample: Sample) -> Sample:
    """`sample` with its effect reflected about what the claim says."""
    raise NotImplementedError(type(test).__name__)


def reverse_all(test: AnyTest, samples: list[Sample]) -> list[Sample]:
    """All samples of a claim, so that its verdict turns.

    A supported claim has every group reversed; a contradicted one only those that contradict it,
    because the others already say what is wanted.
    """
    against = [decide(test, sample).verdict == "contradicted" for sample in samples]
    return [
        reverse(test, sample) if opposes or not any(against) else sample
        for sample, opposes in zip(samples, against, strict=True)
    ]


@reverse.register(PairedDifference)
@reverse.register(Ordering)
def _(test: PairedDifference | Ordering, sample: Sample) -> Sample:
    """Every paired difference d becomes 2 bound - d."""
    assert isinstance(sample.data, Paired)
    a, b = sample.data.a, sample.data.b
    return replace(sample, data=Paired(b + 2 * sample.bound - (a - b), b))


@reverse.register
def _(test: PairedRatio, sample: Sample) -> Sample:
    """Every ratio r becomes bound² / r."""
    assert isinstance(sample.data, Paired)
    a, b = sample.data.a, sample.data.b
    return replace(sample, data=Paired(b * sample.bound**2 / (a / b), b))


@reverse.register
def _(test: Equivalence, sample: Sample) -> Sample:
    """Shifted by two margins; what differed is centred."""
    assert isinstance(sample.data, Paired)
    a, b = sample.data.a, sample.data.b
    if test.scale == "ratio":
        logs, margin = np.log(a / b), log(1 + test.margin)
        return replace(sample, data=Paired(b * np.exp(_shifted(logs, margin)), b))
    return replace(sample, data=Paired(b + _shifted(a - b, test.margin), b))


def _shifted(values: Floats, margin: float) -> Floats:
    mean = float(values.mean())
    return values - mean if abs(mean) > margin else values + (2 if mean >= 0 else -2) * margin


@reverse.register
def _(test: MonotoneTrend, sample: Sample) -> Sample:
    assert isinstance(sample.data, Slopes)
    return replace(sample, data=Slopes(2 * sample.bound - sample.data.values))


@reverse.register
def _(test: Exponent, sample: Sample) -> Sample:
    """Reflected about the nearer end of the range; what lies far outside is put in its middle."""
    assert isinstance(sample.data, Slopes)
    values = sample.data.values
    ends = [end for end in test.range if end is not None]
    mean = float(values.mean())
    if len(ends) == 2 and not ends[0] <= mean <= ends[1]:
        return replace(sample, data=Slopes(values - mean + sum(ends) / 2))
    nearer = min(ends, key=lambda end: abs(end - mean))
    return replace(sample, data=Slopes(2 * nearer - values))


@reverse.register
def _(test: UnpairedDifference, sample: Sample) -> Sample:
    assert isinstance(sample.data, Arms)
    return replace(sample, data=Arms(sample.data.b + 2 * sample.bound, sample.data.a))


@reverse.register
def _(test: DifferenceOfProportions, sample: Sample) -> Sample:
    """The arms change places; where the bound does not mind, they become all and nothing."""
    assert isinstance(sample.data, Arms)
    a, b = sample.data.a, sample.data.b
    above = test.expect.side == "above"
    difference = float(a.mean() - b.mean())
    holds = (difference > sample.bound) == above
    if ((-difference > sample.bound) == above) != holds:
        return replace(sample, data=Arms(b, a))
    first = above != holds
    return replace(sample, data=Arms(np.full_like(a, first), np.full_like(b, not first)))


@reverse.register
def _(test: TimeToEvent, sample: Sample) -> Sample:
    """The arms change places; where the bound does not mind, one dies at once, the other never."""
    assert isinstance(sample.data, Survival)
    arms = sample.data
    above = test.expect.side == "above"
    difference = (
        stats.restricted_mean(arms.times_a, arms.events_a, test.horizon).estimate
        - stats.restricted_mean(arms.times_b, arms.events_b, test.horizon).estimate
    )
    holds = (difference > sample.bound) == above
    if ((-difference > sample.bound) == above) != holds:
        swapped = Survival(arms.times_b, arms.events_b, arms.times_a, arms.events_a)
        return replace(sample, data=swapped)
    a_lives = above != holds
    ends = []
    for times, lives in ((arms.times_a, a_lives), (arms.times_b, not a_lives)):
        ends += [np.full_like(times, test.horizon * lives), np.full_like(times, not lives)]
    return replace(sample, data=Survival(*ends))


@reverse.register
def _(test: Proportion, sample: Sample) -> Sample:
    """Successes become failures; where the bound does not mind, all become the other."""
    assert isinstance(sample.data, Outcomes)
    above = test.expect.side == "above"
    holds = (sample.data.values.mean() > sample.bound) == above
    flipped = 1 - sample.data.values
    if ((flipped.mean() > sample.bound) == above) == holds:
        flipped = np.full_like(flipped, above != holds)
    return replace(sample, data=Outcomes(flipped))


@reverse.register
def _(test: ClosedForm, sample: Sample) -> Sample:
    """Perturbed by three tolerances; what disagreed is made to agree."""
    assert isinstance(sample.data, Cases)
    cases = sample.data
    if relative_errors(cases, test.floor).max() > test.tolerance:
        return replace(sample, data=replace(cases, measured=cases.reference.copy()))
    scale = np.maximum(np.abs(cases.reference), test.floor)
    step = 3 * (test.tolerance or 1e-9) * np.where(scale > 0, scale, 1.0)
    sign = np.where(cases.measured >= cases.reference, 1.0, -1.0)
    return replace(sample, data=replace(cases, measured=cases.measured + sign * step))


@reverse.register
def _(test: Bound, sample: Sample) -> Sample:
    """Every case violates the limit by three tolerances; where too many did, none does."""
    assert isinstance(sample.data, Cases)
    cases = sample.data
    sign = 1 if test.side == "below" else -1
    excess = (cases.measured - cases.reference) * sign
    bad = np.unique(cases.unit[excess > test.tolerance])
    if len(bad) / len(np.unique(cases.unit)) > test.max_rate:
        beyond = -np.abs(excess)
    else:
        scale = np.maximum(1.0, np.abs(cases.reference))
        beyond = np.abs(excess) + 3 * np.maximum(test.tolerance, 1e-9 * scale)
    return replace(sample, data=replace(cases, measured=cases.reference + sign * beyond))


@reverse.register
def _(test: Arithmetic, sample: Sample) -> Sample:
    """A headline three widths beyond what the numbers give, or exactly what they give."""
    assert isinstance(sample.data, Headline)
    interval = headline_interval(test)
    low, high = printed_interval(sample.data.printed)
    width = 3 * max(interval.high - interval.low, high - low, 1e-6)
    fits = headline_fits(test, interval, low, high)
    target = interval.estimate
    if fits:
        target = interval.low - width if test.relation == "at_most" else interval.high + width
    return replace(sample, data=Headline(f"{target:.12f}"))


def strengthened(
    sample: Sample, bound: float, above: bool, level: float, ratio: bool = False
) -> Sample:
    """Paired or slope measurements, centred, plus twice the effect detectable with 80 % power.

    A claim that is not supported even then could never be. A `ratio` is centred and moved on
    the scale of logarithms, on which it is judged.
    """
    if ratio:
        assert isinstance(sample.data, Paired)
        logs = replace(sample, data=Paired(np.log(sample.data.a), np.log(sample.data.b)))
        moved = strengthened(logs, log(bound), above, level).data
        assert isinstance(moved, Paired)
        return replace(sample, data=Paired(np.exp(moved.a), np.exp(moved.b)))
    sign = 1.0 if above else -1.0
    values = sample.data.a - sample.data.b if isinstance(sample.data, Paired) else None
    if values is None:
        assert isinstance(sample.data, Slopes)
        values = sample.data.values
    centred = values - values.mean()
    effect = 2 * stats.detectable_mean(float(values.std(ddof=1)), len(values), level)
    shifted = centred + bound + sign * effect
    if isinstance(sample.data, Paired):
        return replace(sample, data=Paired(sample.data.b + shifted, sample.data.b))
    return replace(sample, data=Slopes(shifted))

"""Kinds of test that count events, violations or errors."""

from __future__ import annotations

from dataclasses import replace
from math import isnan

import numpy as np

from common import stats
from common.stats import Floats, Interval
from common.workflow.claims.judging.arithmetic import (
    headline_fits,
    headline_interval,
    printed_interval,
)
from common.workflow.claims.judging.decision import (
    Decision,
    Verdict,
    decide_sample,
    sided,
    too_few,
)
from common.workflow.claims.judging.samples import (
    Arms,
    Cases,
    Headline,
    Outcomes,
    Sample,
    Survival,
)
from common.workflow.claims.kinds import (
    Arithmetic,
    Bound,
    ClosedForm,
    DifferenceOfProportions,
    Proportion,
    TimeToEvent,
)

MOST_EXACT = 100
"""Units per arm up to which Boschloo's test is asked: beyond, Newcombe's interval keeps its level,
and the exact test takes seconds to minutes."""


@decide_sample.register
def _(test: DifferenceOfProportions, sample: Sample) -> Decision:
    assert isinstance(sample.data, Arms)
    a, b = sample.data.a, sample.data.b
    counts = (int(a.sum()), len(a), int(b.sum()), len(b))
    interval = stats.newcombe_interval(*counts, test.level)
    p_value = stats.newcombe_p_value(*counts, sample.bound)
    decision = sided(interval, sample.bound, test.expect.side, p_value, "difference of proportions")
    small = max(len(a), len(b)) <= MOST_EXACT
    if decision.verdict != "undecided" and sample.bound == 0 and small:
        exact = stats.boschloo_p_value(*counts)
        if exact > 1 - test.level:
            reason = (
                f"Newcombe's interval excludes 0, Boschloo's exact test does not (p = {exact:.3f})"
            )
            return replace(decision, verdict="undecided", reason=reason)
    return decision


@decide_sample.register
def _(test: TimeToEvent, sample: Sample) -> Decision:
    assert isinstance(sample.data, Survival)
    arms = sample.data
    effect = f"difference of mean times up to {test.horizon:g}"
    if (few := too_few(min(len(arms.times_a), len(arms.times_b)), effect)) is not None:
        return few
    a = stats.restricted_mean(arms.times_a, arms.events_a, test.horizon)
    b = stats.restricted_mean(arms.times_b, arms.events_b, test.horizon)
    interval = stats.restricted_mean_interval(a, b, test.level)
    p_value = stats.restricted_mean_p_value(a, b, sample.bound)
    decision = sided(interval, sample.bound, test.expect.side, p_value, effect)
    p_rank = _log_rank(arms, test.horizon, later=interval.estimate > 0)
    if decision.verdict != "undecided" and p_rank > (1 - test.level) / 2:
        doubt = f"one-sided p = {p_rank:.3f}"
        reason = f"the interval decides, but the log-rank test does not ({doubt})"
        return replace(decision, verdict="undecided", reason=reason)
    return decision


def _log_rank(arms: Survival, horizon: float, later: bool) -> float:
    """The one-sided log-rank p-value within the horizon that the event comes later in a.

    One-sided, because the curves may cross: then the mean and the log-rank test can point
    opposite ways, both of them significantly.
    """
    return stats.log_rank_p_value(
        np.minimum(arms.times_a, horizon),
        arms.events_a * (arms.times_a <= horizon),
        np.minimum(arms.times_b, horizon),
        arms.events_b * (arms.times_b <= horizon),
        "greater" if later else "less",
    )


@decide_sample.register
def _(test: Proportion, sample: Sample) -> Decision:
    assert isinstance(sample.data, Outcomes)
    successes, n = int(sample.data.values.sum()), len(sample.data.values)
    interval = stats.proportion_interval(successes, n, test.level)
    p_value = stats.proportion_p_value(successes, n, sample.bound)
    return sided(interval, sample.bound, test.expect.side, p_value, "proportion")


@decide_sample.register
def _(test: ClosedForm, sample: Sample) -> Decision:
    assert isinstance(sample.data, Cases)
    errors = relative_errors(sample.data, test.floor)
    worst = int(errors.argmax())
    verdict: Verdict = "supported" if errors[worst] <= test.tolerance else "contradicted"
    comparison = "within" if verdict == "supported" else "beyond"
    reason = f"{comparison} the tolerance {test.tolerance:g}; worst at {sample.units[worst]}"
    return Decision(verdict, "largest relative error", _point(errors[worst], len(errors)), reason)


def relative_errors(cases: Cases, floor: float) -> Floats:
    """|measured - expected| / max(|expected|, floor), (n,); 0 where both are 0."""
    difference = np.abs(cases.measured - cases.reference)
    scale = np.maximum(np.abs(cases.reference), floor)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(difference == 0, 0.0, difference / scale)


@decide_sample.register
def _(test: Bound, sample: Sample) -> Decision:
    assert isinstance(sample.data, Cases)
    cases = sample.data
    excess = cases.measured - cases.reference
    violated = (excess if test.side == "below" else -excess) > test.tolerance
    units = np.unique(cases.unit)
    bad = len(np.unique(cases.unit[violated]))
    interval = stats.proportion_interval(bad, len(units), test.level)
    if test.max_rate == 0:
        verdict: Verdict = "contradicted" if bad else "supported"
        reason = "no case violates the bound"
        if bad:
            first = sample.units[int(violated.argmax())]
            reason = f"{bad} of {len(units)} violate the bound, first at {first}"
        return Decision(verdict, "share of violations", interval, reason)
    p_value = stats.proportion_p_value(bad, len(units), test.max_rate)
    decision = sided(interval, test.max_rate, "below", p_value, "share of violations")
    return replace(decision, reason=f"{bad} of {len(units)} units violate; {decision.reason}")


@decide_sample.register
def _(test: Arithmetic, sample: Sample) -> Decision:
    assert isinstance(sample.data, Headline)
    interval = headline_interval(test)
    if isnan(interval.low):
        reason = f"`{test.expression}` has no value for some of what the printed numbers may be"
        return Decision("undecided", "headline from the printed numbers", None, reason)
    low, high = printed_interval(sample.data.printed)
    fits = headline_fits(test, interval, low, high)
    verdict: Verdict = "supported" if fits else "contradicted"
    place = "agrees with" if fits else "disagrees with"
    reason = f"the printed headline {sample.data.printed} {place} what its own numbers give"
    return Decision(verdict, "headline from the printed numbers", interval, reason)


def _point(value: float, n: int) -> Interval:
    return Interval(float(value), float(value), float(value), 1.0, n)

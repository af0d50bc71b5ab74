"""From one sample to a decision, for each kind of test.

Supported: the interval lies where the claim says. Contradicted: it lies wholly on the other side.
Anything else, too few units and every obstacle included, is undecided.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import singledispatch
from math import inf, log
from typing import Any, Literal

import numpy as np

from common import stats
from common.stats import Floats, Interval
from common.workflow.claim_kinds import (
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
    Side,
    TimeToEvent,
    UnpairedDifference,
)
from common.workflow.judging.arithmetic import headline_fits, headline_interval, printed_interval
from common.workflow.judging.samples import (
    Arms,
    Cases,
    Headline,
    Outcomes,
    Paired,
    Sample,
    Slopes,
    Survival,
)

Verdict = Literal["supported", "contradicted", "undecided"]

FEWEST_UNITS = 5
"""A t interval over fewer units is undecided: its width would rest on next to nothing."""

FEWEST_FLIPS = 6
"""From here on the exact sign-flip test can reject at 5 %, and has to agree."""

RANDOM_FLIPS = 2_000
"""Sign flips behind the fragility of more than 10 units."""

FRAGILE = 0.05
"""Share of label flips that may still say supported before a verdict is marked fragile."""


@dataclass(frozen=True)
class Decision:
    """The outcome for one group of a claim.

    Attributes:
        verdict: supported, contradicted or undecided.
        effect: what was estimated, in words.
        interval: the estimate and its interval on the scale of the effect; None if it could not
            be computed.
        p_value: two-sided, of the effect at the edge of what the claim says; None for kinds that
            hold or do not.
        reason: why, in words.
        marks: what a reader should know besides.
        fragility: share of label flips that would still say supported.
        detectable: distance from the bound that this sample finds with 80 % power.
        needed_n: units with which the observed effect would be found with 80 % power.
        group: the values of the `for_each` columns.
    """

    verdict: Verdict
    effect: str
    interval: Interval | None
    reason: str
    p_value: float | None = None
    marks: tuple[str, ...] = ()
    fragility: float | None = None
    detectable: float | None = None
    needed_n: int | None = None
    group: dict[str, Any] = field(default_factory=dict)


def decide(test: AnyTest, sample: Sample) -> Decision:
    """The decision on one sample of a claim with this test."""
    if sample.obstacles:
        more = f" (and {len(sample.obstacles) - 1} more)" if len(sample.obstacles) > 1 else ""
        decision = Decision("undecided", "", None, f"{sample.obstacles[0]}{more}")
    else:
        decision = _decide(test, sample)
    marks = list(decision.marks)
    if not sample.varies:
        marks.append("no variation across units: is the seed used at all?")
    if sample.counted:
        marks.append(f"{sample.counted} missing values counted as the claim says")
    if decision.fragility is not None and decision.fragility > FRAGILE:
        marks.append("fragile")
    return replace(decision, marks=tuple(marks), group=sample.group)


@singledispatch
def _decide(test: AnyTest, sample: Sample) -> Decision:
    raise NotImplementedError(type(test).__name__)


def side_verdict(interval: Interval, bound: float, side: Side) -> Verdict:
    """Supported beyond `bound` on the claimed side, contradicted beyond it on the other."""
    if interval.low > bound:
        return "supported" if side == "above" else "contradicted"
    if interval.high < bound:
        return "supported" if side == "below" else "contradicted"
    return "undecided"


def range_verdict(interval: Interval, low: float, high: float) -> Verdict:
    """Supported with the whole interval inside, contradicted with all of it outside."""
    if low <= interval.low and interval.high <= high:
        return "supported"
    return "contradicted" if interval.high < low or interval.low > high else "undecided"


# ------------------------------------------------------------------------------ means over units


@_decide.register(PairedDifference)
@_decide.register(Ordering)
def _(test: PairedDifference | Ordering, sample: Sample) -> Decision:
    assert isinstance(sample.data, Paired)
    differences = sample.data.a - sample.data.b
    return _mean(differences, sample.bound, test.expect.side, test.level, "mean difference")


@_decide.register
def _(test: PairedRatio, sample: Sample) -> Decision:
    assert isinstance(sample.data, Paired)
    logs = np.log(sample.data.a / sample.data.b)
    if sample.bound <= 0:
        return Decision("undecided", "ratio", None, "the bound of a ratio has to be positive")
    decision = _mean(logs, log(sample.bound), test.expect.side, test.level, "geometric mean ratio")
    return _exponentiated(decision, sample.bound)


@_decide.register
def _(test: MonotoneTrend, sample: Sample) -> Decision:
    assert isinstance(sample.data, Slopes)
    name = "mean Kendall tau" if test.statistic == "kendall" else "mean slope"
    return _mean(sample.data.values, sample.bound, test.expect.side, test.level, name)


def _mean(values: Floats, bound: float, side: Side, level: float, effect: str) -> Decision:
    """The t interval of a mean against `bound`, with the sign-flip test as a second opinion."""
    if (few := _too_few(len(values), effect)) is not None:
        return few
    interval = stats.mean_interval(values, level)
    verdict = side_verdict(interval, bound, side)
    reason = _where(interval, bound)
    if verdict != "undecided" and len(values) >= FEWEST_FLIPS:
        p_flip = float(stats.sign_flip_p_value(values, bound))
        if p_flip > 1 - level:
            verdict = "undecided"
            reason = (
                f"the t interval excludes {bound:g}, the sign-flip test does not (p = {p_flip:.3f})"
            )
    decision = Decision(verdict, effect, interval, reason, stats.mean_p_value(values, bound))
    if verdict == "undecided":
        sd = float(values.std(ddof=1))
        return replace(
            decision,
            detectable=stats.detectable_mean(sd, len(values), level),
            needed_n=stats.required_n(interval.estimate - bound, sd, level),
        )
    if verdict == "supported":
        return replace(decision, fragility=flip_share(values - bound, side, level))
    return decision


def flip_share(excess: Floats, side: Side, level: float) -> float:
    """The share of sign flips of `excess` (n,) that would still be supported.

    All 2^n flips up to n = 10, otherwise `RANDOM_FLIPS` random ones with a fixed seed.
    """
    n = len(excess)
    if n <= 10:
        codes = np.arange(2**n)[:, None] >> np.arange(n)
        signs = np.where(codes & 1, -1.0, 1.0)
    else:
        signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(RANDOM_FLIPS, n))
    flipped = signs * excess * (1 if side == "above" else -1)
    means, sds = flipped.mean(axis=1), flipped.std(axis=1, ddof=1)
    from scipy.stats import t

    supported = means > t.ppf((1 + level) / 2, n - 1) * sds / np.sqrt(n)
    if n >= FEWEST_FLIPS and supported.any():
        # All flips share one reference distribution of |mean|: that of random signs.
        reference = np.sort(np.abs(means))
        tail = 1 - np.searchsorted(reference, np.abs(means) * (1 - 1e-12)) / len(reference)
        supported &= tail <= 1 - level
    return float(supported.mean())


def _too_few(n: int, effect: str) -> Decision | None:
    if n >= FEWEST_UNITS:
        return None
    reason = f"{n} units are too few for an interval; at least {FEWEST_UNITS} are needed"
    return Decision("undecided", effect, None, reason)


def _where(interval: Interval, bound: float) -> str:
    if interval.low > bound:
        return f"the interval lies above {bound:.6g}"
    if interval.high < bound:
        return f"the interval lies below {bound:.6g}"
    return f"the interval covers {bound:.6g}"


def _exponentiated(decision: Decision, bound: float) -> Decision:
    """A decision on logarithms, told as ratios; `bound` is a ratio."""
    if decision.interval is None:
        return decision
    raw = decision.interval
    ends = [float(np.exp(value)) for value in (raw.estimate, raw.low, raw.high)]
    interval = Interval(ends[0], ends[1], ends[2], raw.level, raw.n)
    detectable = None if decision.detectable is None else float(np.exp(decision.detectable))
    told = (
        _where(interval, bound) if decision.reason.startswith("the interval") else decision.reason
    )
    return replace(decision, interval=interval, detectable=detectable, reason=told)


@_decide.register
def _(test: Exponent, sample: Sample) -> Decision:
    assert isinstance(sample.data, Slopes)
    values = sample.data.values
    if (few := _too_few(len(values), "exponent")) is not None:
        return few
    low, high = (
        end if end is not None else sign * inf
        for end, sign in zip(test.range, (-1, 1), strict=True)
    )
    interval = stats.mean_interval(values, test.level)
    verdict = range_verdict(interval, low, high)
    tails = [stats.mean_p_value(values, low, "greater") if low > -inf else 0.0,
             stats.mean_p_value(values, high, "less") if high < inf else 0.0]  # fmt: skip
    p_value = min(1.0, 2 * max(tails))
    if verdict == "contradicted":
        p_value = stats.mean_p_value(values, low if interval.high < low else high)
    reason = _range_reason(verdict, low, high)
    decision = Decision(verdict, "mean exponent", interval, reason, p_value)
    if verdict == "undecided":
        sd = float(values.std(ddof=1))
        return replace(decision, detectable=stats.detectable_mean(sd, len(values), test.level))
    return decision


@_decide.register
def _(test: Equivalence, sample: Sample) -> Decision:
    assert isinstance(sample.data, Paired)
    a, b = sample.data.a, sample.data.b
    ratio = test.scale == "ratio"
    values = np.log(a / b) if ratio else a - b
    effect = "geometric mean ratio" if ratio else "mean difference"
    if (few := _too_few(len(values), effect)) is not None:
        return few
    margin = log(1 + test.margin) if ratio else test.margin
    interval = stats.mean_interval(values, test.level)
    verdict = range_verdict(interval, -margin, margin)
    p_value = min(1.0, 2 * stats.equivalence_p_value(values, -margin, margin))
    if verdict == "contradicted":
        p_value = stats.mean_p_value(values, np.sign(interval.estimate) * margin)
    decision = Decision(verdict, effect, interval, "", p_value)
    if verdict == "undecided":
        sd = float(values.std(ddof=1))
        decision = replace(decision, detectable=stats.detectable_mean(sd, len(values), test.level))
    if ratio:
        decision = _exponentiated(decision, 1.0)
        return replace(
            decision, reason=_range_reason(verdict, 1 / (1 + test.margin), 1 + test.margin)
        )
    return replace(decision, reason=_range_reason(verdict, -margin, margin))


def _range_reason(verdict: Verdict, low: float, high: float) -> str:
    place = {"supported": "inside", "contradicted": "outside", "undecided": "partly outside"}[
        verdict
    ]
    return f"the interval lies {place} [{low:.6g}, {high:.6g}]"


# --------------------------------------------------------------------- arms with units of their own


@_decide.register
def _(test: UnpairedDifference, sample: Sample) -> Decision:
    assert isinstance(sample.data, Arms)
    a, b, bound = sample.data.a, sample.data.b, sample.bound
    if (few := _too_few(min(len(a), len(b)), "difference of means")) is not None:
        return few
    interval = stats.welch_interval(a, b, test.level)
    p_value = stats.welch_p_value(a, b, bound)
    decision = _sided(interval, bound, test.expect.side, p_value, "difference of means")
    return _with_label_flips(
        decision,
        np.concatenate([a - bound, b]),
        len(a),
        lambda x, y: side_verdict(stats.welch_interval(x, y, test.level), 0, test.expect.side),
    )


@_decide.register
def _(test: DifferenceOfProportions, sample: Sample) -> Decision:
    assert isinstance(sample.data, Arms)
    a, b = sample.data.a, sample.data.b
    counts = (int(a.sum()), len(a), int(b.sum()), len(b))
    interval = stats.newcombe_interval(*counts, test.level)
    p_value = stats.newcombe_p_value(*counts, sample.bound)
    decision = _sided(
        interval, sample.bound, test.expect.side, p_value, "difference of proportions"
    )
    if decision.verdict != "undecided" and sample.bound == 0:
        exact = stats.boschloo_p_value(*counts)
        if exact > 1 - test.level:
            reason = (
                f"Newcombe's interval excludes 0, Boschloo's exact test does not (p = {exact:.3f})"
            )
            return replace(decision, verdict="undecided", reason=reason)
    return decision


@_decide.register
def _(test: TimeToEvent, sample: Sample) -> Decision:
    assert isinstance(sample.data, Survival)
    arms = sample.data
    effect = f"difference of mean times up to {test.horizon:g}"
    if (few := _too_few(min(len(arms.times_a), len(arms.times_b)), effect)) is not None:
        return few
    a = stats.restricted_mean(arms.times_a, arms.events_a, test.horizon)
    b = stats.restricted_mean(arms.times_b, arms.events_b, test.horizon)
    interval = stats.restricted_mean_interval(a, b, test.level)
    p_value = stats.restricted_mean_p_value(a, b, sample.bound)
    decision = _sided(interval, sample.bound, test.expect.side, p_value, effect)
    p_rank = stats.log_rank_p_value(arms.times_a, arms.events_a, arms.times_b, arms.events_b)
    if decision.verdict != "undecided" and p_rank > 1 - test.level:
        reason = f"the interval decides, but the log-rank test does not (p = {p_rank:.3f})"
        return replace(decision, verdict="undecided", reason=reason)
    return decision


def _sided(interval: Interval, bound: float, side: Side, p_value: float, effect: str) -> Decision:
    verdict = side_verdict(interval, bound, side)
    detectable = stats.detectable_effect(interval) if verdict == "undecided" else None
    reason = _where(interval, bound)
    return Decision(verdict, effect, interval, reason, p_value, detectable=detectable)


def _with_label_flips(
    decision: Decision, pooled: Floats, n_a: int, verdict: Callable[[Floats, Floats], Verdict]
) -> Decision:
    """Fragility of two unpaired arms: random relabellings that would still be supported."""
    if decision.verdict != "supported":
        return decision
    rng = np.random.default_rng(0)
    shuffled = [rng.permutation(pooled) for _ in range(400)]
    share = np.mean([verdict(x[:n_a], x[n_a:]) == "supported" for x in shuffled])
    return replace(decision, fragility=float(share))


# ------------------------------------------------------------------------------ counts and cases


@_decide.register
def _(test: Proportion, sample: Sample) -> Decision:
    assert isinstance(sample.data, Outcomes)
    successes, n = int(sample.data.values.sum()), len(sample.data.values)
    interval = stats.proportion_interval(successes, n, test.level)
    p_value = stats.proportion_p_value(successes, n, sample.bound)
    return _sided(interval, sample.bound, test.expect.side, p_value, "proportion")


@_decide.register
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


@_decide.register
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
        first = f"; first at {sample.units[int(violated.argmax())]}" if bad else ""
        reason = f"{bad} of {len(units)} cases violate the bound{first}"
        return Decision(verdict, "share of violations", interval, reason)
    p_value = stats.proportion_p_value(bad, len(units), test.max_rate)
    decision = _sided(interval, test.max_rate, "below", p_value, "share of violations")
    return replace(decision, reason=f"{bad} of {len(units)} units violate; {decision.reason}")


@_decide.register
def _(test: Arithmetic, sample: Sample) -> Decision:
    assert isinstance(sample.data, Headline)
    interval = headline_interval(test)
    low, high = printed_interval(sample.data.printed)
    fits = headline_fits(test, interval, low, high)
    verdict: Verdict = "supported" if fits else "contradicted"
    place = "agrees with" if fits else "disagrees with"
    reason = f"the printed headline {sample.data.printed} {place} what its own numbers give"
    return Decision(verdict, "headline from the printed numbers", interval, reason)


def _point(value: float, n: int) -> Interval:
    return Interval(float(value), float(value), float(value), 1.0, n)

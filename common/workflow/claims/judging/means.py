"""Kinds of test that are decided by the mean of one number per unit, or of two arms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import inf, log

import numpy as np

from common import stats
from common.stats import Floats, Interval
from common.workflow.claims.judging.decision import (
    Decision,
    Verdict,
    decide_sample,
    range_reason,
    range_verdict,
    side_verdict,
    sided,
    too_few,
    where,
)
from common.workflow.claims.judging.samples import Arms, Paired, Sample, Slopes
from common.workflow.claims.kinds import (
    Equivalence,
    Exponent,
    MonotoneTrend,
    Ordering,
    PairedDifference,
    PairedRatio,
    Side,
    UnpairedDifference,
)

RANDOM_FLIPS = 2_000
"""Sign flips behind the fragility of more than 10 units."""


@decide_sample.register(PairedDifference)
@decide_sample.register(Ordering)
def _(test: PairedDifference | Ordering, sample: Sample) -> Decision:
    assert isinstance(sample.data, Paired)
    differences = sample.data.a - sample.data.b
    return _mean(differences, sample.bound, test.expect.side, test.level, "mean difference")


@decide_sample.register
def _(test: PairedRatio, sample: Sample) -> Decision:
    assert isinstance(sample.data, Paired)
    logs = np.log(sample.data.a / sample.data.b)
    if sample.bound <= 0:
        return Decision("undecided", "ratio", None, "the bound of a ratio has to be positive")
    decision = _mean(
        logs, log(sample.bound), test.expect.side, test.level, "geometric mean ratio", sample.bound
    )
    return _exponentiated(decision, sample.bound)


@decide_sample.register
def _(test: MonotoneTrend, sample: Sample) -> Decision:
    assert isinstance(sample.data, Slopes)
    name = "mean Kendall tau" if test.statistic == "kendall" else "mean slope"
    return _mean(sample.data.values, sample.bound, test.expect.side, test.level, name)


def _mean(
    values: Floats, bound: float, side: Side, level: float, effect: str, shown: float | None = None
) -> Decision:
    """The t interval of a mean against `bound`, with the sign-flip test as a second opinion.

    `shown` is the bound as a reader knows it, when `values` are logarithms.
    """
    if (few := too_few(len(values), effect)) is not None:
        return few
    interval = stats.mean_interval(values, level)
    verdict = side_verdict(interval, bound, side)
    reason = where(interval, bound)
    if verdict != "undecided" and (p_flip := _disagreeing_flips(values, bound, level)):
        verdict = "undecided"
        edge = bound if shown is None else shown
        reason = f"the t interval excludes {edge:g}, the sign-flip test does not (p = {p_flip:.3f})"
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


def flips_can_reject(n: int, level: float) -> bool:
    """Whether the smallest p-value of the exact sign-flip test is low enough: 5 % from n = 6."""
    return 2.0 ** (1 - n) <= 1 - level


def _disagreeing_flips(values: Floats, bound: float, level: float) -> float | None:
    """The sign-flip p-value when it does not exclude `bound`; None when it does or cannot tell."""
    if not flips_can_reject(len(values), level):
        return None
    p_value = float(stats.sign_flip_p_value(values, bound))
    return p_value if p_value > 1 - level else None


def _in_range(
    values: Floats, low: float, high: float, level: float, effect: str, p_inside: float
) -> Decision:
    """The t interval of a mean against a range, with the sign-flip test as a second opinion.

    It is asked at every end that the verdict excludes.
    """
    interval = stats.mean_interval(values, level)
    verdict, p_value = range_verdict(interval, low, high), p_inside
    excluded = [end for end in (low, high) if abs(end) < inf]
    if verdict == "contradicted":
        excluded = [low if interval.high < low else high]
        p_value = stats.mean_p_value(values, excluded[0])
    decision = Decision(verdict, effect, interval, range_reason(verdict, low, high), p_value)
    doubts = [_disagreeing_flips(values, end, level) for end in excluded]
    if verdict != "undecided" and (p_flip := max(p or 0.0 for p in doubts)):
        reason = f"{decision.reason}, but the sign-flip test does not confirm it (p = {p_flip:.3f})"
        decision = replace(decision, verdict="undecided", reason=reason)
    if decision.verdict != "undecided":
        return decision
    sd = float(values.std(ddof=1))
    nearest = min(abs(interval.estimate - end) for end in (low, high))
    return replace(
        decision,
        detectable=stats.detectable_mean(sd, len(values), level),
        needed_n=stats.required_n(nearest, sd, level),
    )


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
    if flips_can_reject(n, level) and supported.any():
        # All flips share one reference distribution of |mean|: that of random signs.
        reference = np.sort(np.abs(means))
        tail = 1 - np.searchsorted(reference, np.abs(means) * (1 - 1e-12)) / len(reference)
        supported &= tail <= 1 - level
    return float(supported.mean())


def _exponentiated(decision: Decision, bound: float) -> Decision:
    """A decision on logarithms, told as ratios; `bound` is a ratio."""
    if decision.interval is None:
        return decision
    raw = decision.interval
    ends = [float(np.exp(value)) for value in (raw.estimate, raw.low, raw.high)]
    interval = Interval(ends[0], ends[1], ends[2], raw.level, raw.n)
    detectable = None if decision.detectable is None else float(np.exp(decision.detectable))
    told = where(interval, bound) if decision.reason.startswith("the interval") else decision.reason
    return replace(decision, interval=interval, detectable=detectable, reason=told)


@decide_sample.register
def _(test: Exponent, sample: Sample) -> Decision:
    assert isinstance(sample.data, Slopes)
    values = sample.data.values
    if (few := too_few(len(values), "exponent")) is not None:
        return few
    low, high = (
        end if end is not None else sign * inf
        for end, sign in zip(test.range, (-1, 1), strict=True)
    )
    tails = [stats.mean_p_value(values, low, "greater") if low > -inf else 0.0,
             stats.mean_p_value(values, high, "less") if high < inf else 0.0]  # fmt: skip
    p_inside = min(1.0, 2 * max(tails))
    return _in_range(values, low, high, test.level, "mean exponent", p_inside)


@decide_sample.register
def _(test: Equivalence, sample: Sample) -> Decision:
    assert isinstance(sample.data, Paired)
    a, b = sample.data.a, sample.data.b
    ratio = test.scale == "ratio"
    values = np.log(a / b) if ratio else a - b
    effect = "geometric mean ratio" if ratio else "mean difference"
    if (few := too_few(len(values), effect)) is not None:
        return few
    margin = log(1 + test.margin) if ratio else test.margin
    p_inside = min(1.0, 2 * stats.equivalence_p_value(values, -margin, margin))
    decision = _in_range(values, -margin, margin, test.level, effect, p_inside)
    if not ratio:
        return decision
    # The reason speaks of logarithms; the reader thinks in ratios.
    logs = f"[{-margin:.6g}, {margin:.6g}]"
    ratios = f"[{1 / (1 + test.margin):.6g}, {1 + test.margin:.6g}]"
    return replace(_exponentiated(decision, 1.0), reason=decision.reason.replace(logs, ratios))


@decide_sample.register
def _(test: UnpairedDifference, sample: Sample) -> Decision:
    assert isinstance(sample.data, Arms)
    a, b, bound = sample.data.a, sample.data.b, sample.bound
    if (few := too_few(min(len(a), len(b)), "difference of means")) is not None:
        return few
    interval = stats.welch_interval(a, b, test.level)
    p_value = stats.welch_p_value(a, b, bound)
    decision = sided(interval, bound, test.expect.side, p_value, "difference of means")
    return _with_label_flips(
        decision,
        np.concatenate([a - bound, b]),
        len(a),
        lambda x, y: side_verdict(stats.welch_interval(x, y, test.level), 0, test.expect.side),
    )


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

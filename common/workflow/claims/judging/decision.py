"""The outcome of judging one sample, and the rules that all kinds of test share."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import singledispatch
from math import ceil
from typing import Any, Literal

from common import stats
from common.stats import Interval
from common.workflow.claims.judging.samples import Sample
from common.workflow.claims.kinds import AnyTest, Side

Verdict = Literal["supported", "contradicted", "undecided"]

FEWEST_UNITS = 5
"""A t interval over fewer units is undecided: its width would rest on next to nothing."""


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


@singledispatch
def decide_sample(test: AnyTest, sample: Sample) -> Decision:
    """The decision on a sample that nothing stands in the way of; one function per kind."""
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


def where(interval: Interval, bound: float) -> str:
    """In words: on which side of `bound` the interval lies."""
    if interval.low > bound:
        return f"the interval lies above {bound:.6g}"
    if interval.high < bound:
        return f"the interval lies below {bound:.6g}"
    return f"the interval covers {bound:.6g}"


def too_few(n: int, effect: str) -> Decision | None:
    """The decision when there are too few units for an interval, otherwise None."""
    if n >= FEWEST_UNITS:
        return None
    reason = f"{n} units are too few for an interval; at least {FEWEST_UNITS} are needed"
    return Decision("undecided", effect, None, reason)


def range_reason(verdict: Verdict, low: float, high: float) -> str:
    """In words: how the interval lies to the range."""
    place = {"supported": "inside", "contradicted": "outside", "undecided": "partly outside"}[
        verdict
    ]
    return f"the interval lies {place} [{low:.6g}, {high:.6g}]"


def sided(interval: Interval, bound: float, side: Side, p_value: float, effect: str) -> Decision:
    """The decision of an interval against `bound`, with what it could have detected."""
    verdict = side_verdict(interval, bound, side)
    decision = Decision(verdict, effect, interval, where(interval, bound), p_value)
    if verdict != "undecided":
        return decision
    detectable, distance = stats.detectable_effect(interval), abs(interval.estimate - bound)
    # An interval narrows with the root of n; a distance of 0 no n would find.
    needed = ceil(interval.n * (detectable / distance) ** 2) if distance else None
    return replace(decision, detectable=detectable, needed_n=needed)

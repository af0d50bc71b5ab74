"""A verdict as a sentence that a reader can take away."""

from __future__ import annotations

from common.workflow.claims.judging.decision import Decision
from common.workflow.claims.schema import Claim


def takeaway(claim: Claim, decision: Decision, profile: str, too_small: bool) -> str:
    """One or two plain sentences: the finding, its size and uncertainty, and on what."""
    if too_small:
        return (
            f"Profile {profile} is too small to decide this; it takes {claim.decidable_from}. "
            "The computation ran."
        )
    opening = {
        "supported": "Our runs support this",
        "contradicted": "Our runs contradict this",
        "undecided": "Our runs do not decide this",
    }[decision.verdict]
    if claim.measure is None:
        opening = opening.replace("Our runs", "The paper's own numbers")
    stand_in = claim.stand_in.get(profile)  # type: ignore[call-overload]
    where = f" (measured on: {stand_in})" if stand_in else ""
    group = ", ".join(f"{name} {value}" for name, value in decision.group.items())
    at = f" (farthest from support: {group})" if group else ""
    return f"{opening}: {sentence(decision)}{at}{where}.{_outlook(decision)}"


def sentence(decision: Decision) -> str:
    """The estimate with its interval, and why that decides or does not."""
    interval = decision.interval
    if interval is None:
        return decision.reason
    text = f"{decision.effect} {number(interval.estimate)}"
    if interval.low != interval.high:
        level = f"{100 * interval.level:g} % interval " if interval.level < 1 else "range "
        text += f", {level}{number(interval.low)} to {number(interval.high)}"
    unit = "case" if decision.p_value is None else "unit"
    return f"{text}, from {interval.n} {unit}s; {decision.reason}"


def _outlook(decision: Decision) -> str:
    """For an undecided claim: what this sample could have seen, and how many would be needed."""
    if decision.verdict != "undecided" or decision.detectable is None:
        return ""
    size = "factor" if "ratio" in decision.effect else "difference"
    text = f" A {size} of {number(decision.detectable)} from the bound would have been found"
    text += " with 80 % power"
    if decision.needed_n is not None:
        text += f"; the observed one would take about {decision.needed_n} units"
    return f"{text}."


def number(value: float) -> str:
    """Four significant digits."""
    return f"{value:.4g}"

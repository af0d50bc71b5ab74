"""From one sample to a decision, for each kind of test.

Supported: the interval lies where the claim says. Contradicted: it lies wholly on the other side.
Anything else, too few units and every obstacle included, is undecided.
"""

from __future__ import annotations

from dataclasses import replace

# Importing the two modules registers their kinds of test.
from common.workflow.claims.judging import counts, means  # noqa: F401
from common.workflow.claims.judging.decision import Decision, decide_sample
from common.workflow.claims.judging.samples import Sample
from common.workflow.claims.kinds import AnyTest

FRAGILE = 0.05
"""Share of label flips that may still say supported before a verdict is marked fragile."""


def decide(test: AnyTest, sample: Sample) -> Decision:
    """The decision on one sample of a claim with this test."""
    if sample.obstacles:
        more = f" (and {len(sample.obstacles) - 1} more)" if len(sample.obstacles) > 1 else ""
        decision = Decision("undecided", "", None, f"{sample.obstacles[0]}{more}")
    else:
        decision = decide_sample(test, sample)
    marks = list(decision.marks)
    if not sample.varies:
        marks.append("no variation across units: is the seed used at all?")
    if sample.counted:
        marks.append(f"{sample.counted} missing values counted as the claim says")
    if decision.fragility is not None and decision.fragility > FRAGILE:
        marks.append("fragile")
    return replace(decision, marks=tuple(marks), group=sample.group)

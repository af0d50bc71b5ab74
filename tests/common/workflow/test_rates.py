"""How often a claim is supported when nothing is there, and how often intervals cover.

Two-sided 95 % intervals may say *supported* in 2.5 of 100 experiments whose true effect lies
exactly at the edge of the claim. Counts are compared with the binomial's 99.9 % quantile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter
from scipy.stats import binom

from common.stats import Floats
from common.workflow.claim_kinds import AnyTest, Test
from common.workflow.judging.decisions import decide
from common.workflow.judging.samples import (
    Arms,
    Cases,
    Data,
    Outcomes,
    Paired,
    Sample,
    Slopes,
    Survival,
)

PAIR = {"factor": "arm", "compare": ["new", "old"]}
ABOVE = {"expect": {"side": "above"}}
Draw = Callable[[np.random.Generator, int], Data]


def normal(rng: np.random.Generator, n: int, mean: float = 0.0) -> Floats:
    return rng.normal(mean, 1.0, n)


def paired(mean: float) -> Draw:
    return lambda rng, n: Paired(10 + normal(rng, n, mean), np.full(n, 10.0))


def ratios(log_mean: float) -> Draw:
    return lambda rng, n: Paired(np.exp(normal(rng, n, log_mean)), np.ones(n))


def slopes(mean: float) -> Draw:
    return lambda rng, n: Slopes(normal(rng, n, mean))


def two_arms(rng: np.random.Generator, n: int) -> Data:
    return Arms(rng.normal(0, 1, n), rng.normal(0, 3, n))


def two_shares(rng: np.random.Generator, n: int) -> Data:
    return Arms(rng.binomial(1, 0.4, 4 * n) * 1.0, rng.binomial(1, 0.4, 4 * n) * 1.0)


def survival(rng: np.random.Generator, n: int) -> Data:
    times, ends = rng.exponential(1, (2, 2 * n)), rng.uniform(0.5, 4, (2, 2 * n))
    seen = (times <= ends) * 1.0
    times = np.minimum(times, ends)
    return Survival(times[0], seen[0], times[1], seen[1])


def violations(rng: np.random.Generator, n: int) -> Data:
    n = 10 * n
    return Cases(rng.binomial(1, 0.2, n) * 1.0, np.full(n, 0.5), np.arange(n))


# Null: kind, the rest of the test, a draw at the edge of the claim, and the edge itself.
NULLS: dict[str, tuple[dict[str, Any], Draw, float]] = {
    "paired_difference": (PAIR | ABOVE | {"pair_by": "seed"}, paired(0.0), 0.0),
    "paired_ratio": (PAIR | ABOVE | {"pair_by": "seed"}, ratios(0.0), 1.0),
    "unpaired_difference": (PAIR | ABOVE | {"per": "seed"}, two_arms, 0.0),
    "equivalence": (PAIR | {"pair_by": "seed", "margin": 2.0}, paired(2.0), 2.0),
    "ordering": (
        {"factor": "arm", "order": ["a", "b"], "pair_by": "seed"} | ABOVE,
        paired(0.0),
        0.0,
    ),
    "proportion": (
        {"per": "seed", "expect": {"side": "above", "bound": 0.8}},
        lambda rng, n: Outcomes(rng.binomial(1, 0.8, 10 * n) * 1.0),
        0.8,
    ),
    "difference_of_proportions": (PAIR | ABOVE | {"per": "seed"}, two_shares, 0.0),
    "time_to_event": (
        PAIR | ABOVE | {"per": "seed", "event": "seen", "horizon": 2.0},
        survival,
        0.0,
    ),
    "monotone_trend": (ABOVE | {"x": "x", "per": "seed"}, slopes(0.0), 0.0),
    "exponent": ({"x": "x", "per": "seed", "range": [2.0, 9.0]}, slopes(2.0), 2.0),
    "bound": (
        {"side": "below", "limit": "limit", "max_rate": 0.2, "per": "case"},
        violations,
        0.2,
    ),
}
SIZES = (5, 8, 12)


def outcomes(kind: str, n: int, experiments: int) -> tuple[int, int]:
    """How many experiments were supported, and how many intervals covered the truth."""
    options, draw, truth = NULLS[kind]
    test: AnyTest = TypeAdapter(Test).validate_python({"kind": kind} | options)
    rng = np.random.default_rng([n, experiments, sum(map(ord, kind))])
    bound = truth if kind in ("proportion", "paired_ratio") else 0.0
    supported = covered = 0
    for _ in range(experiments):
        data = draw(rng, n)
        decision = decide(test, Sample(data, ("unit",) * 9, bound=bound))
        assert decision.interval is not None
        supported += decision.verdict == "supported"
        covered += decision.interval.low <= truth <= decision.interval.high
    return supported, covered


def check(kind: str, n: int, experiments: int) -> None:
    supported, covered = outcomes(kind, n, experiments)
    # The restricted mean's normal theory is a little short with few units; see its tolerance.
    slack = 0.015 if kind == "time_to_event" else 0.004 if "proportions" in kind else 0.0
    assert supported <= binom.ppf(0.999, experiments, 0.025 + slack), (kind, n, supported)
    assert covered >= binom.ppf(0.001, experiments, 0.95 - 2 * slack), (kind, n, covered)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("kind", NULLS)
def test_false_support_stays_at_the_level(kind: str, n: int) -> None:
    check(kind, n, 100)


@pytest.mark.slow
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("kind", NULLS)
def test_false_support_stays_at_the_level_in_many_experiments(kind: str, n: int) -> None:
    check(kind, n, 1500)


def test_these_experiments_would_notice_a_broken_level() -> None:
    """The same count with the mean moved to where 20 % are supported fails the check."""
    test = TypeAdapter(Test).validate_python(
        {"kind": "paired_difference"} | NULLS["paired_difference"][0]
    )
    rng = np.random.default_rng(0)
    found = [decide(test, Sample(paired(0.5)(rng, 8), ("unit",) * 8)).verdict for _ in range(200)]
    assert found.count("supported") > binom.ppf(0.999, 200, 0.025)

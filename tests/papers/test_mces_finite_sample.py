"""What the modules of this paper compute, apart from the notebooks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from common.tabular.mces import is_optimal
from papers.mces_finite_sample import counterexample, original, scaling


@pytest.mark.parametrize("needed", [1, 2, 5, 100, 1000])
def test_the_smallest_budget_is_found_to_a_quarter_of_an_octave(needed: int) -> None:
    found = scaling.smallest_budget(lambda budget: float(budget >= needed))
    assert max(2, needed) <= found <= max(2, needed) * 2**0.25 + 1


def test_a_share_that_never_suffices_ends_the_search() -> None:
    with pytest.raises(RuntimeError, match="fewer than 90% of runs"):
        scaling.smallest_budget(lambda budget: 0.5)


def test_a_failure_rate_of_zero_is_no_data() -> None:
    with pytest.raises(ValueError, match="none of 3 runs with N = 4000 failed"):
        scaling.failure_rates([4000], seed=0, runs=3)


@pytest.mark.parametrize("repeat", [0.6, 0.9])
def test_the_counterexample_is_what_it_says(repeat: float) -> None:
    known = counterexample.counterexample(repeat)
    assert is_optimal(known.ssp, known.optimal_policy, known.optimal_values)
    assert not is_optimal(known.ssp, known.initial_policy, known.optimal_values)


def test_biased_starts_trap_the_expected_path_and_uniform_ones_do_not() -> None:
    found = counterexample.search([0.5, 0.9], [0.1, 0.5])
    trapped = found.set_index(["repeat", "greedy_start"]).bad > 0.5
    assert trapped[0.9, 0.1]
    assert trapped.sum() == 1


def test_the_trap_is_no_artefact_of_the_time_between_two_looks_at_the_policy() -> None:
    """The path rests where the two averages of its policies' futures agree (derived here).

    With a share w of log-time spent with the bad action, the good one's value is the mean of what
    it is worth under both policies, weighted by how often it is updated under each.
    """
    end = counterexample.orbit(-2.0, counterexample.GREEDY_START).action_values[-1, 0]
    q_bad = np.array([-0.95, -1.0])  # both actions' values while the bad one is greedy ...
    q_good = np.array([-0.5, -0.55])  # ... and while the good one is, in units of the bad value
    w = np.linspace(0, 1, 100_001)[:, None]
    rate_bad, rate_good = np.array([0.9, 0.1]), np.array([0.1, 0.9])
    weight = w * rate_bad + (1 - w) * rate_good
    rest = (w * rate_bad * q_bad + (1 - w) * rate_good * q_good) / weight
    tied = rest[np.flatnonzero(np.diff(np.sign(rest[:, 0] - rest[:, 1])))]
    assert np.abs(tied - end).max(axis=1).min() < 0.03


def test_the_counterexample_traps_runs_but_not_batch_mces() -> None:
    bad = {
        arm: counterexample.counterexample_runs(arm, range(20), 100_000).bad.mean()
        for arm in counterexample.ARMS
    }
    assert bad["biased starts"] > 0.3
    assert bad["batch MCES"] == 0


def test_a_gap_is_clear_when_more_episodes_make_it_so() -> None:
    problem = original.ENVIRONMENTS["cliff_walking"]()
    assert original.clear_gap(problem, 400) == pytest.approx(
        10 * original.clear_gap(problem, 40_000)
    )


def test_the_area_under_a_curve() -> None:
    curves = pd.DataFrame({"episodes": [4, 1, 2], "max_error": [0.0, 3.0, 1.0]})
    area = original.areas(curves.assign(environment="e", visit="v", seed=0))
    assert area.area.tolist() == [pytest.approx((2.0 + 1.0) / 4)]

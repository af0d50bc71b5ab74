import math

import numpy as np
import pytest

from common.tabular.confidence import RunningEstimates, loss_bound
from common.tabular.environments import garnet
from common.tabular.exact import (
    action_values,
    policy_evaluation,
    policy_iteration,
    worst_case_length,
)


def test_batches_merge_into_the_mean_and_variance_of_all() -> None:
    samples = np.random.default_rng(0).normal(3.0, 2.0, size=(60, 2, 1))
    estimates = RunningEstimates.empty(2, 1)
    for batch in (samples[:1], samples[1:20], samples[20:]):
        variance = batch.var(axis=0, ddof=1) if len(batch) > 1 else np.full((2, 1), np.nan)
        estimates.add(batch.mean(axis=0), variance, len(batch))
    assert estimates.means == pytest.approx(samples.mean(axis=0))
    assert estimates.squares / 59 == pytest.approx(samples.var(axis=0, ddof=1))


def test_pairs_without_new_episodes_stay_as_they_are() -> None:
    estimates = RunningEstimates.empty(1, 2)
    estimates.add(np.array([[1.0, 5.0]]), np.array([[2.0, 2.0]]), 10)
    estimates.add(np.array([[3.0, np.nan]]), np.array([[2.0, np.nan]]), 10)
    assert estimates.means.tolist() == [[2.0, 5.0]]
    assert estimates.episodes.tolist() == [[20, 10]]


def test_the_radius_is_the_formula_and_infinite_without_a_variance() -> None:
    estimates = RunningEstimates.empty(1, 2)
    estimates.add(np.array([[0.0, np.nan]]), np.array([[4.0, np.nan]]), 100)
    log = math.log(4 / 0.05)
    expected = math.sqrt(2 * 4.0 * log / 100) + 7 * 10.0 * log / (3 * 99)
    assert estimates.radius(10.0, math.log(1 / 0.05))[0] == pytest.approx([expected, math.inf])


def test_intervals_cover_a_skewed_mean_at_least_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    samples = (rng.uniform(size=(4000, 1, 30)) < 0.1).astype(float)  # in [0, 1], mean 0.1
    missed = 0
    for sample in samples:
        estimates = RunningEstimates.empty(1, 1)
        estimates.add(np.array([[sample.mean()]]), np.array([[sample.var(ddof=1)]]), 30)
        missed += abs(sample.mean() - 0.1) > estimates.radius(1.0, math.log(1 / 0.1))[0, 0]
    assert missed / 4000 <= 0.1


def test_the_loss_bound_holds_for_exact_values_and_is_zero_at_the_optimum() -> None:
    ssp = garnet(8, 3, 5.0, seed=2)
    best, (lengths, _) = policy_iteration(ssp), worst_case_length(ssp)
    rng = np.random.default_rng(3)
    for policy in (best.policy, *rng.integers(3, size=(50, 8))):
        values = policy_evaluation(ssp, policy)
        q = action_values(ssp, values)
        bound = loss_bound(q, q, policy, lengths)
        assert (best.values - values <= bound + 1e-9).all()
    q = action_values(ssp, best.values)
    assert loss_bound(q, q, best.policy, lengths).max() == pytest.approx(0.0, abs=1e-9)
    # an interval of the policy's own action is no advantage of that action
    only = np.array([[5.0]])
    assert loss_bound(only - 1, only + 1, np.array([0]), np.array([3.0])).tolist() == [0.0]

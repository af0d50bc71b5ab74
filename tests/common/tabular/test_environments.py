"""The closed forms of the environments hold, and random ones are as random as they should be."""

import numpy as np
import pytest

from common.tabular.environments import SolvedSSP, chain, flat, garnet, widen_action_gap
from common.tabular.exact import (
    action_values,
    optimal_action_gap,
    policy_iteration,
    value_separation,
    worst_case_length,
)

SOLVED = {
    "flat": lambda: flat(12, 3, 7.5, 0.3, seed=1),
    "flat, one step": lambda: flat(4, 2, 1.0, 0.5, seed=1),
    "flat, one state": lambda: flat(1, 2, 3.0, 0.5, seed=1),
    "chain": lambda: chain(9, 15.0, 0.2),
    "chain, tight exit": lambda: chain(6, 7.1, 0.15),
    "chain with dummies": lambda: chain(7, 20.0, 0.3, n_actions=4),
    "chain of one": lambda: chain(1, 2.0, 0.0),
}


@pytest.fixture(params=SOLVED)
def solved(request) -> SolvedSSP:
    return SOLVED[request.param]()


def test_closed_forms(solved: SolvedSSP) -> None:
    found = policy_iteration(solved.ssp, solved.initial_policy)
    np.testing.assert_allclose(found.values, solved.optimal_values, atol=1e-10)
    np.testing.assert_array_equal(found.policy, solved.optimal_policy)
    assert worst_case_length(solved.ssp)[1] == pytest.approx(solved.worst_case_length, abs=1e-10)
    assert optimal_action_gap(solved.ssp) == pytest.approx(solved.optimal_gap, abs=1e-10)
    separation = value_separation(solved.ssp, found.policies)
    assert separation == pytest.approx(solved.separation, abs=1e-10)


def test_flat_has_the_same_gap_under_every_policy() -> None:
    env = flat(5, 3, 4.0, 0.25, seed=3)
    assert value_separation(env.ssp) == pytest.approx(0.25)
    assert len(policy_iteration(env.ssp, env.initial_policy).policies) == 2
    assert (env.optimal_policy > 0).all()
    np.testing.assert_allclose(worst_case_length(env.ssp)[0], 4.0)


@pytest.mark.parametrize("n", [2, 5, 20])
def test_chain_repairs_one_state_per_iteration(n: int) -> None:
    env = chain(n, 2 * n, 0.2, n_actions=3)
    policies = policy_iteration(env.ssp, env.initial_policy).policies
    np.testing.assert_array_equal((policies == 1).sum(axis=1), np.arange(n))


def test_garnet_has_the_announced_distribution() -> None:
    ssp = garnet(300, 4, 10.0, seed=5)
    termination = ssp.termination_probabilities
    assert termination.min() > 0.05
    assert termination.max() < 0.15
    assert termination.mean() == pytest.approx(0.1, abs=0.003)
    assert ssp.rewards.mean() == pytest.approx(-0.5, abs=0.03)
    assert ssp.one_signed
    # Uniform on the simplex: one weight of five has mean 1/5 and variance 4/150.
    weights = ssp.probabilities / (1 - termination)[:, :, None]
    assert weights.var() == pytest.approx(4 / 150, abs=0.002)


def test_seeds_and_generators_decide_everything() -> None:
    first, again = garnet(9, 2, 5.0, seed=4), garnet(9, 2, 5.0, seed=np.random.default_rng(4))
    np.testing.assert_array_equal(first.probabilities, again.probabilities)
    assert (first.rewards != garnet(9, 2, 5.0, seed=6).rewards).any()
    assert (
        flat(30, 4, 2.0, 1.0, seed=1).optimal_policy != flat(30, 4, 2.0, 1.0, seed=2).optimal_policy
    ).any()


def test_widening_the_gap_keeps_the_optimum() -> None:
    ssp = garnet(30, 4, 10.0, seed=2)
    before = policy_iteration(ssp)
    assert optimal_action_gap(ssp) < 0.05
    wide = widen_action_gap(ssp, 0.05)
    after = policy_iteration(wide)
    assert optimal_action_gap(wide) == pytest.approx(0.05)
    np.testing.assert_allclose(after.values, before.values, atol=1e-12)
    np.testing.assert_array_equal(after.policy, before.policy)
    assert ssp.reward_bound <= wide.reward_bound < ssp.reward_bound + 0.05


def test_widening_leaves_ties_alone() -> None:
    env = flat(4, 2, 3.0, 1e-12, seed=0)  # closer than the tolerance: no action is wrong
    np.testing.assert_array_equal(widen_action_gap(env.ssp, 0.5).rewards, env.ssp.rewards)
    loss = env.optimal_values[:, None] - action_values(env.ssp, env.optimal_values)
    assert np.abs(loss).max() < 1e-9


@pytest.mark.parametrize(
    "make",
    [
        lambda: flat(3, 1, 2.0, 0.1, seed=0),
        lambda: flat(3, 2, 0.9, 0.1, seed=0),
        lambda: flat(3, 2, 2.0, 0.0, seed=0),
        lambda: chain(5, 6.0, 0.2),
        lambda: chain(5, 60.0, 1.0),
        lambda: chain(5, 60.0, 0.2, n_actions=1),
        lambda: garnet(3, 2, 1.0, seed=0),
    ],
)
def test_impossible_parameters_are_refused(make) -> None:
    with pytest.raises(ValueError):
        make()

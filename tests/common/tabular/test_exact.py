"""Exact solutions agree with hand calculation, brute force and the theory of contractions."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.tabular import exact
from common.tabular.environments import chain, flat, garnet
from common.tabular.exact import (
    action_values,
    deterministic_policies,
    greedy_improvement,
    optimal_action_gap,
    policy_evaluation,
    policy_iteration,
    policy_iteration_bound,
    return_variance,
    value_separation,
    weighted_norm,
    worst_case_length,
)
from common.tabular.simulate import mc_action_values
from common.tabular.ssp import SSP

small_garnets = st.builds(
    garnet,
    st.integers(1, 12),
    st.integers(1, 4),
    st.floats(1.5, 30),
    seed=st.integers(0, 2**32),
    branching=st.integers(1, 6),
)
tiny_garnets = st.builds(
    garnet, st.integers(1, 4), st.integers(1, 3), st.floats(1.5, 10), seed=st.integers(0, 2**32)
)


def test_policy_evaluation_by_hand() -> None:
    # 0 -> 1 at reward -1; 1 pays 2 and returns to 0 half of the time: v0 = -1 + v1, v1 = 2 + v0/2.
    ssp = SSP([[[1]], [[0]]], [[[1.0]], [[0.5]]], [[-1.0], [2.0]])
    np.testing.assert_allclose(policy_evaluation(ssp, [0, 0]), [2.0, 3.0])


@pytest.mark.parametrize(
    "make", [lambda: garnet(60, 3, 15.0, seed=1), lambda: chain(60, 200.0, 0.4).ssp]
)
def test_sparse_and_dense_evaluation_agree(make, monkeypatch) -> None:
    ssp, policy = make(), np.ones(60, dtype=int)
    dense = policy_evaluation(ssp, policy)
    monkeypatch.setattr(exact, "DENSE_STATES", 0)
    np.testing.assert_allclose(policy_evaluation(ssp, policy), dense, rtol=1e-12)


def test_long_chains_are_solved_where_the_iterative_solver_gives_up() -> None:
    env = chain(1500, 4000.0, 0.2)
    values = policy_evaluation(env.ssp, env.optimal_policy)
    np.testing.assert_allclose(values, env.optimal_values, rtol=1e-12)


@given(tiny_garnets)
@settings(max_examples=25, deadline=None)
def test_policy_iteration_equals_brute_force(ssp: SSP) -> None:
    values = [
        policy_evaluation(ssp, p) for p in deterministic_policies(ssp.n_states, ssp.n_actions)
    ]
    np.testing.assert_allclose(policy_iteration(ssp).values, np.max(values, axis=0), atol=1e-8)


@given(tiny_garnets)
@settings(max_examples=25, deadline=None)
def test_worst_case_length_equals_brute_force(ssp: SSP) -> None:
    unit = SSP(ssp.successors, ssp.probabilities, np.ones_like(ssp.rewards))
    lengths = [
        policy_evaluation(unit, p) for p in deterministic_policies(ssp.n_states, ssp.n_actions)
    ]
    xi, longest = worst_case_length(ssp)
    np.testing.assert_allclose(xi, np.max(lengths, axis=0), atol=1e-8)
    assert longest == xi.max() >= 1.0


@given(small_garnets)
@settings(max_examples=40, deadline=None)
def test_policy_iteration_contracts_at_the_rate_of_the_longest_episode(ssp: SSP) -> None:
    xi, longest = worst_case_length(ssp)
    steps = policy_iteration(ssp)
    errors = weighted_norm(steps.value_history - steps.values, xi)
    assert (errors[1:] <= (1 - 1 / longest) * errors[:-1] + 1e-8).all()
    assert (np.diff(steps.value_history, axis=0) >= -1e-9).all()
    assert steps.iterations <= policy_iteration_bound(
        longest, ssp.reward_bound, optimal_action_gap(ssp)
    )


def test_the_contraction_rate_is_not_vacuous() -> None:
    """The chain comes so near to 1 - 1/K that a rate of 1 - 4/K would be refuted."""
    env = chain(12, 40.0, 0.2)
    xi, longest = worst_case_length(env.ssp)
    steps = policy_iteration(env.ssp, env.initial_policy)
    errors = weighted_norm(steps.value_history[:-1] - steps.values, xi)
    ratios = errors[1:] / errors[:-1]
    assert 1 - 4 / longest < ratios.max() <= 1 - 1 / longest


@given(small_garnets)
@settings(max_examples=40, deadline=None)
def test_lengths_shrink_in_expectation(ssp: SSP) -> None:
    xi, longest = worst_case_length(ssp)
    following = ssp.expected_next(xi)
    assert (following <= xi[:, None] - 1 + 1e-9).all()
    assert (following <= (1 - 1 / longest) * xi[:, None] + 1e-9).all()


def test_ties_keep_the_current_action() -> None:
    tied = SSP(np.zeros((1, 3, 1), int), np.zeros((1, 3, 1)), [[-2.0, -1.0, -1.0]])
    assert policy_iteration(tied, [2]).policy.tolist() == [2]
    assert policy_iteration(tied, [0]).policy.tolist() == [1]
    assert policy_iteration(tied, [1]).iterations == 0


def test_greedy_improvement_needs_more_than_the_tolerance() -> None:
    q = np.array([[[0.0, 0.5], [0.0, 0.51]], [[1.0, 0.0], [1.0, 9.0]]])
    policy = np.array([[0, 0], [1, 1]])
    assert greedy_improvement(policy, q, 0.5).tolist() == [[0, 1], [0, 1]]


def test_policy_iteration_reports_when_it_is_cut_short() -> None:
    env = chain(6, 20.0, 0.2)
    with pytest.raises(RuntimeError, match="after 3 improvements"):
        policy_iteration(env.ssp, env.initial_policy, max_iterations=3)
    assert policy_iteration(env.ssp, env.initial_policy, max_iterations=5).iterations == 5


def test_gaps_treat_almost_equal_values_as_one() -> None:
    rewards = [[-1.0, -1.0 - 1e-12, -1.5]]
    ssp = SSP(np.zeros((1, 3, 1), int), np.zeros((1, 3, 1)), rewards)
    assert optimal_action_gap(ssp) == pytest.approx(0.5)
    assert value_separation(ssp) == pytest.approx(0.5)


def test_separation_looks_at_all_pairs_of_actions_the_gap_only_at_the_best() -> None:
    ssp = SSP(np.zeros((1, 3, 1), int), np.zeros((1, 3, 1)), [[-1.0, -3.0, -3.25]])
    assert optimal_action_gap(ssp) == pytest.approx(2.0)
    assert value_separation(ssp) == pytest.approx(0.25)


def test_without_a_wrong_action_the_gap_is_infinite_and_one_step_is_enough() -> None:
    ssp = garnet(4, 1, 5.0, seed=0)
    assert optimal_action_gap(ssp) == value_separation(ssp) == math.inf
    assert policy_iteration_bound(5.0, 1.0, math.inf) == 1


def test_too_many_policies_are_not_enumerated() -> None:
    env = flat(30, 3, 2.0, 0.5, seed=0)
    with pytest.raises(ValueError, match="pass"):
        value_separation(env.ssp)
    assert value_separation(env.ssp, [env.initial_policy]) == pytest.approx(0.5)


def test_deterministic_policies_are_complete() -> None:
    policies = [tuple(p) for p in deterministic_policies(2, 3)]
    assert policies == [(a, b) for a in range(3) for b in range(3)]


def test_policy_iteration_bound_by_hand() -> None:
    # 2 ln(2 * 1 * 2 / 0.5) = 4.16
    assert policy_iteration_bound(2.0, 1.0, 0.5) == 6
    # K = 1 is a bandit: ln(2 R / gap) = ln 20 = 2.9957
    assert policy_iteration_bound(1.0, 1.0, 0.1) == 4
    assert policy_iteration_bound(1.0, 1.0, 5.0) == 1
    for bad in ((0.5, 1.0, 0.1), (2.0, 0.0, 0.1), (2.0, 1.0, 0.0), (math.inf, 1.0, 1.0)):
        with pytest.raises(ValueError, match="needs"):
            policy_iteration_bound(*bad)


def test_action_values_by_hand() -> None:
    ssp = SSP([[[1], [0]], [[0], [0]]], [[[0.5], [0.0]], [[0.0], [0.0]]], [[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_allclose(action_values(ssp, np.array([0.0, 4.0])), [[3.0, 2.0], [3.0, 4.0]])


def test_the_variance_of_returns_is_that_of_simulated_ones() -> None:
    ssp = garnet(6, 2, 5.0, seed=4)
    policy = np.array([0, 1, 0, 1, 0, 1])
    simulated = mc_action_values(ssp, policy, 100_000, seed=0).variance[np.arange(6), policy]
    assert return_variance(ssp, policy) == pytest.approx(simulated, rel=0.05)


def test_a_return_without_chance_has_no_variance() -> None:
    known = chain(5, exit_cost=6.0, slip=0.0)
    assert return_variance(known.ssp, known.optimal_policy).tolist() == [0.0] * 5

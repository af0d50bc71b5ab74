"""Batch exploring starts follows its definition, and is optimal when its budget says so."""

import dataclasses
import math

import numpy as np
import pytest

from common.tabular.budget import prescribed_budget
from common.tabular.environments import chain, flat, garnet, widen_action_gap
from common.tabular.exact import optimal_action_gap, policy_iteration
from common.tabular.mces import (
    BatchMcesResult,
    batch_mces,
    batch_mces_runs,
    is_optimal,
    optimal_policies,
)
from common.tabular.simulate import mc_action_values
from common.tabular.ssp import SSP


def policies(runs: list[BatchMcesResult]) -> np.ndarray:
    return np.array([run.policy for run in runs])


def slow_batch_mces(ssp, policy, episodes, gap, max_iterations, seed, horizon):
    """The definition, one state at a time."""
    policy, changes, steps = list(policy), [], 0
    for iteration in range(max_iterations):
        got = mc_action_values(ssp, policy, episodes, seed, stream=iteration, horizon=horizon)
        steps += int(got.steps)
        changed = 0
        for state, q in enumerate(got.values):
            if q[policy[state]] < max(q) - gap / 2:
                policy[state] = int(np.argmax(q))
                changed += 1
        changes.append(changed)
        if changed == 0:
            break
    return policy, tuple(changes), steps


@pytest.mark.parametrize("horizon", [None, 12])
def test_follows_the_definition(horizon) -> None:
    ssp = widen_action_gap(garnet(8, 3, 6.0, seed=2), 0.2)
    got = batch_mces(ssp, np.zeros(8, int), 300, 0.1, 9, 5, horizon=horizon)
    policy, changes, steps = slow_batch_mces(ssp, [0] * 8, 300, 0.1, 9, 5, horizon)
    assert (got.policy.tolist(), got.changes, got.steps) == (policy, changes, steps)
    assert got.episodes == got.iterations * 24 * 300
    assert (got.truncated > 0) == (horizon is not None)


def test_runs_together_equal_runs_alone_for_any_threads() -> None:
    env = flat(6, 3, 8.0, 0.5, seed=0)
    arguments = (env.ssp, env.initial_policy, 6, env.separation, 20)
    together = batch_mces_runs(*arguments, range(8), threads=2)
    assert len({run.changes for run in together}) > 1
    for seed, run in enumerate(together):
        alone = batch_mces(*arguments, seed, threads=1)
        assert alone.policy.tolist() == run.policy.tolist()
        assert (alone.changes, alone.steps) == (run.changes, run.steps)


def test_the_prescribed_number_of_episodes_succeeds_and_a_few_do_not() -> None:
    env = flat(3, 2, 1.0, 0.5, seed=1)  # one-step episodes are deterministic: use garnet below
    budget = prescribed_budget(3, 2, 1.0, 1.0, 0.5, math.log(10), "truncated", one_signed=True)
    result = batch_mces(
        env.ssp, env.initial_policy, budget.episodes_per_pair, 0.5, budget.iterations, 0,
        horizon=budget.horizon,
    )  # fmt: skip
    assert is_optimal(env.ssp, result.policy, env.optimal_values)

    noisy = flat(5, 2, 2.0, 0.5, seed=1)
    plenty, few = (
        batch_mces_runs(noisy.ssp, noisy.initial_policy, episodes, 0.5, 6, range(40))
        for episodes in (2000, 4)
    )
    assert optimal_policies(noisy.ssp, policies(plenty), noisy.optimal_values).all()
    assert 0 < optimal_policies(noisy.ssp, policies(few)).mean() < 1


def test_stops_at_the_first_unchanged_policy_unless_told_otherwise() -> None:
    env = flat(5, 2, 2.0, 0.5, seed=1)
    stopped = batch_mces(env.ssp, env.initial_policy, 5000, 0.5, 6, 0)
    assert (stopped.changes, stopped.settled) == ((5, 0), True)
    full = batch_mces(env.ssp, env.initial_policy, 5000, 0.5, 6, 0, stop_when_unchanged=False)
    assert (full.changes, full.episodes) == ((5, 0, 0, 0, 0, 0), 6 * 50_000)
    short = batch_mces(env.ssp, env.initial_policy, 5000, 0.5, 1, 0)
    assert (short.changes, short.settled) == ((5,), False)


def test_chain_needs_an_iteration_per_state() -> None:
    env = chain(5, 8.0, 0.2)
    result = batch_mces(env.ssp, env.initial_policy, 4000, env.separation, 10, 3)
    assert result.changes == (1, 1, 1, 1, 0)
    assert is_optimal(env.ssp, result.policy)


def test_a_tie_is_never_left_and_infinite_gaps_change_nothing() -> None:
    env = flat(4, 2, 5.0, 0.5, seed=0)
    tied = dataclasses.replace(env.ssp, rewards=np.full((4, 2), -0.5))
    for start in (0, 1):
        result = batch_mces(tied, np.full(4, start), 5000, 0.5, 3, 0)
        assert (result.policy.tolist(), result.changes) == ([start] * 4, (0,))
        assert is_optimal(tied, result.policy)
    assert batch_mces(env.ssp, env.initial_policy, 10, math.inf, 3, 0).changes == (0,)


def test_optimality_is_judged_by_value() -> None:
    ssp = SSP(np.zeros((1, 3, 1), int), np.zeros((1, 3, 1)), [[-1.0, -1.0, -1.0 - 1e-6]])
    assert is_optimal(ssp, [0])
    assert is_optimal(ssp, [1])
    assert not is_optimal(ssp, [2])
    assert optimal_action_gap(ssp) == pytest.approx(1e-6)


def test_optimal_policies_judges_each_policy() -> None:
    env = flat(5, 2, 2.0, 0.5, seed=1)
    runs = batch_mces_runs(env.ssp, env.initial_policy, 4, 0.5, 6, range(30))
    best = policy_iteration(env.ssp).values
    expected = [is_optimal(env.ssp, run.policy, best) for run in runs]
    assert optimal_policies(env.ssp, policies(runs)).tolist() == expected


@pytest.mark.parametrize(("gap", "iterations"), [(0.0, 1), (-1.0, 1), (math.nan, 1), (0.5, 0)])
def test_bad_arguments_are_refused(gap: float, iterations: int) -> None:
    env = flat(3, 2, 2.0, 0.5, seed=0)
    with pytest.raises(ValueError, match="gap must be positive"):
        batch_mces(env.ssp, env.initial_policy, 10, gap, iterations, 0)

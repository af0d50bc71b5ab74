import math

import numpy as np
import pytest

from common.tabular.elimination import eliminating_mces
from common.tabular.environments import chain, flat, garnet, widen_action_gap
from common.tabular.exact import policy_iteration, value_separation, worst_case_length
from common.tabular.mces import is_optimal
from common.tabular.ssp import SSP

LOG_10 = math.log(10)


def test_it_follows_exact_policy_iteration() -> None:
    known = chain(4, exit_cost=5.0, slip=0.1)
    result = eliminating_mces(
        known.ssp, known.initial_policy, known.worst_case_length, 1.0, LOG_10, seed=0
    )
    exact = policy_iteration(known.ssp, known.initial_policy)
    assert is_optimal(known.ssp, result.policy)
    assert result.changes == (*(1,) * exact.iterations, 0)


@pytest.mark.parametrize("seed", range(5))
def test_it_finds_an_optimal_policy_with_fewer_episodes_than_the_uniform_budget(seed: int) -> None:
    ssp = widen_action_gap(garnet(4, 2, 1.5, branching=2, seed=seed), 0.5)
    start = np.zeros(4, np.int64)
    length = worst_case_length(ssp)[1]
    separation = value_separation(ssp, policy_iteration(ssp, start).policies)
    result = eliminating_mces(ssp, start, length, separation, LOG_10, seed)
    assert is_optimal(ssp, result.policy)
    assert result.episodes < 1e6  # the uniform budget prescribes over 2e6 for one sweep


def test_results_depend_on_the_seed_but_not_on_threads() -> None:
    known = flat(6, 3, 3.0, 0.5, seed=1)
    one, two, other = (
        eliminating_mces(known.ssp, known.initial_policy, 3.0, 0.5, LOG_10, seed, threads=threads)
        for seed, threads in ((0, 1), (0, 2), (1, 2))
    )
    assert (one.policy == two.policy).all()
    assert (one.episodes, one.steps) == (two.episodes, two.steps)
    assert one.steps != other.steps


def test_exact_ties_keep_the_current_action() -> None:
    # every action is the same: nothing to find, and the widths of the intervals end the race
    twins = SSP(np.zeros((2, 3, 1), int), np.full((2, 3, 1), 0.5), np.full((2, 3), -1.0))
    result = eliminating_mces(twins, [2, 1], 2.0, 0.5, LOG_10, seed=0)
    assert result.policy.tolist() == [2, 1]
    assert result.changes == (0,)


def test_among_equal_better_actions_the_lowest_index_wins() -> None:
    ssp = SSP(np.zeros((1, 3, 1), int), np.zeros((1, 3, 1)), [[-2.0, -1.0, -1.0]])
    assert eliminating_mces(ssp, [0], 1.0, 1.0, LOG_10, seed=0).policy.tolist() == [1]


def test_bad_arguments_are_errors() -> None:
    known = flat(2, 2, 2.0, 0.5, seed=0)
    with pytest.raises(ValueError, match="at least 2 episodes"):
        eliminating_mces(known.ssp, [0, 0], 2.0, 0.5, LOG_10, 0, first_episodes=1)
    with pytest.raises(ValueError, match="needs length >= 1"):
        eliminating_mces(known.ssp, [0, 0], 0.5, 0.5, LOG_10, 0)


def test_a_separation_that_is_far_too_small_does_not_run_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("common.tabular.elimination.MAX_ROUNDS", 3)
    twins = SSP(np.zeros((1, 2, 1), int), np.full((1, 2, 1), 0.5), np.full((1, 2), -1.0))
    with pytest.raises(RuntimeError, match=r"state 0 is undecided .* separation of 1e-06"):
        eliminating_mces(twins, [0], 2.0, 1e-6, LOG_10, seed=0)

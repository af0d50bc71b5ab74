"""Models given by outcomes become SSPs whose returns have exactly the same distribution."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from common.tabular.exact import action_values, policy_evaluation, worst_case_length
from common.tabular.outcomes import decision_gaps, from_outcomes
from common.tabular.simulate import mc_action_values
from common.tabular.ssp import SSP


def random_layers(seed: int, *, width: int = 3, depth: int = 4, n_actions: int = 2):
    """A random model without loops; its rewards are whole numbers, so returns add up exactly."""
    rng = np.random.default_rng(seed)
    model = {}
    for layer in range(depth):
        for place in range(width):
            row = {}
            for action in range(n_actions):
                chances = rng.dirichlet(np.ones(5))
                chances[-1] = 1.0 - chances[:-1].sum()
                row[action] = [
                    (
                        chance,
                        (layer + 1, int(rng.integers(width))),
                        int(rng.integers(-2, 3)),
                        bool(layer == depth - 1 or rng.uniform() < 0.3),
                    )
                    for chance in chances
                ]
            model[layer, place] = row
    return model


def return_distribution(model, termination: float, state, action: int) -> Counter:
    """{return: probability} of a pair if action 0 follows, from the outcomes themselves."""
    returns: Counter = Counter()
    for chance, following, reward, terminated in model[state][action]:
        returns[reward] += chance * (1.0 if terminated else termination)
        if not terminated:
            later = return_distribution(model, termination, following, 0)
            for total, probability in later.items():
                returns[reward + total] += chance * (1 - termination) * probability
    return returns


def ssp_return_distribution(ssp: SSP, state: int, action: int) -> Counter:
    returns: Counter = Counter()
    reward = ssp.rewards[state, action]
    returns[reward] += ssp.termination_probabilities[state, action]
    for following, chance in zip(
        ssp.successors[state, action], ssp.probabilities[state, action], strict=True
    ):
        if chance > 0:
            for total, probability in ssp_return_distribution(ssp, following, 0).items():
                returns[reward + total] += chance * probability
    return returns


@pytest.mark.parametrize("termination", [0.0, 0.2])
@pytest.mark.parametrize("seed", range(4))
def test_returns_keep_their_distribution(seed: int, termination: float) -> None:
    outcomes = random_layers(seed)
    model = from_outcomes(outcomes, start=[(0, 0), (0, 1)], termination=termination)
    assert model.ssp.n_states > model.n_decision_states  # there is something to preserve
    for state, label in enumerate(model.labels):
        for action in (0, 1):
            expected = return_distribution(outcomes, termination, label, action)
            got = ssp_return_distribution(model.ssp, state, action)
            for total in expected | got:
                assert got[total] == pytest.approx(expected[total], abs=1e-12)


def test_simulated_returns_have_the_exact_variance() -> None:
    """The second moment m of returns solves m = r^2 + 2 r P v + P m, an SSP of its own."""
    ssp = from_outcomes(random_layers(3), start=[(0, 0)], termination=0.1).ssp
    policy = np.zeros(ssp.n_states, int)
    values = policy_evaluation(ssp, policy)
    squares = replace(ssp, rewards=ssp.rewards**2 + 2 * ssp.rewards * ssp.expected_next(values))
    second = action_values(squares, policy_evaluation(squares, policy))
    variance = second - action_values(ssp, values) ** 2
    got = mc_action_values(ssp, policy, 40_000, seed=1)
    np.testing.assert_allclose(got.variance, variance, rtol=0.05, atol=1e-12)


def test_an_outcome_that_pays_the_base_reward_needs_no_transit_state() -> None:
    moves = [(0.4, "b", -1.0, False), (0.6, "a", -1.0, False)]
    model = from_outcomes({"a": {0: moves}, "b": {0: [(1.0, "", 5, True)]}}, start="a")
    assert model.labels == ("a", "b")
    assert model.ssp.successors.tolist() == [[[1, 0]], [[0, 0]]]
    assert model.ssp.probabilities.tolist() == [[[0.4, 0.6]], [[0.0, 0.0]]]
    assert model.ssp.rewards.tolist() == [[-1.0], [5.0]]


def test_other_outcomes_pay_the_difference_in_transit() -> None:
    """The base is the most probable reward (2, in all), not that of the most probable outcome."""
    row = [(0.4, "a", 7.0, True), (0.3, "b", 2.0, False), (0.3, "c", 2.0, True)]
    model = from_outcomes({"a": {0: row}, "b": {0: [(1.0, "b", 0.0, True)]}}, start=["a"])
    assert model.labels == ("a", "b")
    assert model.ssp.rewards[:, 0].tolist() == [2.0, 0.0, 5.0]
    assert model.ssp.transition_matrix([0, 0, 0]).toarray().tolist() == [
        [0, 0.3, 0.4], [0, 0, 0], [0, 0, 0]
    ]  # fmt: skip


def test_transit_states_are_shared_by_next_state_and_reward_due() -> None:
    ends = {0: [(0.6, "a", 0.0, True), (0.4, "a", 1.0, True)]}
    moves = [(0.7, "a", -1.0, True), (0.2, "b", 0.0, False), (0.1, "b", 0.0, True)]
    outcomes = {"a": ends, "b": ends, "c": {0: moves}, "d": {0: moves}}
    model = from_outcomes(outcomes, start="abcd")
    # One pays 1 and ends (from everywhere), the other pays 1 and moves to b.
    assert model.ssp.n_states == 4 + 2
    assert model.ssp.rewards[4:].tolist() == [[1.0], [1.0]]
    assert sorted(model.ssp.termination_probabilities[4:, 0]) == [0.0, 1.0]


def test_all_actions_are_the_same_in_transit() -> None:
    model = from_outcomes(random_layers(5, n_actions=3), start=[(0, 0)])
    n = model.n_decision_states
    for array in (model.ssp.rewards, model.ssp.successors, model.ssp.probabilities):
        assert (array[n:] == array[n:, :1]).all()
    assert (model.ssp.rewards[n:] != 0).all()


def test_outcomes_with_the_same_successor_are_merged() -> None:
    thirds = [(1 / 3, "a", -1.0, False), (1 / 3, "b", -1.0, False), (1 / 3, "a", -1.0, False)]
    outcomes = {"a": {0: thirds}, "b": {0: [(1.0, "b", 0.0, True)]}}
    ssp = from_outcomes(outcomes, start=["a"]).ssp
    assert ssp.branching == 2
    np.testing.assert_allclose(ssp.transition_matrix([0, 0]).toarray()[0], [2 / 3, 1 / 3])


def test_only_states_that_can_be_reached_are_kept_in_their_order() -> None:
    def go(target: str, chance: float = 1.0):
        return {0: [(chance, target, 0.0, False), (1 - chance, "nowhere", 0.0, chance < 1)]}

    outcomes = {"d": go("d", 0.5), "never": go("a"), "c": go("d"), "b": go("c"), "a": go("b")}
    model = from_outcomes(outcomes, start=["b"])
    assert model.labels == ("d", "c", "b")
    assert model.ssp.transition_matrix([0, 0, 0]).toarray().tolist() == [
        [0.5, 0, 0], [1, 0, 0], [0, 1, 0]
    ]  # fmt: skip


def test_termination_discounts_and_makes_proper() -> None:
    stay = {"a": {0: [(0.25, "a", 4.0, False), (0.75, "a", 0.0, False)]}}
    with pytest.raises(ValueError, match="improper"):
        from_outcomes(stay, start=["a"])
    ssp = from_outcomes(stay, start=["a"], termination=0.1).ssp
    values = policy_evaluation(ssp, [0, 0])
    assert values[0] == pytest.approx(1.0 / 0.1)  # the mean reward, for 1 / 0.1 steps
    assert worst_case_length(ssp)[0][0] == pytest.approx(1.25 / 0.1)
    assert values[1] == pytest.approx(4.0 + 0.9 * values[0])


def test_termination_leaves_outcomes_that_end_anyway_alone() -> None:
    toss = {"coin": {0: [(0.75, "", 1.0, True), (0.25, "", -1.0, True)]}}
    ssp = from_outcomes(toss, start=["coin"], termination=0.5).ssp
    assert policy_evaluation(ssp, [0, 0])[0] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("outcomes", "start", "message"),
    [
        ({}, [], "at least one start state"),
        ({}, ["a"], "unknown start state 'a'"),
        ({"a": {0: [(1.0, "b", 0.0, False)]}}, "a", "unknown next state 'b' of state 'a'"),
        ({"a": {0: [(0.5, "a", 0.0, True)]}}, "a", "of state 'a', action 0 sum to 0.5, not to 1"),
        ({"a": {0: []}}, "a", "sum to 0, not"),
        ({"a": {0: [(math.nan, "a", 0.0, True)]}}, "a", "sum to nan, not"),
        ({"a": {0: [(1.5, "a", 0.0, True), (-0.5, "a", 0.0, True)]}}, "a", "negative"),
        ({"a": {0: [(1.0, "a", math.inf, True)]}}, "a", "reward of state 'a', action 0 .* finite"),
        ({"a": {}}, "a", "'a' has actions .*at least one"),
        ({"a": {1: [(1.0, "a", 0.0, True)]}}, "a", r"'a' has actions \[1\]"),
        (
            {"a": {0: [(1.0, "b", 0.0, False)]}, "b": {0: [], 1: []}},
            "a",
            r"'b' has actions \[0, 1\]",
        ),
    ],
)  # fmt: skip
def test_bad_models_are_refused(outcomes, start, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_outcomes(outcomes, start=start)


@pytest.mark.parametrize("termination", [-0.1, 1.0, math.nan])
def test_bad_termination_is_refused(termination: float) -> None:
    with pytest.raises(ValueError, match="termination"):
        from_outcomes(random_layers(0), start=[(0, 0)], termination=termination)


def test_decision_gaps_compare_the_best_with_the_second_best() -> None:
    def pay(*rewards: float):
        return {action: [(1.0, "", reward, True)] for action, reward in enumerate(rewards)}

    toss = [(0.5, "", 8.0, True), (0.5, "", 0.0, True)]
    outcomes = {"a": pay(1.0, 5.0, 2.0), "tie": pay(3.0, 3.0, 0.0), "coin": pay(0, 1, 2)}
    outcomes["coin"] = {**outcomes["coin"], 0: toss}
    model = from_outcomes(outcomes, start=outcomes)
    assert decision_gaps(model).tolist() == [3.0, 0.0, 2.0]  # and none for the transit state


def test_a_single_action_has_no_rival() -> None:
    assert decision_gaps(from_outcomes(random_layers(0, n_actions=1), start=[(0, 0)])).min() == (
        math.inf
    )

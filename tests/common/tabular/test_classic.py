"""Blackjack and the cliff walk agree with gymnasium and with dynamic programming on the rules."""

import functools
import itertools
import math
import subprocess
import sys
from dataclasses import replace

import gymnasium
import numpy as np
import pytest

from common.tabular.classic import BlackjackState, blackjack, cliff_walking
from common.tabular.exact import (
    action_values,
    policy_evaluation,
    policy_iteration,
    worst_case_length,
)
from common.tabular.outcomes import decision_gaps
from common.tabular.simulate import mc_action_values
from common.tabular.ssp import SSP

DECK = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10, 10]


@functools.cache
def blackjack_problem():
    return blackjack()


@functools.cache
def cliff_problem():
    return cliff_walking()


# The oracle knows a hand as its least sum and whether it holds an ace, which is all that counts
# beside being a natural; payoffs are settled by gymnasium itself.


def best_sum(least: int, ace: bool) -> int:
    return least + 10 if ace and least <= 11 else least


def state_of(least: int, ace: bool, dealer: int, natural: bool = False) -> BlackjackState:
    total = best_sum(least, ace)
    return BlackjackState(total, dealer, total != least, natural)


@functools.cache
def dealer_ends(least: int, ace: bool, cards: int = 1):
    """{(final sum, or 22 for too much; whether natural): probability}."""
    total = best_sum(least, ace)
    if total >= 17:
        return {(min(total, 22), cards == 2 and total == 21): 1.0}
    ends: dict[tuple[int, bool], float] = {}
    for card in DECK:
        for end, chance in dealer_ends(least + card, ace or card == 1, cards + 1).items():
            ends[end] = ends.get(end, 0.0) + chance / 13
    return ends


def hand(total: int, usable_ace: bool, natural: bool) -> list[int]:
    """Some cards that make up this hand; sums above 21 are a bust."""
    if usable_ace:
        return [1, 10] if natural else [1, *[1] * (total - 11)]
    return [10, total - 12, 2] if total > 12 else [10, 2]


@functools.cache
def reward_of_sticking(state: BlackjackState, dealer_sum: int, dealer_natural: bool) -> float:
    env = blackjack_env()
    env.reset(seed=0)
    env.unwrapped.player = hand(state.player_sum, state.usable_ace, state.natural)
    env.unwrapped.dealer = [1, 10] if dealer_natural else hand(dealer_sum, False, False)
    return float(env.step(0)[1])


@functools.cache
def blackjack_env():
    return gymnasium.make("Blackjack-v1", sab=True)


def sticking(state: BlackjackState, payoff) -> float:
    ends = dealer_ends(state.dealer_card, state.dealer_card == 1)
    return sum(p * payoff(reward_of_sticking(state, *end)) for end, p in ends.items())


def oracle(act, payoff=float):
    """{label: expected payoffs (of stick, of hit)} if `act(label, stick, hit)` decides later on."""
    found = {}

    def evaluate(least: int, ace: bool, dealer: int, natural: bool = False) -> tuple[float, float]:
        state = state_of(least, ace, dealer, natural)
        if state not in found:
            hit = 0.0
            for card in DECK:
                drawn = (least + card, ace or card == 1)
                if best_sum(*drawn) > 21:
                    hit += payoff(-1.0) / 13
                else:
                    values = evaluate(*drawn, dealer)
                    hit += values[act(state_of(*drawn, dealer), *values)] / 13
            found[state] = (sticking(state, payoff), hit)
        return found[state]

    for dealer in range(1, 11):
        for least in range(12, 22):
            evaluate(least, False, dealer)
        for least in range(2, 12):
            evaluate(least, True, dealer)
        evaluate(11, True, dealer, natural=True)
    return found


def oracle_array(problem, *arguments) -> np.ndarray:
    found = oracle(*arguments)
    assert set(found) == set(problem.labels)
    return np.array([found[label] for label in problem.labels])


def second_moments(ssp: SSP, policy) -> np.ndarray:
    """[S, A]: m = r^2 + 2 r P v + P m for the squares of returns."""
    values = policy_evaluation(ssp, policy)
    squares = replace(ssp, rewards=ssp.rewards**2 + 2 * ssp.rewards * ssp.expected_next(values))
    return action_values(squares, policy_evaluation(squares, policy))


def sticking_from(problem, least_sum: int) -> np.ndarray:
    """The policy that hits below `least_sum`; in transit states it does not matter."""
    policy = np.zeros(problem.ssp.n_states, int)
    policy[: len(problem.labels)] = [label.player_sum < least_sum for label in problem.labels]
    return policy


def test_the_labels_of_blackjack_are_the_200_of_the_book_and_10_naturals() -> None:
    labels = blackjack_problem().labels
    book = itertools.product(range(12, 22), range(1, 11), (False, True))
    assert labels[:200] == tuple((*state, False) for state in book)
    assert labels[200:] == tuple((21, dealer, True, True) for dealer in range(1, 11))
    assert blackjack_problem().n_decision_states == 210


def test_optimal_values_of_blackjack_equal_direct_recursion() -> None:
    problem = blackjack_problem()
    expected = oracle_array(problem, lambda state, stick, hit: int(hit > stick))
    solution = policy_iteration(problem.ssp)
    np.testing.assert_allclose(solution.action_values[:210], expected, atol=1e-12)
    assert solution.policy[:210].tolist() == expected.argmax(axis=1).tolist()
    np.testing.assert_allclose(
        decision_gaps(problem), np.abs(expected[:, 0] - expected[:, 1]), atol=1e-12
    )


def test_squared_returns_of_blackjack_equal_direct_recursion() -> None:
    """Returns are -1, 0 or 1: the mean square is the probability that it is no draw."""
    problem = blackjack_problem()
    expected = oracle_array(problem, lambda state, *_: int(state.player_sum < 20), lambda r: r**2)
    got = second_moments(problem.ssp, sticking_from(problem, 20))[:210]
    np.testing.assert_allclose(got, expected, atol=1e-12)


# Rows are sums, columns the dealer's card from ace to 10: Sutton and Barto (2018), figure 5.2.
HARD = {12: "HHHSSSHHHH", 13: "HSSSSSHHHH", 16: "HSSSSSHHHH", 17: "SSSSSSSSSS", 21: "SSSSSSSSSS"}
HARD |= {14: HARD[13], 15: HARD[13], 18: HARD[17], 19: HARD[17], 20: HARD[17]}
SOFT = {total: "HHHHHHHHHH" for total in range(12, 18)}
SOFT |= {total: "SSSSSSSSSS" for total in (19, 20, 21)}
# The exact values decide against an ace: -0.338 for hitting, -0.377 for sticking.
SOFT |= {18: "HSSSSSSSHH"}


@pytest.mark.parametrize(("usable_ace", "chart"), [(False, HARD), (True, SOFT)])
def test_the_optimal_policy_of_blackjack_is_the_known_one(usable_ace: bool, chart) -> None:
    problem = blackjack_problem()
    policy = dict(zip(problem.labels, policy_iteration(problem.ssp).policy, strict=False))
    for total in range(12, 22):
        row = [policy[total, dealer, usable_ace, False] for dealer in range(1, 11)]
        assert "".join("SH"[action] for action in row) == chart[total]


def test_only_a_natural_beats_a_dealt_21() -> None:
    """Against a ten, a dealer's natural (1/13) draws with the natural; any 21 draws with a 21."""
    problem = blackjack_problem()
    q = policy_iteration(problem.ssp).action_values
    values = {label: q[state, 0] for state, label in enumerate(problem.labels)}
    assert values[21, 10, True, True] == pytest.approx(12 / 13)
    assert values[21, 1, True, True] == pytest.approx(9 / 13)
    assert values[21, 7, True, True] == pytest.approx(1.0)
    of_21 = sum(p for (total, _), p in dealer_ends(10, False).items() if total == 21)
    assert values[21, 10, True, False] == pytest.approx(1 - of_21)
    assert values[21, 10, False, False] == pytest.approx(1 - of_21)


def value_of_the_deal(problem, action_means: np.ndarray, policy) -> float:
    """The mean over gymnasium's deals, with forced hits below 12."""
    chosen = action_means[np.arange(len(policy)), policy]
    values = dict(zip(problem.labels, chosen, strict=False))

    def value(least: int, ace: bool, dealer: int, natural: bool) -> float:
        if best_sum(least, ace) >= 12:
            return values[state_of(least, ace, dealer, natural)]
        return np.mean([value(least + c, ace or c == 1, dealer, False) for c in DECK])

    deals = itertools.product(range(1, 11), repeat=3)
    weight = {card: DECK.count(card) / 13 for card in DECK}
    return sum(
        weight[a] * weight[b] * weight[d] * value(a + b, 1 in (a, b), d, {a, b} == {1, 10})
        for a, b, d in deals
    )


def test_episodes_of_gymnasium_have_our_mean_and_variance() -> None:
    problem, env = blackjack_problem(), blackjack_env().unwrapped
    policy = sticking_from(problem, 20)
    ssp, n = problem.ssp, 6000
    q = action_values(ssp, policy_evaluation(ssp, policy))
    mean = value_of_the_deal(problem, q, policy)
    square = value_of_the_deal(problem, second_moments(ssp, policy), policy)
    returns = []
    env.reset(seed=5)
    for _ in range(n):
        (total, _, _), _ = env.reset()
        terminated = False
        while not terminated:
            (total, _, _), reward, terminated, _, _ = env.step(int(total < 20))
        returns.append(reward)
    assert abs(np.mean(returns) - mean) < 4 * math.sqrt((square - mean**2) / n)
    assert abs(np.square(returns).mean() - square) < 4 * math.sqrt(square * (1 - square) / n)


def test_the_transit_states_give_simulated_blackjack_the_exact_variance() -> None:
    problem, n = blackjack_problem(), 4000
    policy = sticking_from(problem, 20)
    got = mc_action_values(problem.ssp, policy, n, seed=2)
    square = second_moments(problem.ssp, policy)[:210]
    estimate = (got.variance * (n - 1) / n + got.values**2)[:210]
    error = np.sqrt(np.maximum(square * (1 - square), 0) / n)
    sure = square > 1 - 1e-12
    assert np.abs(estimate - square)[sure].max() < 1e-9
    assert (np.abs(estimate - square) / np.where(sure, 1, error)).max() < 5


def test_blackjack_starts_with_what_can_be_dealt_or_drawn_to() -> None:
    problem = blackjack_problem()
    drawn = [
        state
        for state, label in enumerate(problem.labels)
        if label[0] == 21 and label[2:] == (1, 0)
    ]
    assert problem.start.shape == problem.ssp.rewards.shape
    assert len(drawn) == 10
    assert not problem.start[drawn].any()
    assert not problem.start[210:].any()
    assert np.unique(problem.start).tolist() == [0.0, 1 / 400]
    assert problem.start.sum() == pytest.approx(1.0)


def test_blackjack_is_short() -> None:
    longest = worst_case_length(blackjack_problem().ssp)[1]
    assert 4 < longest < 5
    assert blackjack_problem().ssp.reward_bound == 2.0


def test_blackjack_does_without_gymnasium() -> None:
    code = (
        "import sys; from common.tabular.classic import blackjack; blackjack();"
        "sys.exit('gymnasium' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def cliff_tables(termination: float):
    """Probabilities [48, 4, 3, 1], next states, rewards and chances to go on from gymnasium."""
    table = gymnasium.make("CliffWalking-v1", is_slippery=True).unwrapped.P
    rows = np.array([[table[s][a] for a in range(4)] for s in range(48)], dtype=float)
    chances, following, rewards, terminated = np.moveaxis(rows, -1, 0)
    return chances, following.astype(int), rewards, (1 - terminated) * (1 - termination)


def test_value_iteration_on_gymnasiums_table_agrees_with_the_cliff_ssp() -> None:
    problem = cliff_problem()
    chances, following, rewards, going_on = cliff_tables(0.01)
    values = np.zeros(48)
    for _ in range(4000):
        q = (chances * (rewards + going_on * values[following])).sum(axis=2)
        values = q.max(axis=1)
    solution = policy_iteration(problem.ssp)
    cells = list(problem.labels)
    np.testing.assert_allclose(solution.action_values[:37], q[cells], rtol=1e-10)
    assert solution.policy[:37].tolist() == q[cells].argmax(axis=1).tolist()
    ordered = np.sort(q[cells], axis=1)
    np.testing.assert_allclose(decision_gaps(problem), ordered[:, 3] - ordered[:, 2], atol=1e-9)


def test_squared_returns_of_the_cliff_agree_with_gymnasiums_table() -> None:
    problem = cliff_problem()
    policy = policy_iteration(problem.ssp).policy
    chances, following, rewards, going_on = cliff_tables(0.01)
    actions = np.zeros(48, int)
    actions[list(problem.labels)] = policy[:37]
    values, squares = np.zeros(48), np.zeros(48)
    for _ in range(4000):
        later = going_on * values[following]
        squared = rewards**2 + 2 * rewards * later + going_on * squares[following]
        second = (chances * squared).sum(axis=2)
        squares = second[np.arange(48), actions]
        values = (chances * (rewards + later)).sum(axis=2)[np.arange(48), actions]
    got = second_moments(problem.ssp, policy)[:37]
    np.testing.assert_allclose(got, second[list(problem.labels)], rtol=1e-10)


def test_the_cliff_has_37_cells_to_stand_in_and_one_way_to_fall() -> None:
    problem = cliff_problem()
    assert problem.labels == tuple(range(37))
    assert problem.ssp.n_states == 38
    assert (problem.ssp.rewards[:37] == -1.0).all()
    assert problem.ssp.rewards[37].tolist() == [-99.0] * 4
    assert problem.ssp.successors[37, :, 0].tolist() == [36] * 4
    assert np.unique(problem.start[:37]).tolist() == [1 / 148]
    assert not problem.start[37:].any()


def test_without_termination_one_can_stay_at_the_wall_for_ever() -> None:
    with pytest.raises(ValueError, match=r"improper SSP: .* from \d+ state"):
        cliff_walking(termination=0.0)


def test_the_cliff_takes_at_most_one_transit_step_per_real_one() -> None:
    """With 1% per step one makes at most 100 steps, each of which may fall once."""
    assert 100 < worst_case_length(cliff_problem().ssp)[1] < 200
    longer = worst_case_length(cliff_walking(0.001).ssp)[1]
    assert 1000 < longer < 2000

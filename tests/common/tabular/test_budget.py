"""The prescribed budgets have the derived values, and the orders in K and log(1/delta)."""

import math

import pytest

from common.tabular.budget import Budget, prescribed_budget

TENTH = math.log(10)  # delta = 0.1


def test_truncated_budget_by_hand() -> None:
    """S=5, A=2, K=2, R=1, Delta=0.5: eps = 1/8, m = log2(32) = 5, H = 20, I = 6."""
    budget = prescribed_budget(5, 2, 2.0, 1.0, 0.5, TENTH, "truncated", one_signed=True)
    per_pair = math.ceil(2 * 20**2 * 64 * math.log(2 * 5 * 2 * 6 * 10))
    assert budget == Budget(6, 20, per_pair, 60 * per_pair)
    assert per_pair == pytest.approx(3.6e5, rel=0.01)
    both_signs = prescribed_budget(5, 2, 2.0, 1.0, 0.5, TENTH, "truncated")
    assert both_signs.episodes_per_pair == pytest.approx(4 * per_pair, rel=1e-5)


def test_untruncated_budget_is_the_fixed_point() -> None:
    budget = prescribed_budget(5, 2, 2.0, 1.0, 0.5, TENTH, "untruncated")
    blocks = budget.horizon / 4
    assert budget.episodes_per_pair == pytest.approx(8.7e7, rel=0.01)
    assert budget.total_episodes * 2.0**-blocks <= 0.1 / 2
    shorter = budget.total_episodes * ((blocks - 1) / blocks) ** 2
    assert shorter * 2.0 ** -(blocks - 1) > 0.1 / 2


@pytest.mark.parametrize(
    ("version", "one_signed", "expected"),
    [("truncated", True, 2.5e9), ("untruncated", False, 3.7e11)],
)
def test_a_middling_flat_instance(version, one_signed, expected) -> None:
    """S=100, A=4, K=20, rewards of -0.5 and -0.6."""
    budget = prescribed_budget(100, 4, 20.0, 0.6, 0.1, TENTH, version, one_signed=one_signed)
    assert budget.episodes_per_pair == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(("version", "expected"), [("truncated", 4e13), ("untruncated", 1.25e15)])
def test_totals_of_a_larger_instance(version, expected) -> None:
    budget = prescribed_budget(30, 4, 10.0, 1.0, 0.1, TENTH, version)
    assert budget.total_episodes == pytest.approx(expected, rel=0.03)
    assert budget.total_episodes == 120 * budget.iterations * budget.episodes_per_pair


def slope(version, log_inverse_delta: float) -> float:
    """Local exponent of N in log(1/delta), over a factor of 4 so that rounding averages out."""
    low, high = (
        prescribed_budget(30, 4, 10.0, 1.0, 0.1, log_inverse_delta * factor, version)
        for factor in (0.5, 2.0)
    )
    return math.log(high.episodes_per_pair / low.episodes_per_pair) / math.log(4)


def test_the_order_in_delta_is_cubic_without_truncation_and_linear_with() -> None:
    assert slope("untruncated", 1e6) == pytest.approx(3.0, abs=0.01)
    assert slope("truncated", 1e6) == pytest.approx(1.0, abs=0.01)
    assert slope("untruncated", 20 * TENTH) == pytest.approx(2.0, abs=0.15)


def test_the_order_in_length_is_cubic() -> None:
    low, high = (
        prescribed_budget(30, 4, length, 1.0, 0.1, TENTH, "truncated").total_episodes
        for length in (1e6, 2e6)
    )
    assert 3.0 < math.log2(high / low) < 3.3  # the excess is logarithmic


def test_extreme_confidence_gives_plain_integers() -> None:
    budget = prescribed_budget(30, 4, 10.0, 1.0, 0.1, 1e9, "untruncated")
    assert isinstance(budget.total_episodes, int)
    assert budget.total_episodes > 10**30


def test_without_distinct_values_one_episode_is_enough() -> None:
    budget = prescribed_budget(3, 2, 4.0, 1.0, math.inf, TENTH, "truncated")
    assert budget == Budget(1, 8, 1, 6)


@pytest.mark.parametrize(
    "change",
    [
        {"n_states": 0},
        {"length": 0.5},
        {"reward_bound": 0.0},
        {"separation": 0.0},
        {"log_inverse_delta": 0.0},
        {"log_inverse_delta": math.nan},
        {"version": "exact"},
    ],
)
def test_arguments_outside_their_range_are_refused(change) -> None:
    arguments = {
        "n_states": 3, "n_actions": 2, "length": 2.0, "reward_bound": 1.0, "separation": 0.5,
        "log_inverse_delta": 1.0, "version": "truncated",
    }  # fmt: skip
    prescribed_budget(**arguments)
    with pytest.raises(ValueError):
        prescribed_budget(**(arguments | change))

"""The rule for a collapse on series whose answer is plain, and against a loop over steps."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.grpo.analysis.collapse import detect_collapse, lead_time

RISE = [0.01 * step for step in range(1, 61)]


def collapse_by_hand(
    rewards: list[float], window: int, fraction: float, patience: int, dead: int
) -> int | None:
    found, best, low, zeros = [], 0.0, 0, 0
    for step, reward in enumerate(rewards):
        zeros = zeros + 1 if reward == 0 else 0
        if zeros == dead:
            found.append(step - dead + 1)
        recent = rewards[max(0, step + 1 - window) : step + 1]
        mean = sum(recent) / len(recent)
        best = max(best, mean)
        low = low + 1 if mean < fraction * best else 0
        if low == patience:
            found.append(step - patience + 1)
    return min(found, default=None)


def test_a_run_that_learns_does_not_collapse() -> None:
    assert detect_collapse(RISE + [0.6] * 100) is None


def test_twenty_dead_steps_are_a_collapse_and_nineteen_are_none() -> None:
    assert detect_collapse(RISE + [0.0] * 20) == 60
    assert detect_collapse(RISE + [0.0] * 19) is None
    assert detect_collapse(RISE + [0.0] * 19 + [0.3] + [0.0] * 20) == 80


def test_a_tenth_of_the_best_trailing_mean_for_forty_steps() -> None:
    best = sum(RISE[-20:]) / 20
    low = [0.05 * best]
    # A single step at 0.6 among 19 low ones keeps the trailing mean above a tenth.
    start = detect_collapse(RISE + low * 60)
    assert start == 60 + 19
    assert detect_collapse(RISE + low * 59) == start
    assert detect_collapse(RISE + low * 58) is None
    assert detect_collapse(RISE + [0.2 * best] * 100) is None


def test_a_run_that_falls_at_once_is_compared_with_its_first_steps() -> None:
    """A few lucky responses now and then do not make a fallen run an intact one."""
    fallen = [0.3] * 5 + [0.0, 0.0, 0.0, 1 / 64] * 30
    assert detect_collapse(fallen[:62]) is None
    assert detect_collapse(fallen[:63]) == 23


def test_missing_rewards_count_as_zero_and_a_run_without_any_reward_is_dead() -> None:
    assert detect_collapse([0.5] * 30 + [float("nan")] * 20) == 30
    assert detect_collapse([0.0] * 20) == 0
    assert detect_collapse([]) is None


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from([0.0, 0.02, 0.5, 1.0]), max_size=40),
    st.integers(1, 6),
    st.sampled_from([0.125, 0.5]),
    st.integers(1, 8),
    st.integers(1, 8),
)
def test_against_a_loop_over_steps(
    rewards: list[float], window: int, fraction: float, patience: int, dead: int
) -> None:
    # Sums in binary fractions, so that both ways round alike.
    rewards = [round(64 * reward) / 64 for reward in rewards]
    options = {"window": window, "patience": patience, "dead": dead}
    got = detect_collapse(rewards, fraction=fraction, **options)
    assert got == collapse_by_hand(rewards, window, fraction, patience, dead)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="rewards: one number of at least 0"):
        detect_collapse([-0.1])
    with pytest.raises(ValueError, match="rewards: one number of at least 0"):
        detect_collapse([[0.1]])
    with pytest.raises(ValueError, match="window, patience, dead: at least 1"):
        detect_collapse([0.1], patience=0)
    with pytest.raises(ValueError, match="fraction: between 0 and 1"):
        detect_collapse([0.1], fraction=1.0)


def test_lead_time_looks_back_a_limited_way() -> None:
    alarm = [False] * 100
    alarm[10] = alarm[55] = alarm[58] = True
    assert lead_time(alarm, 60) == 5
    assert lead_time(alarm, 60, within=2) == 2
    assert lead_time(alarm, 60, within=1) is None
    assert lead_time(alarm, 10) == 0
    assert lead_time(alarm, 60, within=100) == 50
    with pytest.raises(ValueError, match="collapse: an index below 100, got 100"):
        lead_time(alarm, 100)

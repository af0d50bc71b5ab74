"""Displacement of likelihood on cases that can be counted by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.grpo.analysis.likelihood import likelihood_stats, mixed_rows

OLD = torch.full((3, 5), -1.0)
MASK = torch.tensor([[1, 1, 0, 1, 1], [1, 1, 1, 0, 0], [0, 0, 0, 0, 0]])
NEW = torch.tensor(
    [[-1.5, -1.0, -7.0, 0.0, 0.0], [-2.0, -1.0, -1.0, -9.0, -9.0], [0.0, 0.0, 0.0, 0.0, 0.0]]
)
EVERY = torch.ones(3, dtype=torch.bool)


def test_changes_of_responses_and_actions() -> None:
    stats = likelihood_stats(OLD, NEW, MASK, torch.tensor([1.0, 0.0, 1.0]))
    assert stats.row_change.tolist() == [1.5, -1.0, 0.0]
    assert stats.row_fell.tolist() == [False, True, False]
    assert stats.action_change.tolist() == [[-0.5, 2.0], [-1.0, 0.0], [0.0, 0.0]]
    assert stats.action_counts.tolist() == [[True, True], [True, False], [False, False]]
    assert stats.action_fell.tolist() == [[True, False], [True, False], [False, False]]
    assert stats.correct.tolist() == [True, False, True]
    assert stats.row_share(EVERY) == 0.5
    assert stats.row_share(stats.correct) == 0.0
    assert stats.action_share(EVERY) == pytest.approx(2 / 3)
    assert stats.mean_logp(stats.correct) == -2.5 / 4
    assert stats.mean_logp(~stats.correct) == pytest.approx(-4 / 3)


def test_without_a_change_likelihood_is_acutely_lazy() -> None:
    """Def. 4.1 counts a change of exactly ε; a lower ε asks for a drop."""
    rewards = torch.zeros(3)
    assert likelihood_stats(OLD, OLD, MASK, rewards).row_share(EVERY) == 1.0
    assert likelihood_stats(OLD, OLD, MASK, rewards, threshold=-0.1).row_share(EVERY) == 0.0


def test_rows_without_tokens_count_nowhere() -> None:
    stats = likelihood_stats(OLD, NEW, torch.zeros(3, 5), torch.full((3,), math.nan))
    assert not stats.row_fell.any()
    assert not stats.correct.any()
    assert math.isnan(stats.row_share(EVERY))
    assert math.isnan(stats.action_share(EVERY))
    assert math.isnan(stats.mean_logp(EVERY))
    assert torch.isfinite(stats.row_logp).all()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000))
def test_actions_add_up_to_responses(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    old, new = torch.randn(2, 6, 11, generator=generator, dtype=torch.float64)
    mask = torch.rand(6, 11, generator=generator) < 0.6
    stats = likelihood_stats(old, new, mask, torch.rand(6, generator=generator).round())
    torch.testing.assert_close(stats.action_change.sum(1), stats.row_change)
    torch.testing.assert_close(stats.row_change, ((new - old) * mask).sum(1))
    assert (stats.action_counts.any(1) == stats.row_counts).all()
    assert (stats.action_counts | (stats.action_change == 0)).all()


def test_mixed_groups() -> None:
    rewards = torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, math.nan])
    assert mixed_rows(rewards, 2).tolist() == [True, True, False, False, False, False]
    assert not mixed_rows(rewards, 1).any()
    with pytest.raises(ValueError, match="group_size: 6 rows are no whole groups of 4"):
        mixed_rows(rewards, 4)


def test_bad_shapes_are_named() -> None:
    with pytest.raises(ValueError, match="old_logps, new_logps and mask: shapes differ"):
        likelihood_stats(OLD, NEW[:2], MASK, torch.zeros(3))
    with pytest.raises(ValueError, match=r"rewards: shape \(3,\) wanted, got \(2,\)"):
        likelihood_stats(OLD, NEW, MASK, torch.zeros(2))

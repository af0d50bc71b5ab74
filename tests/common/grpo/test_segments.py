"""Actions of trajectories, against counting token by token."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.grpo.rules.segments import action_segments, segment_sums


def segments_by_hand(row: list[int]) -> list[int]:
    found, number = [], 0
    for position, written in enumerate(row):
        if written and (position == 0 or not row[position - 1]):
            number += 1
        found.append(number if written else 0)
    return found


def masks() -> st.SearchStrategy[list[list[int]]]:
    return st.integers(1, 12).flatmap(
        lambda width: st.lists(
            st.lists(st.integers(0, 1), min_size=width, max_size=width), min_size=1, max_size=4
        )
    )


def test_an_observation_ends_an_action() -> None:
    mask = torch.tensor([[1, 1, 0, 0, 1, 0, 1, 1, 0], [0, 0, 1, 1, 1, 1, 1, 1, 1]])
    assert action_segments(mask).tolist() == [
        [1, 1, 0, 0, 2, 0, 3, 3, 0],
        [0, 0, 1, 1, 1, 1, 1, 1, 1],
    ]


@settings(deadline=None, max_examples=50)
@given(masks())
def test_segments_and_sums_against_a_loop(mask: list[list[int]]) -> None:
    segments = action_segments(torch.tensor(mask, dtype=torch.bool))
    assert segments.tolist() == [segments_by_hand(row) for row in mask]
    values = torch.arange(segments.numel(), dtype=torch.float64).view(segments.shape) + 1
    sums = segment_sums(values.masked_fill(segments == 0, torch.nan), segments)
    assert sums.shape[1] == max(max(row) for row in segments.tolist())
    for row in range(len(mask)):
        for action in range(sums.shape[1]):
            chosen = values[row][segments[row] == action + 1]
            assert float(sums[row, action]) == float(chosen.sum())


def test_empty_completions_have_no_actions() -> None:
    segments = action_segments(torch.zeros(2, 0))
    assert segments.shape == (2, 0)
    assert segment_sums(torch.zeros(2, 0), segments).shape == (2, 0)
    padding = action_segments(torch.zeros(2, 3))
    assert segment_sums(torch.ones(2, 3), padding).shape == (2, 0)


def test_bad_shapes_are_named() -> None:
    with pytest.raises(ValueError, match="mask: two dimensions"):
        action_segments(torch.ones(3))
    with pytest.raises(ValueError, match="values and segments: shapes differ"):
        segment_sums(torch.ones(2, 3), torch.ones(2, 4, dtype=torch.long))

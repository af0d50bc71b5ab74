"""Actions of a trajectory: maximal runs of tokens that the policy wrote."""

from __future__ import annotations

import torch
from torch import Tensor


def action_segments(mask: Tensor) -> Tensor:
    """Number the actions of every row (arXiv 2512.04220v2, section 3).

    An observation (mask 0) ends an action, so that one trajectory y₀ o₀ y₁ … has the segments
    1, 2, … and 0 at observations and padding.

    Args:
        mask: (B, C), true or 1 for tokens that the policy wrote.

    Returns:
        (B, C), int64: 0 outside, 1..K within the row's K actions.

    Raises:
        ValueError: `mask` has not two dimensions.
    """
    if mask.ndim != 2:
        raise ValueError(f"mask: two dimensions (rows, tokens), got shape {tuple(mask.shape)}")
    written = mask.bool()
    starts = written.clone()
    starts[:, 1:] &= ~written[:, :-1]
    return starts.long().cumsum(1) * written


def segment_sums(values: Tensor, segments: Tensor) -> Tensor:
    """Sum the values of every action.

    Args:
        values: (B, C); what lies outside the actions is ignored, NaN included.
        segments: (B, C), of `action_segments`.

    Returns:
        (B, K), K the largest number of actions of a row; 0 where a row has fewer.

    Raises:
        ValueError: the shapes differ.
    """
    if values.shape != segments.shape:
        raise ValueError(
            f"values and segments: shapes differ, {tuple(values.shape)} and {tuple(segments.shape)}"
        )
    actions = int(segments.max()) if segments.numel() else 0
    sums = values.new_zeros(len(values), actions + 1)
    inside = torch.where(segments > 0, values, torch.zeros_like(values))
    return sums.scatter_add(1, segments, inside)[:, 1:]

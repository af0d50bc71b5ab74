"""Advantage rules without a baseline: one number for correct, one for wrong completions.

The official code of arXiv 2506.01347 drops the completions that get no weight from the batch; an
advantage of 0 is the same up to the number of rows or tokens by which a loss is divided.
"""

from __future__ import annotations

import torch

from common.grpo.rules.groups import ADVANTAGES, binary_groups


@ADVANTAGES.register(
    "psr",
    equation=r"A^{+} = 1, \quad A^{-} = 0",
    source="arXiv 2506.01347, section 2",
)
def psr(rewards: torch.Tensor, *, threshold: float | None = None) -> torch.Tensor:
    """Positive-sample reinforcement: correct completions are made likelier, nothing else.

    Args:
        rewards: (P, G), 0 or 1 unless there is a threshold.
        threshold: a reward of at least this much counts as correct.

    Raises:
        ValueError: as `binary_groups`.
    """
    return _signed(rewards, threshold, 1.0, 0.0)


@ADVANTAGES.register(
    "nsr",
    equation=r"A^{+} = 0, \quad A^{-} = -1",
    source="arXiv 2506.01347, section 2",
)
def nsr(rewards: torch.Tensor, *, threshold: float | None = None) -> torch.Tensor:
    """Negative-sample reinforcement: wrong completions are made less likely, nothing else.

    Args:
        rewards: (P, G), 0 or 1 unless there is a threshold.
        threshold: a reward of at least this much counts as correct.

    Raises:
        ValueError: as `binary_groups`.
    """
    return _signed(rewards, threshold, 0.0, -1.0)


@ADVANTAGES.register(
    "w_reinforce",
    equation=r"A^{+} = \lambda, \quad A^{-} = -1",
    source="arXiv 2506.01347, section 4",
)
def w_reinforce(
    rewards: torch.Tensor, *, positive: float = 0.1, threshold: float | None = None
) -> torch.Tensor:
    """Negative-sample reinforcement with a little of the positive.

    Args:
        rewards: (P, G), 0 or 1 unless there is a threshold.
        positive: λ, the advantage of a correct completion; the paper: 0.1.
        threshold: a reward of at least this much counts as correct.

    Raises:
        ValueError: a negative advantage of correct completions, or as `binary_groups`.
    """
    if positive < 0:
        raise ValueError(f"positive: must not be negative, got {positive}")
    return _signed(rewards, threshold, positive, -1.0)


def _signed(
    rewards: torch.Tensor, threshold: float | None, positive: float, negative: float
) -> torch.Tensor:
    batch = binary_groups(rewards, threshold)
    return batch.assign(
        torch.full_like(batch.size, positive), torch.full_like(batch.size, negative)
    )

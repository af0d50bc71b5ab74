"""What advantage rules, token weights and loss terms are given: plain tensors, no trainer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from common.lm.scoring import TokenStates


@dataclass(frozen=True)
class GroupBatch:
    """A generation batch when advantages are assigned; the G rows of a prompt stand together.

    Attributes:
        group_size: G.
        rewards: (B,), NaN where no reward function gave one.
        completion_ids: (B, C), right-padded.
        mask: (B, C), true for tokens that the policy wrote: neither padding nor observations.
        entropies: computes the (B, C) entropies of the policy's next-token distributions, in
            nats, on first use; absent where only rewards are known.
        states: computes the hidden states and distributions behind every token on first use.
    """

    group_size: int
    rewards: torch.Tensor
    completion_ids: torch.Tensor
    mask: torch.Tensor
    entropies: Callable[[], torch.Tensor] | None = None
    states: Callable[[], TokenStates] | None = None

    @property
    def groups(self) -> int:
        """Number of prompts P = B / G."""
        return len(self.rewards) // self.group_size


@dataclass(frozen=True)
class LossBatch:
    """A micro-batch when its loss is computed; rows are shuffled, groups broken up.

    Attributes:
        logps: (B, C), log-probabilities under the policy, with gradient.
        old_logps: (B, C), under the policy that sampled; without gradient.
        advantages: (B,), one per row, before token weights.
        mask: (B, C), true for tokens that the policy wrote.
        answer_mask: (B, C), true inside the final answer; absent if nobody marked it.
    """

    logps: torch.Tensor
    old_logps: torch.Tensor
    advantages: torch.Tensor
    mask: torch.Tensor
    answer_mask: torch.Tensor | None = None

"""How the likelihood of sampled responses moved: lazy likelihood displacement (LLD)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from common.grpo.rules.kernel_scores import is_mixed
from common.grpo.rules.segments import action_segments, segment_sums


@dataclass(frozen=True)
class LikelihoodStats:
    """Changes of log-likelihood, in nats, of responses and of their actions.

    Attributes:
        row_change: (B,), summed over the tokens that the policy wrote.
        row_counts: (B,), whether the policy wrote anything in the row.
        row_fell: (B,), LLD of the response: counts, and changed by at most the threshold.
        action_change: (B, K), of each action; 0 where a row has fewer.
        action_counts: (B, K), whether the row has that action.
        action_fell: (B, K), LLD of the action.
        row_logp: (B,), mean log-likelihood per token under the new policy; 0 for an empty row.
        correct: (B,), rewards above one half.
    """

    row_change: Tensor
    row_counts: Tensor
    row_fell: Tensor
    action_change: Tensor
    action_counts: Tensor
    action_fell: Tensor
    row_logp: Tensor
    correct: Tensor

    def row_share(self, rows: Tensor) -> float:
        """Share of the rows (B,) that fell; NaN where none of them has tokens."""
        return _share(self.row_fell, self.row_counts & rows.bool())

    def action_share(self, rows: Tensor) -> float:
        """Share of the actions of the rows (B,) that fell; NaN where they have none."""
        return _share(self.action_fell, self.action_counts & rows.bool()[:, None])

    def mean_logp(self, rows: Tensor) -> float:
        """Mean over rows (B,) of the log-likelihood per token; NaN where none has tokens."""
        chosen = self.row_logp[self.row_counts & rows.bool()]
        return float(chosen.mean()) if len(chosen) else float("nan")


def likelihood_stats(
    old_logps: Tensor, new_logps: Tensor, mask: Tensor, rewards: Tensor, *, threshold: float = 0.0
) -> LikelihoodStats:
    """Compare two policies on the same responses (arXiv 2512.04220v2, Def. 4.1).

    Args:
        old_logps: (B, C), log-probabilities before the update.
        new_logps: (B, C), after it.
        mask: (B, C), true for tokens that the policy wrote; elsewhere any value is ignored.
        rewards: (B,); NaN counts as not correct.
        threshold: ε ≤ 0, or slightly above, in nats per response or action; 0 is "acute" LLD.

    Raises:
        ValueError: shapes differ.
    """
    if not old_logps.shape == new_logps.shape == mask.shape:
        shapes = [tuple(one.shape) for one in (old_logps, new_logps, mask)]
        raise ValueError(f"old_logps, new_logps and mask: shapes differ, {shapes}")
    if rewards.shape != mask.shape[:1]:
        raise ValueError(f"rewards: shape ({len(mask)},) wanted, got {tuple(rewards.shape)}")
    written = mask.bool()
    segments = action_segments(written)
    change = torch.where(written, (new_logps - old_logps).detach(), 0.0)
    lengths = written.sum(1)
    row_change, action_change = change.sum(1), segment_sums(change, segments)
    action_counts = segment_sums(written.to(change.dtype), segments) > 0
    row_logp = torch.where(written, new_logps.detach(), 0.0).sum(1) / lengths.clamp(min=1)
    return LikelihoodStats(
        row_change=row_change,
        row_counts=lengths > 0,
        row_fell=(row_change <= threshold) & (lengths > 0),
        action_change=action_change,
        action_counts=action_counts,
        action_fell=(action_change <= threshold) & action_counts,
        row_logp=row_logp,
        correct=rewards > 0.5,
    )


def mixed_rows(rewards: Tensor, group_size: int) -> Tensor:
    """(B,): whether the row's group has both correct and wrong responses, as `is_mixed` says.

    Args:
        rewards: (B,), groups contiguous; correct above one half, NaN neither.
        group_size: G.

    Raises:
        ValueError: the rows are no whole number of groups.
    """
    return is_mixed(rewards, group_size).repeat_interleave(group_size)


def _share(fell: Tensor, chosen: Tensor) -> float:
    return float(fell[chosen].float().mean()) if chosen.any() else float("nan")

"""Advantage rules that maximise Pass@K, directly or by shaping GRPO's advantages."""

from __future__ import annotations

from typing import Literal

import torch

from common.grpo.rules.groups import ADVANTAGES, BinaryGroups, binary_groups

Baseline = Literal["none", "mean", "leave_one_out", "subset"]
BASELINES = ("none", "mean", "leave_one_out", "subset")


def all_wrong(n: torch.Tensor, n_wrong: torch.Tensor, k: int) -> torch.Tensor:
    """C(N⁻, k)/C(N, k): the chance that k of N completions, drawn without repetition, are wrong.

    Computed as a product of k factors, which is exactly 0 for N⁻ < k and needs no factorials.

    Args:
        n: N, float64, at least k (elsewhere the result is 0).
        n_wrong: N⁻, float64, of the same shape.
        k: at least 0.

    Returns:
        float64, of the same shape.
    """
    drawn = torch.arange(k, dtype=torch.float64, device=n.device)
    factors = (n_wrong[..., None] - drawn).clamp(min=0) / (n[..., None] - drawn).clamp(min=1)
    return factors.prod(-1)


@ADVANTAGES.register(
    "passk_grpo",
    equation=(
        r"A^{+} = \frac{1 - \bar R}{\sigma}, \quad A^{-} = \frac{1}{\sigma} \left( 1 - \bar R - "
        r"\frac{C(N^{-}-1, K-1)}{C(N-1, K-1)} \right), \quad \bar R = 1 - "
        r"\frac{C(N^{-}, K)}{C(N, K)}, \quad \sigma = \sqrt{\bar R (1 - \bar R)}"
    ),
    source="arXiv 2508.10751, analytical form",
)
def passk_grpo(rewards: torch.Tensor, *, k: int, threshold: float | None = None) -> torch.Tensor:
    """GRPO's advantages with sets of K completions as the samples, averaged over the sets.

    A set is rewarded when one of its members is correct. With K = 1 this is `grpo` with the
    population's standard deviation and eps = 0. All advantages are 0 where N⁻ < K.

    Args:
        rewards: (P, G), 0 or 1 unless there is a threshold.
        k: K, the size of the sets, at most G; a group with fewer rewards than K gets 0.
        threshold: a reward of at least this much counts as correct.

    Raises:
        ValueError: K does not lie in 1…G, or as `binary_groups`.
    """
    batch = _checked(rewards, threshold, k, most=rewards.shape[-1])
    wrong_sets = all_wrong(batch.size, batch.n_wrong, k)
    # 1 − R̄ = (N⁻/N) C(N⁻−1, K−1)/C(N−1, K−1), so A⁻ = −A⁺ N⁺/N⁻ without any cancellation.
    positive = (wrong_sets / (1 - wrong_sets)).sqrt()
    negative = -positive * batch.n_correct / batch.n_wrong
    used = batch.mixed() & (batch.size >= k)
    return batch.assign(positive.where(used, 0), negative.where(used, 0))


@ADVANTAGES.register(
    "passk_direct",
    equation=(
        r"A^{+} = K - b, \quad A^{-} = K \left( 1 - \frac{C(N^{-}-1, K-1)}{C(N-1, K-1)} \right) - b"
    ),
    source="arXiv 2505.15201, sections 2 and 3",
)
def passk_direct(
    rewards: torch.Tensor,
    *,
    k: int,
    baseline: Baseline = "mean",
    threshold: float | None = None,
) -> torch.Tensor:
    """N times the weights of the unbiased gradient of Pass@K, minus a baseline.

    Each completion gets K times the share of rewarded sets among the sets of K that contain it.

    Args:
        rewards: (P, G), 0 or 1 unless there is a threshold.
        k: K, at most G; at most G − 1 with the baseline "leave_one_out". A group with fewer
            rewards than that gets 0.
        baseline: "none" is unbiased and not centred; "mean" subtracts the group's mean, which
            centres at a bias of order 1/N; "leave_one_out" subtracts K times the estimate of
            Pass@K from the other N − 1 completions, which is centred and unbiased; "subset" takes
            each completion out of its sets, which leaves what only this completion solved:
            unbiased, and 0 for wrong completions.
        threshold: a reward of at least this much counts as correct.

    Raises:
        ValueError: unknown baseline, K out of range, or as `binary_groups`.
    """
    if baseline not in BASELINES:
        raise ValueError(f"baseline: one of {', '.join(BASELINES)}, got {baseline!r}")
    spare = int(baseline == "leave_one_out")
    batch = _checked(rewards, threshold, k, most=rewards.shape[-1] - spare)
    others, n_wrong = (batch.size - 1).clamp(min=0), batch.n_wrong
    fewer = (n_wrong - 1).clamp(min=0)
    alone = all_wrong(others, fewer, k - 1)
    positive, negative = torch.ones_like(alone), 1 - alone
    if baseline == "mean":
        positive, negative = (1 - batch.rate) * alone, -batch.rate * alone
    elif baseline == "leave_one_out":
        positive = all_wrong(others, n_wrong, k)
        negative = all_wrong(others, fewer, k) - alone
    elif baseline == "subset":
        positive, negative = all_wrong(others, n_wrong, k - 1), torch.zeros_like(alone)
    used = batch.size >= k + spare
    return batch.assign((k * positive).where(used, 0), (k * negative).where(used, 0))


def _checked(rewards: torch.Tensor, threshold: float | None, k: int, most: int) -> BinaryGroups:
    batch = binary_groups(rewards, threshold)
    if not 1 <= k <= most:
        raise ValueError(f"k: must lie in 1…{most} for groups of {rewards.shape[1]}, got {k}")
    return batch

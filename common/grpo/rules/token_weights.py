"""Token weights: how much each token of a response counts in the policy gradient.

A rule returns (B, C) factors; the trainer multiplies a row's advantage by them. Masked tokens get
the factor 0 and still count in the loss's length normaliser and in its KL term. In groups
without both correct and wrong responses the advantages are zero, and every rule returns 1 there.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import torch
from torch import Tensor

from common.grpo.rules import kernel_scores
from common.grpo.rules.batches import GroupBatch
from common.grpo.rules.registry import Registry
from common.lm.scoring import TokenStates

TokenWeightRule = Callable[..., Tensor]

TOKEN_WEIGHTS: Registry[TokenWeightRule] = Registry("token weights")


@TOKEN_WEIGHTS.register(
    "thr",
    equation=(
        r"w_{j,k} = \mathbf{1}[|\mathrm{THR}_{j,k}| > \tau]"
        r"\,(1 + \mathrm{sign}(\mathrm{THR}_{j,k})\,p)"
    ),
    source="arXiv 2510.03669, section 3 (second-hand)",
    needs=("states",),
)
def thr(
    batch: GroupBatch,
    advantages: Tensor,
    *,
    p: float = 0.0,
    tau_rule: str = "min_pos",
    beta: float = 1.0,
    masked: bool = True,
) -> Tensor:
    """Keeps the tokens with a large |THR| and scales them by the sign of their THR.

    Args:
        batch: with `states`.
        advantages: (B,); not used, the score has the reward's sign inside.
        p: above 0 favours exploitation, below 0 exploration; 0 only masks.
        tau_rule: how the threshold is found; see `kernel_scores.thr_threshold`.
        beta: factor of the threshold, or the share of masked tokens under `quantile`.
        masked: false keeps every token.

    Returns:
        (B, C).

    Raises:
        ValueError: |p| exceeds 1, a tau_rule is unknown, or the batch has no states.
    """
    if not -1 <= p <= 1:
        raise ValueError(f"p: must lie in [-1, 1], not {p}: beyond, tokens would change their sign")
    scores = kernel_scores.thr(_states(batch, "thr"), batch.rewards, batch.mask, batch.group_size)
    weights = 1 + p * scores.sign()
    if masked:
        weights = weights * dominant(scores, batch, tau_rule, beta)
    return _where_mixed(weights, batch)


@TOKEN_WEIGHTS.register(
    "nthr",
    equation=r"w_{j,k} = \eta \text{ if } r_j = 0 \text{ and } s^-_{j,k} > \tau, \text{ else } 1",
    source="arXiv 2505.18830, section 5",
    needs=("states",),
)
def nthr(
    batch: GroupBatch, advantages: Tensor, *, beta: float = 1.0, eta: float | None = None
) -> Tensor:
    """Weakens those tokens of wrong responses whose penalty would fall on the correct ones.

    Args:
        batch: with `states`.
        advantages: (B,); not used.
        beta: factor of the threshold, the smallest over correct responses of the mean score of
            their tokens.
        eta: factor of the selected tokens; the default 2|1/2 - q| depends on the group's share q of
            correct responses.

    Returns:
        (B, C).

    Raises:
        ValueError: the batch has no states.
    """
    states, size = _states(batch, "nthr"), batch.group_size
    correct, wrong = kernel_scores.correct_and_wrong(batch.rewards)
    anchors = correct.unsqueeze(1) * batch.mask
    scores = kernel_scores.kernel_scores(states, anchors, batch.mask, size)
    tau = kernel_scores.thr_threshold(scores, batch.rewards, batch.mask, size, beta=beta)
    selected = wrong.unsqueeze(1) & batch.mask.bool() & (scores > _rows(tau, batch))
    share = kernel_scores.share_of_correct(batch.rewards, size)
    factor = (2 * (0.5 - share).abs()) if eta is None else torch.full_like(share, eta)
    return _where_mixed(torch.where(selected, _rows(factor, batch), 1.0), batch)


@TOKEN_WEIGHTS.register(
    "random_mask",
    equation=r"w_{j,k} \in \{0, 1\},\ \sum_{j,k} w_{j,k} = \mathrm{share} \cdot T",
    source="control",
    needs=("states",),
)
def random_mask(
    batch: GroupBatch,
    advantages: Tensor,
    *,
    share: float | None = None,
    tau_rule: str = "min_pos",
    beta: float = 1.0,
    seed: int = 0,
) -> Tensor:
    """Keeps random tokens of each group: the control for rules that keep chosen ones.

    The draw follows from `seed` and the batch's tokens alone.

    Args:
        batch: with `states` unless `share` is given.
        advantages: (B,); not used.
        share: of each group's tokens that stay, rounded; by default as many as `thr` keeps with
            the same `tau_rule` and `beta`.
        tau_rule: of the arm that this one controls.
        beta: likewise.
        seed: another seed draws other tokens.

    Returns:
        (B, C).

    Raises:
        ValueError: `share` lies outside [0, 1], or is missing in a batch without states.
    """
    mask, size = batch.mask.bool(), batch.group_size
    if share is None:
        states = _states(batch, "random_mask without a share")
        scores = kernel_scores.thr(states, batch.rewards, mask, size)
        kept = dominant(scores, batch, tau_rule, beta).flatten(1).view(-1, size * mask.shape[1])
        counts = kept.sum(1)
    elif 0 <= share <= 1:
        counts = (share * mask.view(-1, size * mask.shape[1]).sum(1)).round()
    else:
        raise ValueError(f"share: must lie in [0, 1], not {share}")
    weights = random_choice(mask, counts, size, generator_of(batch.completion_ids, seed))
    return _where_mixed(weights.to(_dtype(batch)), batch)


@TOKEN_WEIGHTS.register(
    "entropy_mask",
    equation=r"w_{j,k} = \mathbf{1}[H_{j,k} \ge Q_{u}(H)]",
    source="arXiv 2506.01939; top_entropy_quantile of TRL is 1 - u",
    needs=("entropies",),
)
def entropy_mask(batch: GroupBatch, advantages: Tensor, *, quantile: float = 0.8) -> Tensor:
    """Keeps the tokens whose next-token entropy reaches a quantile over the batch's tokens.

    Args:
        batch: with `entropies`.
        advantages: (B,); not used.
        quantile: u; 0.8 keeps the highest fifth.

    Returns:
        (B, C).

    Raises:
        ValueError: `quantile` lies outside [0, 1], or the batch has no entropies.
    """
    if not 0 <= quantile <= 1:
        raise ValueError(f"quantile: must lie in [0, 1], not {quantile}")
    if batch.entropies is None:
        raise ValueError("batch: entropy_mask needs its entropies")
    entropies, mask = batch.entropies().float(), batch.mask.bool()
    if not mask.any():
        return torch.ones_like(entropies)
    high = entropies >= entropies[mask].quantile(quantile)
    return _where_mixed((high & mask).to(entropies.dtype), batch)


def dominant(scores: Tensor, batch: GroupBatch, tau_rule: str, beta: float) -> Tensor:
    """Which tokens have |THR| above their group's threshold, (B, C) bool."""
    tau = kernel_scores.thr_threshold(
        scores, batch.rewards, batch.mask, batch.group_size, rule=tau_rule, beta=beta
    )
    return (scores.abs() > _rows(tau, batch)) & batch.mask.bool()


def random_choice(
    candidates: Tensor, counts: Tensor, group_size: int, generator: torch.Generator
) -> Tensor:
    """As many random candidates of every group as `counts` says.

    Args:
        candidates: (B, C) bool.
        counts: (P,), how many to choose; at most all candidates are chosen.
        group_size: G.
        generator: on the processor, so that equal seeds choose equally on every device.

    Returns:
        (B, C) bool.
    """
    flat = candidates.bool().view(len(counts), -1)
    keys = torch.rand(flat.shape, generator=generator).to(flat.device).masked_fill(~flat, 2.0)
    ranks = keys.argsort(1).argsort(1)
    return ((ranks < counts.unsqueeze(1)) & flat).view(candidates.shape)


def generator_of(completion_ids: Tensor, seed: int) -> torch.Generator:
    """A generator that follows from the tokens and a seed."""
    # One hash of both: torch's generator on the processor uses the lower 32 bits of a seed only.
    content = completion_ids.cpu().contiguous().numpy().tobytes()
    return torch.Generator().manual_seed(zlib.crc32(content, zlib.crc32(str(seed).encode())))


def _states(batch: GroupBatch, rule: str) -> TokenStates:
    if batch.states is None:
        raise ValueError(f"batch: {rule} needs its states")
    return batch.states()


def _rows(values: Tensor, batch: GroupBatch) -> Tensor:
    """(P,) -> (B, 1)."""
    return values.repeat_interleave(batch.group_size).unsqueeze(1)


def _where_mixed(weights: Tensor, batch: GroupBatch) -> Tensor:
    """The weights, and 1 in groups without both sides."""
    mixed = kernel_scores.is_mixed(batch.rewards, batch.group_size)
    return torch.where(_rows(mixed, batch), weights, 1.0)


def _dtype(batch: GroupBatch) -> torch.dtype:
    return batch.rewards.dtype if batch.rewards.is_floating_point() else torch.float32

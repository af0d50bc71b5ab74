"""Terms that recipes add to the policy loss, each a pure function of a micro-batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from common.grpo.rules.batches import LossBatch
from common.grpo.rules.registry import Registry
from common.grpo.rules.segments import action_segments, segment_sums

LossTerm = Callable[..., tuple[Tensor, dict[str, float]]]
Gate = Literal["action", "response", "token"]
Normaliser = Literal["preserved", "microbatch"]

LOSS_TERMS: Registry[LossTerm] = Registry("loss term")
"""`f(batch, *, options)` → the term before its weight λ, and what to log."""


@LOSS_TERMS.register(
    "llds",
    equation=(
        r"\frac{1}{\sum_{i \in \mathcal{Y}_{pre}} \sum_t |y_{i,t}|}"
        r"\sum_{i \in \mathcal{Y}_{pre}} \sum_t"
        r"\mathbb{1}\left[\sum_k \delta_{i,t,k} > 0\right] \sum_k w_{i,t,k}"
        r"\max(0, \delta_{i,t,k}), \quad \delta = \ln \pi_{old} - \ln \pi_\theta,"
        r"\quad \mathcal{Y}_{pre} = \{i : \hat{A}_i \geq 0\}"
    ),
    source="arXiv 2512.04220v2, Eq. 4 (action), 5 (answer weight), 9 (token), 10 (response)",
    needs=("old_logps",),
)
def llds(
    batch: LossBatch,
    *,
    gate: Gate = "action",
    normalise: Normaliser = "preserved",
    answer_weight: float = 1.0,
) -> tuple[Tensor, dict[str, float]]:
    """Penalise tokens of preserved responses whose likelihood fell since they were sampled.

    Preserved are rows with an advantage of at least 0, groups of equal rewards included. Within
    an active gate the gradient with respect to the log-probability of a token that fell is minus
    its weight over the normaliser, and 0 elsewhere; the gate itself is a constant. Strictly
    on-policy nothing has fallen yet and the term vanishes.

    Args:
        batch: advantages per row.
        gate: which tokens of preserved rows count: those of actions, or of whole responses, whose
            summed log-likelihood fell, or all ("token").
        normalise: "preserved" divides by the policy's tokens in preserved rows (the paper),
            "microbatch" by those of all rows (the official code).
        answer_weight: β, from 0 to 1, for tokens of `batch.answer_mask` (LLDS-MA); 1 elsewhere.

    Returns:
        The term, a scalar that is 0 with zero gradient without preserved tokens; and the share of
        preserved tokens that were penalised (`llds_active`) and of rows that are preserved
        (`llds_preserved`).

    Raises:
        ValueError: an option is out of its range, or an answer weight other than 1 finds no
            answer mask.
    """
    if gate not in ("action", "response", "token"):
        raise ValueError(f"gate: 'action', 'response' or 'token', got {gate!r}")
    if normalise not in ("preserved", "microbatch"):
        raise ValueError(f"normalise: 'preserved' or 'microbatch', got {normalise!r}")
    if not 0 <= answer_weight <= 1:
        raise ValueError(f"answer_weight: from 0 to 1, got {answer_weight}")
    mask = batch.mask.bool()
    preserved = (batch.advantages >= 0)[:, None] & mask
    fell = torch.where(preserved, batch.old_logps.detach() - batch.logps, 0.0)
    active = _open(gate, fell.detach(), mask) & (fell > 0)
    # relu, unlike clamp, has no gradient at 0, where every token starts.
    weighted = torch.relu(fell) * active * _answer_weights(batch, answer_weight)
    tokens = preserved if normalise == "preserved" else mask
    stats = {
        "llds_active": float(active.sum() / preserved.sum().clamp(min=1)),
        "llds_preserved": float((batch.advantages >= 0).float().mean()) if len(mask) else 0.0,
    }
    return weighted.sum() / tokens.sum().clamp(min=1), stats


def _open(gate: Gate, fell: Tensor, mask: Tensor) -> Tensor:
    """(B, C): whether the gate lets each token through."""
    if gate == "token":
        return mask
    if gate == "response":
        return (fell.sum(1, keepdim=True) > 0) & mask
    segments = action_segments(mask)
    sums = segment_sums(fell, segments)
    # Column 0 stands for what lies outside the actions.
    sums = torch.cat([sums.new_zeros(len(sums), 1), sums], 1)
    return sums.gather(1, segments) > 0


def _answer_weights(batch: LossBatch, answer_weight: float) -> Tensor | float:
    if answer_weight == 1:
        return 1.0
    if batch.answer_mask is None:
        raise ValueError(f"answer_weight: {answer_weight} needs an answer_mask in the batch")
    return torch.where(batch.answer_mask.bool(), answer_weight, 1.0)

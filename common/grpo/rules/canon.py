"""CANON: advantages against the half of the group that is shorter or longer, more or less certain.

arXiv 2509.23962 and its official code. The group is sorted by a metric, the first ⌊N/2⌋ completions
form the low half, the others the high half.
"""

from __future__ import annotations

import torch

from common.grpo.rules.groups import ADVANTAGES, Groups, groups

_EQUATION = (
    r"A_i = \mu (r_i - \bar r_{\mathrm{other}}) + (1 - \mu) (r_i - \bar r_{\mathrm{own}}), \quad "
    r"\bar r_{\mathrm{own}}, \bar r_{\mathrm{other}} \mathrm{\ of\ the\ halves}"
)
_SOURCE = "arXiv 2509.23962, official code"


@ADVANTAGES.register("canon_length", equation=_EQUATION, source=_SOURCE, needs=("lengths",))
def canon_length(
    rewards: torch.Tensor, *, lengths: torch.Tensor, mu: float = 1.0, alpha: float = 1.0
) -> torch.Tensor:
    """CANON with halves by length.

    With mu = 1/2 and equal halves this is `dr_grpo`.

    Args:
        rewards: (P, G), any real values.
        lengths: (P, G), in tokens; of equal ones the earlier counts as shorter.
        mu: share of the comparison between the halves, 0 to 1.
        alpha: multiplies the rewards of the long half in that comparison: below 1 short
            completions are favoured. Other than 1 it gives groups of equal rewards advantages, too.

    Raises:
        ValueError: shapes differ, mu outside [0, 1], a negative alpha, or as `groups`.
    """
    return _canon(rewards, "lengths", lengths, mu, low_factor=1.0, high_factor=alpha, alpha=alpha)


@ADVANTAGES.register("canon_entropy", equation=_EQUATION, source=_SOURCE, needs=("entropies",))
def canon_entropy(
    rewards: torch.Tensor, *, entropies: torch.Tensor, mu: float = 1.0, alpha: float = 1.0
) -> torch.Tensor:
    """CANON with halves by mean token entropy.

    Args:
        rewards: (P, G), any real values.
        entropies: (P, G), each completion's mean over its tokens, in nats.
        mu: share of the comparison between the halves, 0 to 1.
        alpha: multiplies the rewards of the low half in that comparison: below 1 uncertain
            completions are favoured. Other than 1 it gives groups of equal rewards advantages, too.

    Raises:
        ValueError: shapes differ, mu outside [0, 1], a negative alpha, or as `groups`.
    """
    return _canon(
        rewards, "entropies", entropies, mu, low_factor=alpha, high_factor=1.0, alpha=alpha
    )


def _canon(
    rewards: torch.Tensor,
    name: str,
    metric: torch.Tensor,
    mu: float,
    *,
    low_factor: float,
    high_factor: float,
    alpha: float,
) -> torch.Tensor:
    batch = groups(rewards)
    if metric.shape != rewards.shape:
        raise ValueError(f"{name}: needs shape {tuple(rewards.shape)}, got {tuple(metric.shape)}")
    if metric[batch.valid].isnan().any():
        raise ValueError(f"{name}: NaN at a completion that has a reward")
    if not 0 <= mu <= 1:
        raise ValueError(f"mu: must lie in [0, 1], got {mu}")
    if alpha < 0:
        raise ValueError(f"alpha: must not be negative, got {alpha}")
    high = _high_half(batch, metric)
    low = batch.valid & ~high
    mean_low, mean_high = _mean(batch, low), _mean(batch, high)
    r = batch.values
    inter = torch.where(
        high, high_factor * r - low_factor * mean_low, low_factor * r - high_factor * mean_high
    )
    intra = r - torch.where(high, mean_high, mean_low)
    # A half without completions (a group of one) gives nothing to compare with.
    both = low.any(1, keepdim=True)
    return batch.advantages((mu * inter + (1 - mu) * intra).where(both, 0))


def _high_half(batch: Groups, metric: torch.Tensor) -> torch.Tensor:
    """(P, G), whether a completion is not among the first ⌊N/2⌋ by the metric."""
    order = metric.double().where(batch.valid, torch.inf).argsort(stable=True, dim=1)
    rank = torch.empty_like(order)
    rank.scatter_(1, order, torch.arange(order.shape[1], device=order.device).expand_as(order))
    return batch.valid & (rank >= batch.size // 2)


def _mean(batch: Groups, members: torch.Tensor) -> torch.Tensor:
    """(P, 1), mean reward of the members; 0 without any."""
    count = members.double().sum(1, keepdim=True)
    return batch.values.where(members, 0).sum(1, keepdim=True) / count.clamp(min=1)

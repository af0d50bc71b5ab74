"""Advantage rules: what each completion of a group is worth, from the rewards of the group.

Importing this module registers all rules. Conventions, everywhere: a group whose rewards are all
equal gets advantages of 0 (it still counts where a loss is averaged), a group of size one does,
too, unless a rule has no baseline; rewards that are NaN are left out and get 0.
"""

from __future__ import annotations

from typing import Literal

import torch

from common.grpo.rules import canon, passk, prompt_weights, signed
from common.grpo.rules.groups import ADVANTAGES, groups

__all__ = ["ADVANTAGES", "dr_grpo", "grpo", "rloo"]
# Importing these registers their rules.
_REGISTERED = (canon, passk, prompt_weights, signed)


@ADVANTAGES.register(
    "grpo",
    equation=r"A_i = \frac{r_i - \bar r}{s + \epsilon}",
    source="arXiv 2402.03300, section 4.1; conventions of TRL",
)
def grpo(
    rewards: torch.Tensor,
    *,
    std: Literal["sample", "population"] = "sample",
    over: Literal["group", "batch"] = "group",
    eps: float = 1e-4,
) -> torch.Tensor:
    r"""Rewards centred by their group's mean and divided by a standard deviation.

    Args:
        rewards: (P, G), any real values.
        std: with Bessel's correction (TRL, verl) or without (the algebra of arXiv 2510.23049).
        over: the standard deviation of each group, or one for the whole batch (TRL's
            `scale_rewards="batch"`).
        eps: added to the standard deviation, in the unit of the rewards; 1e-4 in TRL, 1e-6 in
            verl.

    Raises:
        ValueError: unknown option, or rewards as `groups` refuses them.
    """
    if std not in ("sample", "population"):
        raise ValueError(f"std: 'sample' or 'population', got {std!r}")
    if over not in ("group", "batch"):
        raise ValueError(f"over: 'group' or 'batch', got {over!r}")
    batch = groups(rewards)
    spread = groups(batch.values.where(batch.valid, torch.nan).reshape(1, -1))
    spread = batch if over == "group" else spread
    squares = spread.mean((spread.values - spread.mean()) ** 2) * spread.size
    divisor = (spread.size - int(std == "sample")).clamp(min=1)
    scaled = (batch.values - batch.mean()) / ((squares / divisor).sqrt() + eps)
    return batch.advantages(scaled.where(batch.varied(), 0))


@ADVANTAGES.register(
    "dr_grpo",
    equation=r"A_i = r_i - \bar r",
    source="arXiv 2503.20783, section 3",
)
def dr_grpo(rewards: torch.Tensor) -> torch.Tensor:
    """Rewards centred by their group's mean.

    Args:
        rewards: (P, G), any real values.

    Raises:
        ValueError: as `groups`.
    """
    batch = groups(rewards)
    return batch.advantages((batch.values - batch.mean()).where(batch.varied(), 0))


@ADVANTAGES.register(
    "rloo",
    equation=r"A_i = r_i - \frac{1}{N-1} \sum_{j \neq i} r_j",
    source="arXiv 2402.14740, section 3",
)
def rloo(rewards: torch.Tensor) -> torch.Tensor:
    """Rewards minus the mean of the group's other rewards: N/(N−1) times `dr_grpo`.

    Args:
        rewards: (P, G), any real values.

    Raises:
        ValueError: as `groups`.
    """
    batch = groups(rewards)
    scale = batch.size / (batch.size - 1).clamp(min=1)
    return batch.advantages(((batch.values - batch.mean()) * scale).where(batch.varied(), 0))

"""What every advantage rule starts from: groups of rewards, some of them missing.

All rules compute in float64 and return the type of the rewards. A completion without a reward
(NaN) takes no part in any statistic of its group and gets the advantage 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from common.grpo.rules.registry import Registry

AdvantageRule = Callable[..., torch.Tensor]

ADVANTAGES: Registry[AdvantageRule] = Registry("advantage rule")
"""Functions (P, G) rewards -> (P, G) advantages; `common.grpo.rules.advantages` fills it."""


@dataclass(frozen=True)
class Groups:
    """The rewards of P prompts with G completions each.

    Attributes:
        values: (P, G), float64, 0 where there is no reward.
        valid: (P, G), whether there is one.
        size: (P, 1), N, the number of rewards of each group.
        dtype: of the rewards.
    """

    values: torch.Tensor
    valid: torch.Tensor
    size: torch.Tensor
    dtype: torch.dtype

    def mean(self, what: torch.Tensor | None = None) -> torch.Tensor:
        """(P, 1), over the completions with a reward; 0 in a group without any."""
        kept = (self.values if what is None else what.double()).where(self.valid, 0)
        return kept.sum(1, keepdim=True) / self.size.clamp(min=1)

    def varied(self) -> torch.Tensor:
        """(P, 1), whether a group holds two different rewards.

        Decided by comparison: rounding gives equal rewards like 0.1 a tiny standard deviation,
        which would blow up to advantages of size 1.
        """
        high = self.values.where(self.valid, -torch.inf).amax(1, keepdim=True)
        low = self.values.where(self.valid, torch.inf).amin(1, keepdim=True)
        return high > low

    def advantages(self, values: torch.Tensor) -> torch.Tensor:
        """(P, G) in the type of the rewards, 0 where there is no reward."""
        return values.where(self.valid, 0).to(self.dtype)


@dataclass(frozen=True)
class BinaryGroups(Groups):
    """Groups in which every completion is correct or wrong.

    Attributes:
        correct: (P, G), whether a completion is correct; false where there is no reward.
    """

    correct: torch.Tensor

    @property
    def n_correct(self) -> torch.Tensor:
        """(P, 1), N⁺, float64."""
        return self.correct.double().sum(1, keepdim=True)

    @property
    def n_wrong(self) -> torch.Tensor:
        """(P, 1), N⁻ = N − N⁺, float64."""
        return self.size - self.n_correct

    @property
    def rate(self) -> torch.Tensor:
        """(P, 1), ρ̂ = N⁺/N; 0 in a group without rewards."""
        return self.n_correct / self.size.clamp(min=1)

    def mixed(self) -> torch.Tensor:
        """(P, 1), whether a group holds correct and wrong completions."""
        return (self.n_correct > 0) & (self.n_wrong > 0)

    def assign(self, positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
        """(P, G): A⁺ for the correct and A⁻ for the wrong completions, both (P, 1)."""
        return self.advantages(torch.where(self.correct, positive, negative))


def groups(rewards: torch.Tensor) -> Groups:
    """The groups of a (P, G) tensor of rewards, NaN where there is none.

    Raises:
        ValueError: not two axes, no completion in a group, no floating-point type, or infinite.
    """
    if rewards.ndim != 2 or not rewards.shape[1]:
        raise ValueError(f"rewards: needs shape (P, G) with G >= 1, got {tuple(rewards.shape)}")
    if not rewards.is_floating_point():
        raise ValueError(f"rewards: needs a floating-point type, got {rewards.dtype}")
    if rewards.isinf().any():
        raise ValueError("rewards: a reward is infinite")
    valid = ~rewards.isnan()
    size = valid.double().sum(1, keepdim=True)
    return Groups(rewards.double().where(valid, 0), valid, size, rewards.dtype)


def binary_groups(rewards: torch.Tensor, threshold: float | None = None) -> BinaryGroups:
    """Groups of correct and wrong completions.

    Args:
        rewards: (P, G), NaN where there is none.
        threshold: a reward of at least this much counts as correct; without it rewards must be
            0 or 1.

    Raises:
        ValueError: as `groups`, or a reward is neither 0 nor 1 and there is no threshold.
    """
    plain = groups(rewards)
    if threshold is None:
        other = plain.values[(plain.values != 0) & (plain.values != 1)]
        if len(other):
            raise ValueError(
                f"rewards: this rule needs rewards of 0 or 1, got {other[0].item():g}; "
                "give a threshold from which a completion counts as correct"
            )
        threshold = 1.0
    correct = plain.valid & (plain.values >= threshold)
    return BinaryGroups(plain.values, plain.valid, plain.size, plain.dtype, correct)

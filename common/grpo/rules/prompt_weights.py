"""Advantage rules that weight prompts by their success rate, and those derived from a surrogate.

Every rule A⁺(ρ̂), A⁻(ρ̂) whose advantages sum to zero in each group is a weight ω(ρ̂) of the prompt's
update, and belongs to a surrogate reward F with A⁺ = (1 − ρ̂) F'(ρ̂), A⁻ = −ρ̂ F'(ρ̂).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from common.grpo.rules.groups import ADVANTAGES, AdvantageRule, binary_groups
from common.grpo.rules.registry import unknown

Derivative = Callable[[torch.Tensor], torch.Tensor]


def bound_rule(rule: str | Mapping[str, Any]) -> AdvantageRule:
    """The rule of a name, or of a mapping {name: ..., option: ...}, with its options.

    Raises:
        ValueError: no such rule or option, or the rule needs more than rewards.
    """
    from common.grpo.rules import advantages  # noqa: F401 - registers all rules, whoever asks first

    options = {"name": rule} if isinstance(rule, str) else dict(rule)
    name = str(options.pop("name", None))
    if name not in ADVANTAGES:
        raise ValueError(unknown(ADVANTAGES.kind, name, ADVANTAGES))
    if ADVANTAGES[name].needs:
        raise ValueError(f"rule: {name} needs {ADVANTAGES[name].needs} beside the rewards")
    return ADVANTAGES[name].bind(options)


@ADVANTAGES.register(
    "hard_examples",
    equation=r"A_i = (1 - \hat\rho)^{a} A_i^{\mathrm{base}}",
    source="arXiv 2510.23049, abstract; the power is our generalisation",
)
def hard_examples(
    rewards: torch.Tensor,
    *,
    base: str | Mapping[str, Any] = "grpo",
    power: float = 1.0,
    threshold: float | None = None,
) -> torch.Tensor:
    """Another rule's advantages, weighted by the group's share of wrong completions.

    Args:
        rewards: (P, G), 0 or 1 unless there is a threshold; the base sees them unchanged.
        base: the other rule's name, or a mapping {name: ..., option: ...}.
        power: a, not negative; 0 gives the base itself.
        threshold: a reward of at least this much counts as correct.

    Raises:
        ValueError: as `binary_groups` and `bound_rule`, or a negative power.
    """
    if power < 0:
        raise ValueError(f"power: must not be negative, got {power}")
    batch = binary_groups(rewards, threshold)
    return batch.advantages(bound_rule(base)(rewards).double() * (1 - batch.rate) ** power)


@ADVANTAGES.register(
    "std_regularised",
    equation=(
        r"A^{+} = (1 - \hat\rho) F', \quad A^{-} = -\hat\rho F', \quad "
        r"F' = \max \left( f, 1 + \lambda \frac{1 - 2 \hat\rho}{2 \sqrt{\hat\rho (1 - \hat\rho)}} "
        r"\right)"
    ),
    source="derived from the surrogate ρ + λ √(ρ(1 − ρ)) in the manner of arXiv 2510.23049",
)
def std_regularised(
    rewards: torch.Tensor,
    *,
    strength: float,
    floor: float | None = 0.0,
    threshold: float | None = None,
) -> torch.Tensor:
    """The expected reward with its standard deviation as a regulariser.

    Args:
        rewards: (P, G), 0 or 1 unless there is a threshold.
        strength: λ of the regulariser, in units of the reward.
        floor: f; without it F' turns negative at high success rates, and correct completions
            are pushed down there.
        threshold: a reward of at least this much counts as correct.

    Raises:
        ValueError: as `binary_groups`.
    """

    def derivative(rate: torch.Tensor) -> torch.Tensor:
        slope = 1 + strength * (1 - 2 * rate) / (2 * (rate * (1 - rate)).sqrt())
        return slope if floor is None else slope.clamp(min=floor)

    return from_surrogate(derivative, rewards, threshold=threshold)


@ADVANTAGES.register(
    "log_likelihood",
    equation=r"A^{+} = \frac{1 - \hat\rho}{\hat\rho}, \quad A^{-} = -1",
    source="derived from the surrogate ln ρ in the manner of arXiv 2510.23049",
)
def log_likelihood(rewards: torch.Tensor, *, threshold: float | None = None) -> torch.Tensor:
    """The logarithm of the success rate as the surrogate: all prompts pull equally while hard.

    Args:
        rewards: (P, G), 0 or 1 unless there is a threshold.
        threshold: a reward of at least this much counts as correct.

    Raises:
        ValueError: as `binary_groups`.
    """
    return from_surrogate(torch.reciprocal, rewards, threshold=threshold)


def from_surrogate(
    derivative: Derivative, rewards: torch.Tensor, *, threshold: float | None = None
) -> torch.Tensor:
    """Advantages whose surrogate reward has the given derivative: (1 − ρ̂) F'(ρ̂), −ρ̂ F'(ρ̂).

    Args:
        derivative: F' on the open interval (0, 1), elementwise on float64; it is never asked for
            the ends, where a group is all wrong or all correct and gets 0.
        rewards: (P, G), 0 or 1 unless there is a threshold.
        threshold: a reward of at least this much counts as correct.

    Raises:
        ValueError: as `binary_groups`.
    """
    batch = binary_groups(rewards, threshold)
    mixed = batch.mixed()
    slope = derivative(batch.rate.where(mixed, 0.5)).where(mixed, 0)
    return batch.assign((1 - batch.rate) * slope, -batch.rate * slope)

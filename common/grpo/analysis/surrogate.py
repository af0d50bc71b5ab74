r"""What an advantage rule optimises: its surrogate reward, at finite N and in the limit.

A rule gives every correct completion of a group A⁺ and every wrong one A⁻, both functions of the
number N⁺ of correct ones among N. With the score identity ρ∇₊ + (1−ρ)∇₋ = 0 its expected update of
a prompt is always a multiple of ∇ρ, the multiple is F'_N(ρ), and its integral F_N(ρ) is what the
rule ascends (arXiv 2510.23049). Derived here, and checked by enumeration in the tests:

    F'_N(ρ) = E[A⁺(j+1) − A⁻(j)],  j ~ Binomial(N−1, ρ)
    F_N(ρ)  = E[R(N⁺)],  R(n) = (1/N) Σ_{m=1..n} (A⁺(m) − A⁻(m−1)),  N⁺ ~ Binomial(N, ρ)

So every rule is REINFORCE on the group's reward R, whether its advantages sum to zero or not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

import common.grpo.rules.advantages  # noqa: F401 - registers the rules
from common.grpo.rules.groups import AdvantageRule
from common.grpo.rules.prompt_weights import bound_rule

Floats = NDArray[np.float64]
RuleLike = str | Mapping[str, Any] | AdvantageRule
"""A rule's name, a mapping {name: ..., option: ...}, or a function (P, N) -> (P, N)."""

CENTRED = 1e-9
"""Advantages sum to zero when their mean lies below this share of their size."""

ROWS = 64
"""Groups that are written out at a time: all N + 1 would take N² numbers, these fit a cache."""


@dataclass(frozen=True)
class AdvantageTable:
    """A rule for groups of N, written out for every number of correct completions.

    Attributes:
        positive: (N+1,), A⁺(N⁺); 0 at N⁺ = 0, where there is nobody to get it.
        negative: (N+1,), A⁻(N⁺); 0 at N⁺ = N.
    """

    positive: Floats
    negative: Floats

    @property
    def n(self) -> int:
        """N, completions per group."""
        return len(self.positive) - 1

    @property
    def rate(self) -> Floats:
        """(N+1,), ρ̂ = N⁺/N."""
        return np.arange(self.n + 1) / self.n

    @property
    def mean(self) -> Floats:
        """(N+1,), mean advantage of a group."""
        return self.rate * self.positive + (1 - self.rate) * self.negative

    @property
    def centred(self) -> bool:
        """Whether the advantages of every group sum to zero."""
        size = max(np.abs(self.positive).max(), np.abs(self.negative).max())
        return bool(np.abs(self.mean).max() <= CENTRED * size)

    @property
    def omega(self) -> Floats:
        """(N+1,), ω: the group's update is ω (ĝ₊ − ĝ₋), plus the mean advantage times all scores.

        ω = ρ̂ (1−ρ̂) (A⁺ − A⁻), which is ρ̂ A⁺ when the advantages are centred.
        """
        return self.rate * (1 - self.rate) * (self.positive - self.negative)

    @property
    def group_reward(self) -> Floats:
        """(N+1,), R(N⁺), with R(0) = 0."""
        steps = (self.positive[1:] - self.negative[:-1]) / self.n
        return np.concatenate([[0.0], steps.cumsum()])

    def value(self, rate: ArrayLike) -> Floats:
        """F_N at success rates of any shape, with F_N(0) = 0: the expected group reward."""
        return binomial(self.n, rate) @ self.group_reward

    def derivative(self, rate: ArrayLike) -> Floats:
        """F'_N at success rates of any shape: the weight of ∇ρ in the expected update."""
        return binomial(self.n - 1, rate) @ (self.positive[1:] - self.negative[:-1])

    def mean_omega(self, rate: ArrayLike) -> Floats:
        """E|ω(ρ̂)| at success rates of any shape."""
        return binomial(self.n, rate) @ np.abs(self.omega)


def binomial(n: int, rate: ArrayLike) -> Floats:
    """Probabilities of 0…n successes, shape (…, n+1), at success rates of shape (…).

    Raises:
        ValueError: a rate lies outside [0, 1].
    """
    from scipy.stats import binom

    p = np.asarray(rate, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("rate: must lie in [0, 1]")
    return np.asarray(binom.pmf(np.arange(n + 1), n, p[..., None]))


def advantage_table(rule: RuleLike, n: int) -> AdvantageTable:
    """A registered rule, or any function of rewards, for groups of `n` binary rewards.

    Raises:
        ValueError: n < 1, the rule is unknown, or it gives completions of equal reward different
            advantages, or a value that is not finite.
    """
    if n < 1:
        raise ValueError(f"n: must be positive, got {n}")
    function = rule if callable(rule) else bound_rule(rule)
    parts = [_written_out(function, n, counts) for counts in torch.arange(n + 1).split(ROWS)]
    positive, negative = (torch.cat(part).numpy() for part in zip(*parts, strict=True))
    return AdvantageTable(positive, negative)


def _written_out(
    function: AdvantageRule, n: int, counts: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """A⁺ and A⁻ for some numbers of correct completions."""
    correct = torch.arange(n) < counts[:, None]
    found = function(correct.double()).double()
    if not found.isfinite().all():
        raise ValueError("rule: gives an advantage that is not finite")
    positive = found[:, 0].where(correct[:, 0], 0)
    negative = found[:, -1].where(~correct[:, -1], 0)
    if not torch.allclose(torch.where(correct, positive[:, None], negative[:, None]), found):
        raise ValueError("rule: gives completions of equal reward different advantages")
    return positive, negative


def rule_table(function: Callable[[int, int], tuple[float, float]], n: int) -> AdvantageTable:
    """An advantage rule given as (N⁺, N) -> (A⁺, A⁻); it is only asked where both are in use.

    Raises:
        ValueError: n < 1, or a value is not finite.
    """
    if n < 1:
        raise ValueError(f"n: must be positive, got {n}")
    pairs = np.array([function(n_correct, n) for n_correct in range(n + 1)], dtype=np.float64)
    positive, negative = pairs.T.copy()
    positive[0] = negative[-1] = 0.0
    if not (np.isfinite(positive).all() and np.isfinite(negative).all()):
        raise ValueError("function: gives an advantage that is not finite")
    return AdvantageTable(positive, negative)


def omega(rule: RuleLike, n: int, n_correct: ArrayLike) -> Floats:
    """ω(ρ̂) of a rule in groups of `n` with `n_correct` correct completions (any shape)."""
    found: Floats = advantage_table(rule, n).omega[np.asarray(n_correct)]
    return found


def expected_update(table: AdvantageTable, rate: ArrayLike) -> Floats:
    """The multiple of ∇ρ in the expected update (1/N) Σ A_i ∇ log π, by enumeration over N⁺.

    For a policy whose completions are right with probability ρ, where the score of a right one is
    ∇ρ/ρ and that of a wrong one −∇ρ/(1−ρ) on average. It equals `AdvantageTable.derivative`.

    Args:
        table: the rule.
        rate: ρ, of any shape, inside (0, 1).
    """
    p = np.asarray(rate, dtype=np.float64)[..., None]
    updates = table.rate * table.positive / p - (1 - table.rate) * table.negative / (1 - p)
    return np.asarray((binomial(table.n, rate) * updates).sum(-1))


def integrate(derivative: Callable[[float], float], rate: ArrayLike, start: float = 0.0) -> Floats:
    """F(ρ) − F(start) by quadrature of F'.

    In the angle φ with ρ = sin²φ the square-root poles at 0 and 1, which most rules have, vanish.

    Args:
        derivative: F' on the open interval (0, 1).
        rate: ρ, of any shape.
        start: in [0, 1]; above 0 where F' has no integral from there.
    """
    from scipy.integrate import quad

    def integrand(angle: float) -> float:
        return derivative(np.sin(angle) ** 2) * np.sin(2 * angle)

    def one(end: float) -> float:
        angles = np.arcsin(np.sqrt([start, end]))
        return float(quad(integrand, *angles, epsabs=1e-12, epsrel=1e-12, limit=200)[0])

    return np.vectorize(one, otypes=[np.float64])(rate)

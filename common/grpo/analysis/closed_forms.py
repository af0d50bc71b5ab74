"""Surrogate rewards in closed form: what advantage rules maximise as groups grow.

arXiv 2510.23049; the forms are derived here and compared with enumeration in the tests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import beta, betainc

Floats = NDArray[np.float64]
Curve = Callable[[Any], Any]


@dataclass(frozen=True)
class Surrogate:
    """A surrogate reward of one prompt, a function of its success rate.

    Attributes:
        equation: LaTeX of F, without dollar signs.
        value: F, elementwise on [0, 1], up to a constant; numpy arrays and numbers.
        derivative: F', elementwise on (0, 1).
    """

    equation: str
    value: Curve
    derivative: Curve

    def omega(self, rate: ArrayLike) -> Floats:
        """ω(ρ) = ρ(1−ρ) F'(ρ)."""
        p = np.asarray(rate, dtype=np.float64)
        return np.asarray(p * (1 - p) * self.derivative(p))

    def advantages(self, rate: ArrayLike) -> tuple[Floats, Floats]:
        """A⁺ = (1−ρ) F'(ρ) and A⁻ = −ρ F'(ρ)."""
        p = np.asarray(rate, dtype=np.float64)
        slope = self.derivative(p)
        return np.asarray((1 - p) * slope), np.asarray(-p * slope)


def identity() -> Surrogate:
    """F = ρ: REINFORCE with a mean baseline (`dr_grpo`), and `rloo`."""
    return Surrogate(r"\rho", lambda p: np.asarray(p) * 1.0, lambda p: np.ones_like(p, dtype=float))


def arcsine() -> Surrogate:
    """F = 2 arcsin √ρ: `grpo` with the population's standard deviation and eps = 0."""
    return Surrogate(
        r"2 \arcsin \sqrt{\rho}",
        lambda p: 2 * np.arcsin(np.sqrt(p)),
        lambda p: 1 / np.sqrt(p * (1 - p)),
    )


def passk(k: int) -> Surrogate:
    """F = ρ_K = 1 − (1−ρ)^K: `passk_direct`."""
    return Surrogate(
        rf"1 - (1 - \rho)^{{{k}}}",
        lambda p: _solved(p, k),
        lambda p: k * (1 - p) ** (k - 1.0),
    )


def passk_arcsine(k: int) -> Surrogate:
    """F = (2/K) arcsin √ρ_K: `passk_grpo`."""
    return Surrogate(
        rf"\frac{{2}}{{{k}}} \arcsin \sqrt{{1 - (1 - \rho)^{{{k}}}}}",
        lambda p: 2 / k * np.arcsin(np.sqrt(_solved(p, k))),
        lambda p: (1 - p) ** (k / 2 - 1.0) / np.sqrt(_solved(p, k)),
    )


def hard_arcsine(power: float = 1.0) -> Surrogate:
    """F' = ρ^(−1/2) (1−ρ)^(a−1/2): `grpo` times (1−ρ̂)^a.

    F is the incomplete beta function B(ρ; 1/2, a + 1/2); for a = 1 it is
    arcsin √ρ + √(ρ(1−ρ)), half of GRPO's surrogate and the standard deviation of the reward.
    """
    return Surrogate(
        rf"B(\rho; \frac{{1}}{{2}}, {power + 0.5:g})",
        lambda p: beta(0.5, power + 0.5) * betainc(0.5, power + 0.5, p),
        lambda p: p**-0.5 * (1 - p) ** (power - 0.5),
    )


def hard_identity(power: float = 1.0) -> Surrogate:
    """F = (1 − (1−ρ)^(a+1))/(a+1): `rloo` times (1−ρ̂)^a; for a = 1 half of Pass@2."""
    return Surrogate(
        rf"\frac{{1}}{{{power + 1:g}}} (1 - (1 - \rho)^{{{power + 1:g}}})",
        lambda p: _solved(p, power + 1) / (power + 1),
        lambda p: (1 - p) ** power,
    )


def log_likelihood() -> Surrogate:
    """F = ln ρ."""
    return Surrogate(r"\ln \rho", np.log, lambda p: 1 / np.asarray(p))


def std_regularised(strength: float) -> Surrogate:
    """F = ρ + λ √(ρ(1−ρ)), the rule without a floor."""
    return Surrogate(
        rf"\rho + {strength:g} \sqrt{{\rho (1 - \rho)}}",
        lambda p: p + strength * np.sqrt(p * (1 - p)),
        lambda p: 1 + strength * (1 - 2 * p) / (2 * np.sqrt(p * (1 - p))),
    )


def _solved(rate: Any, k: float) -> Any:
    """1 − (1−ρ)^K without cancellation at small ρ."""
    with np.errstate(divide="ignore"):
        return -np.expm1(k * np.log1p(-np.asarray(rate, dtype=np.float64)))

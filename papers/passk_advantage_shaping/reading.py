"""What does my advantage optimise? A rule's surrogate, read off from its A⁺(N⁺) and A⁻(N⁺)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray

from common.grpo.analysis import closed_forms
from common.grpo.analysis.closed_forms import Surrogate
from common.grpo.analysis.surrogate import (
    AdvantageTable,
    advantage_table,
    binomial,
    expected_update,
)
from common.grpo.rules.prompt_weights import bound_rule

Floats = NDArray[np.float64]

RATES = np.linspace(0.02, 0.98, 49).round(2)
"""Success rates at which surrogates are compared."""

KNOWN: dict[str, Surrogate] = {
    "ρ": closed_forms.identity(),
    "2 arcsin √ρ": closed_forms.arcsine(),
    "Pass@2": closed_forms.passk(2),
    "Pass@4": closed_forms.passk(4),
    "Pass@8": closed_forms.passk(8),
    "arcsin √Pass@4": closed_forms.passk_arcsine(4),
    "arcsin √ρ + √(ρ(1−ρ))": closed_forms.hard_arcsine(),
    "ln ρ": closed_forms.log_likelihood(),
}
"""Surrogates that a rule is compared with."""


def curve(table: AdvantageTable, weight: Callable[[Floats], Floats] | None = None) -> pd.DataFrame:
    """Effective weight and surrogate of a rule at `RATES`.

    Args:
        table: the rule.
        weight: how often a prompt of success rate ρ is trained on, relative to others; by default
            all equally often.

    Returns:
        Columns `rate`, `slope` (F'_N, times the weight), `noise` (standard deviation of the update
        in multiples of ∇ρ), `value` (the integral of `slope` from the lowest rate).
    """
    often = weight(RATES) if weight else np.ones_like(RATES)
    slope = expected_update(table, RATES) * often
    value = np.concatenate([[0.0], ((slope[1:] + slope[:-1]) / 2 * np.diff(RATES)).cumsum()])
    noise = update_deviation(table, RATES) * often
    return pd.DataFrame({"rate": RATES, "slope": slope, "noise": noise, "value": value})


def update_deviation(table: AdvantageTable, rate: ArrayLike) -> Floats:
    """Standard deviation over groups of the update (1/N) Σ A_i ∂ log π/∂ρ of a Bernoulli policy."""
    p = np.asarray(rate, dtype=np.float64)[..., None]
    updates = table.rate * table.positive / p - (1 - table.rate) * table.negative / (1 - p)
    chances = binomial(table.n, rate)
    mean = (chances * updates).sum(-1, keepdims=True)
    return np.asarray(np.sqrt((chances * (updates - mean) ** 2).sum(-1)))


def nearest(slope: Floats) -> tuple[str, float]:
    """The known surrogate whose slope is most nearly proportional, and the cosine of the two."""
    cosines = {
        name: float(slope @ known.derivative(RATES))
        / float(np.linalg.norm(slope) * np.linalg.norm(known.derivative(RATES)))
        for name, known in KNOWN.items()
    }
    best = max(cosines, key=lambda name: cosines[name])
    return best, cosines[best]


def read(
    tables: Mapping[str, AdvantageTable],
    weights: Mapping[str, Callable[[Floats], Floats]] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read several rules.

    Args:
        tables: rules by name.
        weights: for some of them, how often prompts are trained on.

    Returns:
        The curves of all rules (`curve`, with the column `rule`), and one row per rule with `n`,
        `centred` (whether advantages sum to zero), `nearest` and `cosine`, and the slopes at
        ρ = 0.1 and 0.9 relative to that at 0.5 (`hard`, `easy`).
    """
    curves, rows = [], []
    for rule, table in tables.items():
        found = curve(table, (weights or {}).get(rule))
        slope = found.set_index("rate").slope
        name, cosine = nearest(slope.to_numpy())
        row = {"rule": rule, "n": table.n, "centred": table.centred, "nearest": name}
        ends = {"hard": slope[0.1] / slope[0.5], "easy": slope[0.9] / slope[0.5]}
        rows.append(row | {"cosine": cosine} | ends)
        curves.append(found.assign(rule=rule))
    return pd.concat(curves, ignore_index=True), pd.DataFrame(rows)


def mixed_share(n: int) -> Callable[[Floats], Floats]:
    """How often a group of N holds right and wrong completions: 1 − ρ^N − (1−ρ)^N."""
    return lambda rate: 1 - rate**n - (1 - rate) ** n


def per_kept(rule: str, n: int) -> AdvantageTable:
    """PSR or NSR where a group's update is divided by the completions that are kept, not by N."""
    table = advantage_table(rule, n)
    counts = np.arange(n + 1.0)
    kept = counts if rule == "psr" else n - counts
    factor = np.divide(n, kept, out=np.zeros_like(kept), where=kept > 0)
    return AdvantageTable(table.positive * factor, table.negative * factor)


def batch_scaling(seed: int, prompts: int, n: int) -> pd.DataFrame:
    """Advantages scaled by the batch's standard deviation, relative to unscaled ones, by prompt.

    Returns:
        One row per prompt with a mixed group: `ratio` to Dr. GRPO's advantages with one standard
        deviation for the batch (`batch`) and with one for each group (`group`).
    """
    rng = np.random.default_rng(seed)
    rates = rng.uniform(0.05, 0.95, (prompts, 1))
    rewards = torch.from_numpy((rng.random((prompts, n)) < rates).astype(float))
    plain = bound_rule("dr_grpo")(rewards).abs().amax(1)
    rows = []
    for over in ("batch", "group"):
        recipe: dict[str, Any] = {"name": "grpo", "over": over}
        ratio = (bound_rule(recipe)(rewards).abs().amax(1) / plain)[plain > 0]
        rows.append(pd.DataFrame({"over": over, "prompt": range(len(ratio)), "ratio": ratio}))
    return pd.concat(rows, ignore_index=True).assign(seed=seed)

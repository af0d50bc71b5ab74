"""The identities between advantage rules and surrogate rewards, measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from common.grpo.analysis import closed_forms
from common.grpo.analysis.bandit import shared_bandit
from common.grpo.analysis.closed_forms import Surrogate
from common.grpo.analysis.surrogate import AdvantageTable, advantage_table, expected_update, omega
from common.grpo.rules.prompt_weights import bound_rule, from_surrogate

GRPO: dict[str, Any] = {"name": "grpo", "std": "population", "eps": 0.0}
"""GRPO as in the algebra: the population's standard deviation, no epsilon."""

PLUG_IN = "plug-in"
"""The rule that puts ρ̂ into the population's formula of direct Pass@K."""


def limits(k: int) -> dict[str, tuple[Any, Surrogate]]:
    """Rules whose advantages sum to zero, each with its surrogate as groups grow."""
    return {
        "rloo": ("rloo", closed_forms.identity()),
        "grpo": (GRPO, closed_forms.arcsine()),
        "passk_grpo": ({"name": "passk_grpo", "k": k}, closed_forms.passk_arcsine(k)),
        "passk_direct": (
            {"name": "passk_direct", "k": k, "baseline": "leave_one_out"},
            closed_forms.passk(k),
        ),
        "hard_grpo": ({"name": "hard_examples", "base": GRPO}, closed_forms.hard_arcsine()),
        "hard_rloo": (
            {"name": "hard_examples", "base": "rloo"},
            closed_forms.hard_identity(),
        ),
        "log_likelihood": ("log_likelihood", closed_forms.log_likelihood()),
        "std_regularised": (
            {"name": "std_regularised", "strength": 1.0, "floor": None},
            closed_forms.std_regularised(1.0),
        ),
    }


def gradients(rules: Sequence[str], k: int, n: int, rates: Sequence[float]) -> pd.DataFrame:
    """Expected updates of one prompt against finite differences of the surrogate.

    Returns:
        One row per rule and rate, with `update` (by enumeration over N⁺, in multiples of ∇ρ),
        `slope` (central difference of F) and `bias` (their relative difference).
    """
    p, step = np.asarray(rates), 1e-6
    frames = []
    for rule in rules:
        recipe, surrogate = limits(k)[rule]
        update = expected_update(advantage_table(recipe, n), p)
        slope = (surrogate.value(p + step) - surrogate.value(p - step)) / (2 * step)
        columns = {"rule": rule, "k": k, "n": n, "rate": p, "update": update, "slope": slope}
        frames.append(pd.DataFrame(columns).assign(bias=update / slope - 1))
    return pd.concat(frames, ignore_index=True)


def finite_weights(ks: Sequence[int], sizes: Sequence[int], rate: float) -> pd.DataFrame:
    """The relative error of Pass@K-GRPO's ω at a success rate, for groups of N.

    Args:
        ks: K.
        sizes: N, multiples of 1/rate.
        rate: ρ̂.

    Returns:
        One row per K and N, with `error` and `halving` (the error over that at 2N).
    """
    rows = []
    for k in ks:
        rule = {"name": "passk_grpo", "k": k}
        limit = float(closed_forms.passk_arcsine(k).omega(rate))
        for n in sizes:
            error, twice = (
                abs(float(omega(rule, size, round(rate * size))) / limit - 1) for size in (n, 2 * n)
            )
            rows.append({"k": k, "n": n, "rate": rate, "error": error, "halving": error / twice})
    return pd.DataFrame(rows)


def directions(seed: int, k: int, n: int, prompts: int) -> pd.DataFrame:
    """Sampled updates of single prompts: their direction and length, by rule.

    The policy is a softmax bandit at random parameters; every prompt's group is sampled once, and
    all rules see the same groups. Left out are groups of equal rewards and rules that give nothing.

    Returns:
        One row per prompt and rule, with `cosine` (with RLOO's update), `length` (of the update,
        relative to RLOO's) and `omega` (ω relative to RLOO's).
    """
    bandit = shared_bandit([seed], prompts=prompts, features=16, answers=32)
    rng = np.random.default_rng([seed, 1])
    theta = rng.standard_normal(bandit.start.shape)
    answers = bandit.sample(theta, rng.random((1, prompts, n)))
    correct = bandit.is_correct(answers)
    counts = correct[0].sum(-1)
    features = bandit.features[0]
    mean = np.einsum("xm,xmd->xd", bandit.policy(theta)[0], features)
    scores = features[np.arange(prompts)[:, None], answers[0]] - mean[:, None]
    rules = {name: recipe for name, (recipe, _) in limits(k).items()} | {"nsr": "nsr"}
    updates, omegas = {}, {}
    for name, recipe in rules.items():
        advantages = bound_rule(recipe)(torch.from_numpy(correct[0].astype(float))).numpy()
        updates[name] = np.einsum("xn,xnd->xd", advantages, scores) / n
        omegas[name] = omega(recipe, n, counts)
    base = updates["rloo"]
    frames = []
    for name, update in updates.items():
        used = (counts > 0) & (counts < n) & (np.abs(omegas[name]) > 1e-9)
        norms = np.linalg.norm(update, axis=1), np.linalg.norm(base, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            cosine = (update * base).sum(1) / norms[0] / norms[1]
            ratio = norms[0] / norms[1]
            expected = np.abs(omegas[name] / omegas["rloo"])
        columns = {"cosine": cosine * np.sign(omegas[name]), "length": ratio, "omega": expected}
        frame = pd.DataFrame({"seed": seed, "rule": name, "prompt": range(prompts)} | columns)
        frames.append(frame[used])
    return pd.concat(frames, ignore_index=True)


def recipes(k: int, n: int) -> pd.DataFrame:
    """Advantages derived from F against the rules' own formulas in the population.

    Returns:
        One row per rule, ρ̂ = 1/N … (N−1)/N and sign, with `derived` (from the surrogate's
        derivative) and `published` (the formula of the rule's source, with ρ for ρ̂).
    """
    frames = []
    p = np.arange(1, n) / n
    solved = 1 - (1 - p) ** k
    spread = np.sqrt(solved * (1 - solved))
    population = {
        "rloo": (1 - p, -p),
        "grpo": (np.sqrt((1 - p) / p), -np.sqrt(p / (1 - p))),
        "passk_grpo": ((1 - solved) / spread, (1 - solved - (1 - p) ** (k - 1)) / spread),
        "passk_direct": (
            k * (1 - p) ** k,
            k * (1 - (1 - p) ** (k - 1)) - k * (p + (1 - p) * (1 - (1 - p) ** (k - 1))),
        ),
    }
    correct = (torch.arange(n) < torch.arange(1, n)[:, None]).double()
    for rule, published in population.items():
        found = from_surrogate(_on_tensors(limits(k)[rule][1]), correct)
        for sign, column, formula in zip(("+", "-"), (0, -1), published, strict=True):
            columns = {"rule": rule, "sign": sign, "n_correct": np.arange(1, n)}
            values = {"derived": found[:, column].numpy(), "published": formula}
            frames.append(pd.DataFrame(columns | values))
    return pd.concat(frames, ignore_index=True)


def _on_tensors(surrogate: Surrogate) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda rate: torch.from_numpy(surrogate.derivative(rate.numpy()))


def direct_gradients(ks: Sequence[int], sizes: Sequence[int], points: int = 99) -> pd.DataFrame:
    """Expected updates of direct Pass@K rules against the gradient of Pass@K, by enumeration.

    Returns:
        One row per rule, K and N, with `worst` (largest difference over `points` success rates,
        in units of the largest gradient, K).
    """
    p = np.arange(1, points + 1) / (points + 1)
    rows = []
    for k in ks:
        exact = k * (1 - p) ** (k - 1)
        for n in sizes:
            rules: dict[str, AdvantageTable] = {PLUG_IN: _plug_in(k, n)}
            for baseline in ("none", "mean", "leave_one_out", "subset"):
                if n > k or (n == k and baseline != "leave_one_out"):
                    recipe = {"name": "passk_direct", "k": k, "baseline": baseline}
                    rules[baseline] = advantage_table(recipe, n)
            for rule, table in rules.items():
                gap = np.abs(expected_update(table, p) - exact).max() / k
                rows.append({"rule": rule, "k": k, "n": n, "worst": gap})
    return pd.DataFrame(rows)


def _plug_in(k: int, n: int) -> AdvantageTable:
    derivative = closed_forms.passk(k).derivative
    return advantage_table(lambda rewards: from_surrogate(derivative, rewards), n)


def switched_off(ks: Sequence[int], n: int) -> pd.DataFrame:
    """Advantages of groups with fewer than K wrong completions.

    Returns:
        One row per K and N⁻ < K, with `largest` (largest |advantage| of Pass@K-GRPO), `direct`
        (smallest weight of the direct rule without a baseline, over K: 1 where all are equal) and
        `centred` (largest |advantage| of the direct rule minus its group's mean).
    """
    rows = []
    for k in ks:
        for wrong in range(k):
            rewards = (torch.arange(n) >= wrong).double()[None]
            shaped, direct, centred = (
                bound_rule({"k": k, **recipe})(rewards)
                for recipe in (
                    {"name": "passk_grpo"},
                    {"name": "passk_direct", "baseline": "none"},
                    {"name": "passk_direct", "baseline": "mean"},
                )
            )
            row = {"largest": shaped.abs().max(), "direct": direct.min() / k}
            row |= {"centred": centred.abs().max()}
            rows.append({"k": k, "n_wrong": wrong} | {key: float(v) for key, v in row.items()})
    return pd.DataFrame(rows)


def weight_curves(ks: Sequence[int], rates: Sequence[float]) -> pd.DataFrame:
    """F'(ρ) and ω(ρ) of the two Pass@K families, in the population."""
    p = np.asarray(rates)
    families = {"passk_grpo": closed_forms.passk_arcsine, "passk_direct": closed_forms.passk}
    frames = []
    for family, surrogate in families.items():
        for k in ks:
            found = surrogate(k)
            columns = {"family": family, "k": k, "rate": p}
            values = {"derivative": found.derivative(p), "omega": found.omega(p)}
            frames.append(pd.DataFrame(columns | values))
    return pd.concat(frames, ignore_index=True)


def easy_end(ks: Sequence[int], exponent: int = 8) -> pd.DataFrame:
    """How fast ω_K/ω_1 vanishes as ρ → 1: the power of (1−ρ), measured over one decade.

    Returns:
        One row per family and K, with `power`, `expected` ((K−1)/2 for Pass@K-GRPO and K−1 for
        direct Pass@K, derived here) and `ratio` (ω_K/ω_1 at ρ = 1 − 10^−exponent).
    """
    p = 1 - 10.0 ** -np.array([exponent - 1, exponent])
    curves = weight_curves([1, *ks], list(p)).set_index(["family", "k"]).omega
    rows = []
    for family, factor in (("passk_grpo", 0.5), ("passk_direct", 1.0)):
        for k in ks:
            ratios = curves[family, k].to_numpy() / curves[family, 1].to_numpy()
            power = float(np.log10(ratios[0] / ratios[1]))
            row = {"power": power, "expected": factor * (k - 1), "ratio": ratios[1]}
            rows.append({"family": family, "k": k} | row)
    return pd.DataFrame(rows)


def finite_surrogates(
    rules: Mapping[str, Any], sizes: Sequence[int], rates: Sequence[float]
) -> pd.DataFrame:
    """Exact surrogates at finite N: slopes by enumeration and from the expected group reward.

    Returns:
        One row per rule, N and rate, with `update` (enumeration), `slope` (central difference of
        E[R(N⁺)]) and `value` (E[R(N⁺)]).
    """
    p, step = np.asarray(rates), 1e-6
    frames = []
    for rule, recipe in rules.items():
        for n in sizes:
            table = advantage_table(recipe, n)
            slope = (table.value(p + step) - table.value(p - step)) / (2 * step)
            columns = {"rule": rule, "n": n, "rate": p, "update": expected_update(table, p)}
            frames.append(pd.DataFrame(columns | {"slope": slope, "value": table.value(p)}))
    return pd.concat(frames, ignore_index=True)

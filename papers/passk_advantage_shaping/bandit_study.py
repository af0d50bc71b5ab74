"""Training the softmax bandit with advantage rules, all seeds side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.grpo.analysis.bandit import SoftmaxBandit, separate_bandits, shared_bandit
from common.grpo.analysis.closed_forms import passk
from common.grpo.analysis.surrogate import AdvantageTable, RuleLike, advantage_table
from common.grpo.training.recipe import Recipe
from papers.passk_advantage_shaping.algebra import GRPO

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Setting:
    """A bandit and how it is trained.

    Attributes:
        prompts: X, prompts that share the parameters.
        features: d, shared parameters.
        answers: M, answers per prompt.
        group_size: N, samples per prompt and step.
        steps: gradient steps, each on all prompts.
        learning_rate: of plain gradient ascent with GRPO; other rules are scaled to it.
    """

    prompts: int
    features: int
    answers: int
    group_size: int
    steps: int
    learning_rate: float

    def bandit(self, seeds: Sequence[int]) -> SoftmaxBandit:
        """The bandits of these seeds."""
        return shared_bandit(
            seeds, prompts=self.prompts, features=self.features, answers=self.answers
        )


def scales(bandit: SoftmaxBandit, table: AdvantageTable) -> Floats:
    """(S,), what equalises a rule's mean |ω| over the prompts at the start with GRPO's."""
    start = bandit.success_rates(bandit.start)
    reference = advantage_table(GRPO, table.n).mean_omega(start).mean(1)
    return np.asarray(reference / table.mean_omega(start).mean(1))


def sampled(
    setting: Setting,
    rule: RuleLike,
    seeds: Sequence[int],
    ks: Sequence[int],
    looks: int = 1,
    step_size: float = 1.0,
) -> pd.DataFrame:
    """Train with sampled groups; all rules see the same random numbers.

    Args:
        setting: bandit and training.
        rule: of `common.grpo.analysis.surrogate.advantage_table`, scaled by `scales`.
        seeds: of bandits and samples.
        ks: K of the exact Pass@K that is written down, beside Pass@1.
        looks: how often, equally spaced, the last time at the end; step 0 comes on top.
        step_size: multiplies the learning rate.

    Returns:
        One row per seed and look, with `step`, `pass_1`, `pass_<k>` and `hopeless` (share of
        prompts whose success rate is below 1 %), means over prompts.
    """
    bandit, table = setting.bandit(seeds), advantage_table(rule, setting.group_size)
    rate = step_size * setting.learning_rate * scales(bandit, table)[:, None]
    streams = [np.random.default_rng([seed, 1]) for seed in seeds]
    shape = (setting.prompts, setting.group_size)
    theta, frames = bandit.start, []
    when = np.linspace(0, setting.steps, looks + 1).round().astype(int)
    for step in range(setting.steps + 1):
        if step in when:
            frames.append(_look(bandit, theta, seeds, ks).assign(step=step))
        if step < setting.steps:
            answers = bandit.sample(theta, np.stack([rng.random(shape) for rng in streams]))
            right = bandit.is_correct(answers)
            count = right.sum(-1, keepdims=True)
            advantages = np.where(right, table.positive[count], table.negative[count])
            theta = theta + rate * bandit.update(theta, answers, advantages)
    return pd.concat(frames, ignore_index=True)


def _look(
    bandit: SoftmaxBandit, theta: Floats, seeds: Sequence[int], ks: Sequence[int]
) -> pd.DataFrame:
    rates = bandit.success_rates(theta).reshape(len(seeds), -1)
    columns = {f"pass_{k}": passk(k).value(rates).mean(1) for k in ks}
    hopeless = (rates < 0.01).mean(1)
    return pd.DataFrame(
        {"seed": list(seeds), "pass_1": rates.mean(1), **columns, "hopeless": hopeless}
    )


def control(
    setting: Setting, rule: RuleLike, seeds: Sequence[int], ks: Sequence[int]
) -> pd.DataFrame:
    """The same prompts with parameters of their own, so that they do not compete.

    Exact ascent on the finite-N surrogate, without sampling noise.

    Returns:
        As `sampled`, at the end only.
    """
    bandit, table = setting.bandit(seeds), advantage_table(rule, setting.group_size)
    lanes = separate_bandits(bandit)
    rate = setting.learning_rate * scales(bandit, table).repeat(setting.prompts)[:, None]
    theta = lanes.start
    for _ in range(setting.steps):
        weights = table.derivative(lanes.success_rates(theta))
        theta = theta + rate * lanes.ascent(theta, weights)
    return _look(lanes, theta, seeds, ks).assign(step=setting.steps)


def best_step_sizes(
    setting: Setting,
    rules: Mapping[str, RuleLike],
    seeds: Sequence[int],
    step_sizes: Sequence[float],
) -> dict[str, float]:
    """For each rule the step size with the highest Pass@1 at the end, on tuning seeds."""
    found = {}
    for name, rule in rules.items():
        finals = [
            sampled(setting, rule, seeds, [], step_size=size).query("step > 0").pass_1.mean()
            for size in step_sizes
        ]
        found[name] = step_sizes[int(np.argmax(finals))]
    return found


def frontier_rules(
    strengths: Sequence[float], ks: Sequence[int]
) -> dict[tuple[str, float], dict[str, Any]]:
    """Rules along the two knobs: the regulariser's strength λ, and K of direct Pass@K."""
    by_strength = {
        ("strength", float(s)): {"name": "std_regularised", "strength": s} for s in strengths
    }
    by_k = {
        ("k", float(k)): {"name": "passk_direct", "k": k, "baseline": "leave_one_out"} for k in ks
    }
    return by_strength | by_k


def group_rule(recipe: Recipe) -> RuleLike:
    """The advantages of a recipe as a function of rewards alone.

    Raises:
        ValueError: the recipe has token weights or loss terms, of which a bandit has no use, or
            more or fewer than one advantage rule.
    """
    if len(recipe.advantage) != 1 or recipe.token_weights or recipe.loss_terms:
        raise ValueError(f"recipe {recipe.name!r}: a bandit needs one advantage rule, nothing else")
    (part,) = recipe.advantage
    return {"name": part.rule.name, **part.options}

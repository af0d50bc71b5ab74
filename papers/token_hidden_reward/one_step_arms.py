"""One plain step on each prompt's group by several rules: which raises the correct ones most?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from common.grpo.analysis.one_step import one_step_delta
from common.grpo.rules import kernel_scores as ks
from common.grpo.rules.advantages import ADVANTAGES
from common.grpo.rules.token_weights import TOKEN_WEIGHTS, generator_of, random_choice
from papers.token_hidden_reward.policies import Groups, Supervised, mixed_groups, small_policy


def arm_weights(groups: Groups, p_grid: Sequence[float]) -> dict[str, Tensor]:
    """Token weights (B, C) of every arm.

    `random like nthr` weakens as many tokens of the group's wrong responses as `nthr`, by the same
    factor; `random like thr` keeps as many tokens of the group as `thr p=0`.
    """
    if len({f"{p:g}" for p in p_grid}) < len(p_grid):
        raise ValueError(f"p_grid: two of {list(p_grid)} would be one arm")
    batch, rewards = groups.batch(), groups.rewards
    correct, wrong = ks.correct_and_wrong(rewards)

    def rule(name: str, **options: Any) -> Tensor:
        return TOKEN_WEIGHTS[name].bind(options)(batch, rewards)

    ones = torch.ones(groups.mask.shape)
    arms = {
        "grpo": ones,
        "positive only": ones * correct.unsqueeze(1),
        "nthr": rule("nthr"),
        "random like thr": rule("random_mask"),
    }
    arms["random like nthr"] = _moved_at_random(arms["nthr"], groups, wrong)
    for p in p_grid:
        arms[f"thr p={p:g}"] = rule("thr", p=p)
        arms[f"all p={p:g}"] = rule("thr", p=p, masked=False)
    return arms


def _moved_at_random(weights: Tensor, groups: Groups, wrong: Tensor) -> Tensor:
    """The weakened tokens of each group moved to random places in its wrong responses."""
    candidates = groups.mask & wrong.unsqueeze(1)
    weakened = (weights < 1) & candidates
    by_group = (groups.count, -1)
    counts = weakened.view(by_group).sum(1)
    factors = torch.where(weakened, weights, 1.0).view(by_group).amin(1)
    generator = generator_of(groups.rollouts.completion_ids, 0)
    chosen = random_choice(candidates, counts, groups.size, generator)
    return torch.where(chosen, factors.repeat_interleave(groups.size).unsqueeze(1), 1.0)


def deltas(
    supervised: Supervised,
    seed: int,
    prompts: int,
    wanted: int,
    group_size: int,
    room: int,
    p_grid: Sequence[float],
    learning_rate: float,
) -> pd.DataFrame:
    """One row per mixed prompt and arm of one base model.

    Columns seed, prompt, arm, delta (mean over the correct responses of the change of their
    log-likelihood, nats), head (the same when only the unembedding is stepped; GRPO alone),
    predicted (to first order, from the kernel; GRPO alone), gwhes (mean over the correct responses)
    and kept (share of tokens with a weight above 0).
    """
    groups = mixed_groups(
        small_policy(supervised, seed),
        prompts=prompts,
        wanted=wanted,
        group_size=group_size,
        max_new_tokens=room,
        seed=20_000 + seed,
    )
    shape = (groups.count, group_size)
    advantages = ADVANTAGES["grpo"].function(groups.rewards.view(shape)).flatten().unsqueeze(1)
    arms = arm_weights(groups, p_grid)
    known = _kernel_predictions(groups, advantages, learning_rate)
    rows = []
    for prompt, (arm, weights) in product(range(groups.count), arms.items()):
        own = slice(prompt * group_size, (prompt + 1) * group_size)
        update = (advantages * weights)[own]
        row = {"seed": seed, "prompt": prompt, "arm": arm}
        row["delta"] = _delta(groups, prompt, update, learning_rate)
        row["kept"] = float((weights[own][groups.mask[own]] > 0).float().mean())
        if arm == "grpo":
            row |= {name: float(values[prompt]) for name, values in known.items()}
            row["head"] = _delta(groups, prompt, update, learning_rate, "head")
        rows.append(row)
    return pd.DataFrame(rows)


def _delta(
    groups: Groups, prompt: int, update: Tensor, learning_rate: float, params: str = "all"
) -> float:
    """Mean change of the log-likelihood of the prompt's correct responses."""
    correct = groups.rewards.view(groups.count, -1)[prompt] > 0.5
    change = one_step_delta(
        groups.policy.model,
        groups.group(prompt),
        update,
        learning_rate=learning_rate,
        params=params,
    )
    return float(change[correct].mean())


def _kernel_predictions(
    groups: Groups, advantages: Tensor, learning_rate: float
) -> Mapping[str, Tensor]:
    """Per group (P,): what the kernel says about GRPO's step."""
    correct = groups.rewards > 0.5
    by_group = (groups.count, groups.size)
    whole = advantages.expand(groups.mask.shape)
    rates = ks.likelihood_change(groups.states, whole, groups.mask, groups.size)
    tokens = groups.mask.view(groups.count, -1).sum(1)
    scores = ks.gwhes(groups.states, groups.rewards, groups.mask, groups.size)

    def mean(values: Tensor) -> Tensor:
        return (values * correct).view(by_group).sum(1) / correct.view(by_group).sum(1)

    return {"predicted": learning_rate * mean(rates) / tokens, "gwhes": mean(scores)}


def shares(found: pd.DataFrame, p: float) -> pd.DataFrame:
    """Per base model: the share of prompts for which a comparison of arms holds."""
    wide = found.pivot(index=["seed", "prompt"], columns="arm", values="delta")
    held = {
        f"{kind}: p>0 above 0 above p<0": (wide[f"{kind} p={p:g}"] > wide[f"{kind} p=0"])
        & (wide[f"{kind} p=0"] > wide[f"{kind} p={-p:g}"])
        for kind in ("thr", "all")
    }
    held |= {f"{arm} above grpo": wide[arm] > wide.grpo for arm in wide if arm != "grpo"}
    table = pd.DataFrame(held).groupby("seed").mean()
    return table.reset_index().melt("seed", var_name="comparison", value_name="share")


def top_overlap(found: pd.DataFrame, tops: Sequence[int]) -> pd.DataFrame:
    """How many of the prompts with the least Δ are among those with the highest GWHES.

    Columns seed, top, step ("all" parameters or "head"), source ("gwhes", or "random": what random
    prompts would give), overlap.
    """
    rows = []
    for seed, part in found[found.arm == "grpo"].groupby("seed"):
        for top in tops:
            count = min(top, len(part))
            highest = set(part.gwhes.nlargest(count).index)
            for step, metric in (("all", "delta"), ("head", "head")):
                shared = len(highest & set(part[metric].nsmallest(count).index)) / count
                rows.append((seed, top, step, "gwhes", shared))
                rows.append((seed, top, step, "random", count / len(part)))
    return pd.DataFrame(rows, columns=["seed", "top", "step", "source", "overlap"])


def spearman(found: pd.DataFrame) -> pd.DataFrame:
    """Per base model: rank correlation of the kernel's prediction with what a step of GRPO did."""
    grpo = found[found.arm == "grpo"]
    rows = [
        (seed, step, float(part.predicted.corr(part[metric], "spearman")))
        for seed, part in grpo.groupby("seed")
        for step, metric in (("all", "delta"), ("head", "head"))
    ]
    return pd.DataFrame(rows, columns=["seed", "step", "spearman"]).replace(np.nan, 0.0)

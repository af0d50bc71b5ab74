"""What a single iteration does at two checkpoints of a GRPO run (one piece per seed)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from common.grpo.analysis.likelihood import mixed_rows
from common.grpo.rules.kernel_scores import gwhes
from common.grpo.training.recipe import Recipe, parse_recipes
from common.lm.scoring import token_states
from common.tasks.lookup_qa import LookupQA
from papers.llds_grpo_collapse.base import Base, Weights
from papers.llds_grpo_collapse.one_iteration import GRPO, Batch, after_update, order, sample, update


@dataclass(frozen=True)
class Study:
    """How the checkpoints are made and what is measured at them.

    Attributes:
        base: the policy at the start.
        checkpoints: numbers of GRPO iterations after which it is measured.
        learning_rate: of AdamW, after a warm-up of 15 optimiser steps.
        groups: prompts per generation batch.
        group_size: G.
        minibatches: optimiser steps per generation batch.
        max_new_tokens: longest completion.
        prompts: for the change of likelihood prompt by prompt.
        prompt_steps: optimiser steps of that change: in the first one LLDS is still zero.
        arms: recipes of the paired iteration.
        displaced: recipes of the change prompt by prompt.
    """

    base: Base
    checkpoints: tuple[int, ...]
    learning_rate: float
    groups: int
    group_size: int
    minibatches: int
    max_new_tokens: int
    prompts: int
    prompt_steps: int
    arms: Mapping[str, Any]
    displaced: Mapping[str, Any]


def measure_seed(study: Study, weights: Weights, seed: int) -> pd.DataFrame:
    """Both measurements at all checkpoints of one run; the column `table` tells them apart."""
    tokenizer, model = study.base.tokenizer(), study.base.policy(weights)
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=study.learning_rate, weight_decay=0.0)
    frames = []
    for iteration in range(max(study.checkpoints) + 1):
        batch = _batch(study, model, tokenizer, study.groups, generator)
        split = order(len(batch.rewards), study.minibatches, generator)
        for group in optimiser.param_groups:
            steps = iteration * study.minibatches + 1
            group["lr"] = study.learning_rate * min(1.0, steps / 15)
        if iteration in study.checkpoints:
            arms = parse_recipes(study.arms)
            found = [_paired(model, optimiser, batch, arm, split) for arm in arms.values()]
            prompts = _batch(study, model, tokenizer, study.prompts, generator)
            frames += [
                pd.DataFrame(found).assign(table="paired", checkpoint=iteration),
                _displacement(study, model, optimiser, prompts).assign(checkpoint=iteration),
            ]
        update(model, optimiser, batch, GRPO, split)
    return pd.concat(frames, ignore_index=True).assign(seed=seed)


def _batch(
    study: Study, model: Any, tokenizer: Any, prompts: int, generator: torch.Generator
) -> Batch:
    drawn = int(torch.randint(2**31, (1,), generator=generator))
    task = LookupQA()
    size, room = study.group_size, study.max_new_tokens
    return sample(model, tokenizer, task, task.generate(drawn, prompts), size, room, generator)


def _paired(
    model: Any, optimiser: Any, batch: Batch, recipe: Recipe, split: tuple[torch.Tensor, ...]
) -> dict[str, Any]:
    """Shares of responses and actions whose likelihood fell in one iteration, one arm."""
    stats = after_update(model, optimiser, batch, recipe, split)
    mixed = mixed_rows(batch.rewards, batch.group_size)
    preserved = batch.advantages >= 0
    wrong = mixed & ~stats.correct
    return {
        "arm": recipe.name,
        "weight": sum(term.weight for term in recipe.loss_terms),
        "correct": stats.row_share(stats.correct & mixed),
        "preserved": stats.row_share(preserved),
        "actions": stats.action_share(preserved),
        "wrong_change": float(stats.row_change[wrong].mean()) if wrong.any() else np.nan,
    }


def _displacement(study: Study, model: Any, optimiser: Any, prompts: Batch) -> pd.DataFrame:
    """Δ(x) of every mixed prompt: each is updated alone, from equal weights and optimiser state.

    All rows of the prompt are in every step. `positive only` keeps the advantages of correct
    responses and drops the others. Without any mixed prompt there is one row
    per recipe, with missing values.
    """
    rows = prompts.rollouts
    states = token_states(
        model, rows.prompt_ids, rows.prompt_mask, rows.completion_ids, rows.completion_mask
    )
    scores = gwhes(states, prompts.rewards, prompts.mask, prompts.group_size)
    mixed = mixed_rows(prompts.rewards, prompts.group_size)
    recipes = parse_recipes(study.displaced)
    found = []
    for number, chosen in enumerate(torch.arange(len(mixed)).split(prompts.group_size)):
        if not mixed[chosen[0]]:
            continue
        batch = prompts.rows(chosen)
        split = (torch.arange(len(chosen)),) * study.prompt_steps
        correct = batch.rewards > 0.5
        score = float(scores[chosen][correct].mean())
        for name, recipe in recipes.items():
            kept = batch.advantages.clamp(min=0) if name == "positive only" else batch.advantages
            stats = after_update(model, optimiser, replace(batch, advantages=kept), recipe, split)
            delta = float(stats.row_change[correct].mean())
            found.append({"arm": name, "prompt": number, "delta": delta, "gwhes": score})
    if not found:
        found = [{"arm": n, "prompt": 0, "delta": np.nan, "gwhes": np.nan} for n in recipes]
    return pd.DataFrame(found).assign(table="displacement")


def lowest_third(displacement: pd.DataFrame) -> pd.DataFrame:
    """For each seed and moment, the third of mixed prompts with the lowest Δ(x) under GRPO.

    `better` is 1 where positive-only updates leave a higher Δ(x) than GRPO, else 0.
    """
    keys = ["seed", "moment", "prompt"]
    wide = displacement.pivot(index=keys, columns="arm", values="delta").reset_index()
    groups = wide.groupby(["seed", "moment"])
    size = groups.GRPO.transform("size")
    rank = groups.GRPO.rank(method="first", na_option="bottom")
    lowest = wide[rank <= np.ceil(size / 3)]
    gain = lowest["positive only"] - lowest.GRPO
    return lowest[keys].assign(better=(gain > 0).astype(float).where(gain.notna()), gain=gain)


def rank_overlap(displacement: pd.DataFrame, top: int) -> pd.DataFrame:
    """For each seed and moment: how well GWHES finds the prompts with the lowest Δ(x) under GRPO.

    `share`: of the `top` prompts with the highest score, those among the `top` with the lowest
    Δ(x), for `ranking` "GWHES", and what a random ranking gives on average ("chance"). `tau`:
    Kendall's τ of the score with −Δ(x). Missing with fewer than `top` + 1 mixed prompts.
    """
    from scipy.stats import kendalltau

    rows = []
    under_grpo = displacement[displacement.arm == "GRPO"]
    for (seed, moment), part in under_grpo.groupby(["seed", "moment"]):
        cell = {"seed": seed, "moment": moment, "prompts": len(part)}
        share = chance = tau = np.nan
        if len(part) > top:
            warned, low = part.gwhes.nlargest(top).index, part.delta.nsmallest(top).index
            share, chance = len(set(warned) & set(low)) / top, top / len(part)
            tau = float(kendalltau(part.gwhes, -part.delta).statistic)
        rows.append(cell | {"ranking": "GWHES", "share": share, "tau": tau})
        rows.append(cell | {"ranking": "chance", "share": chance, "tau": 0.0})
    return pd.DataFrame(rows)

"""Training the same start with every recipe, and how good it is on held-out problems."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch

from common.grpo.sampling.evaluate import evaluate
from common.grpo.training.recipe import Recipe
from common.grpo.training.run import StepRecord, train
from common.grpo.training.settings import Settings
from papers.token_hidden_reward.policies import Policy, Supervised, language_policy, small_policy

BLOCK = 5
"""Steps whose mean is one point of a curve."""


@dataclass(frozen=True)
class Plan:
    """What a run is beside its recipe.

    Attributes:
        groups: prompts per step.
        group_size: responses per prompt.
        learning_rate: of AdamW.
        steps: generation batches.
        room: tokens per response, at most.
        held_out: problems to evaluate on.
        samples: per held-out problem.
        ks: the K of Pass@K.
        minibatches: optimiser steps per generation batch.
    """

    groups: int
    group_size: int
    learning_rate: float
    steps: int
    room: int
    held_out: int
    samples: int
    ks: tuple[int, ...]
    minibatches: int = 1


def trained(
    model: str,
    supervised: Supervised,
    plan: Plan,
    recipes: Mapping[str, Mapping[str, Any]],
    seed: int,
    digits: int,
) -> pd.DataFrame:
    """All recipes from one start: one row per arm and step.

    The columns of `common.grpo.training.run.train`, arm, seed, and of the evaluation after the last
    step greedy and pass_at_<k> (means over problems; the same in all rows of a run). The arm
    "start" is the policy before training, with one row. Every arm gets the same problems and random
    numbers.
    """
    start = small_policy(supervised, seed) if model == "small" else language_policy(model, digits)
    frames = []
    for arm, entry in {"start": None, **recipes}.items():
        policy = replace(start, model=copy.deepcopy(start.model))
        curve = pd.DataFrame({"step": [-1]})
        if entry is not None:
            curve = _train(policy, Recipe.parse(arm, entry), plan, seed)
        frames.append(curve.assign(arm=arm, seed=seed, **_quality(policy, plan, seed)))
    return pd.concat(frames, ignore_index=True)


def _train(policy: Policy, recipe: Recipe, plan: Plan, seed: int) -> pd.DataFrame:
    settings = Settings(
        max_new_tokens=plan.room,
        learning_rate=plan.learning_rate,
        groups=plan.groups,
        group_size=plan.group_size,
        minibatches=plan.minibatches,
    )
    return train(
        policy.model,
        policy.tokenizer,
        policy.task,
        recipe,
        settings,
        steps=plan.steps,
        seed=seed,
        watch=kept_share,
    )


def kept_share(looked: StepRecord) -> dict[str, float]:
    """`kept`: of the tokens of groups that teach anything, the share with a weight other than 0."""
    taught = looked.mask & (looked.advantages != 0).unsqueeze(1)
    weighted = looked.batch.tensors["advantages"]
    weighted = weighted if weighted.dim() == 2 else weighted.unsqueeze(1)
    kept = (taught & (weighted != 0)).sum()
    return {"kept": float(kept / taught.sum()) if taught.any() else math.nan}


def _quality(policy: Policy, plan: Plan, seed: int) -> dict[str, float]:
    found = evaluate(
        policy.model.eval(),
        policy.tokenizer,
        policy.task,
        policy.task.generate(30_000 + seed, plan.held_out),
        samples=plan.samples,
        max_new_tokens=plan.room,
        ks=plan.ks,
        generator=torch.Generator().manual_seed(seed),
    )
    names = ["greedy", *(f"pass_at_{k}" for k in plan.ks)]
    return {name: float(found[name].mean()) for name in names}


def runs(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per run: arm, seed, greedy, and means over the last fifth of its steps.

    Columns entropy (nats), reward, length and kept (see `kept_share`).
    """
    last = rows.groupby("arm").step.transform("max")  # -1 for the start
    late = rows[rows.step >= 0.8 * (last + 1) - 1]
    columns = ["entropy", "reward", "length", "kept", "greedy"]
    return late.groupby(["arm", "seed"])[columns].mean().reset_index()


def pass_at_k_table(rows: pd.DataFrame, ks: Sequence[int]) -> pd.DataFrame:
    """Columns arm, seed, k, pass_at_k."""
    names = {f"pass_at_{k}": k for k in ks}
    wide = rows.groupby(["arm", "seed"])[list(names)].first().reset_index()
    table = wide.melt(["arm", "seed"], var_name="k", value_name="pass_at_k")
    return table.assign(k=table.k.map(names))


def curves(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over blocks of steps: columns arm, seed, step (a block's last), reward, entropy."""
    steps = rows[rows.step >= 0]
    block = (steps.step // BLOCK * BLOCK + BLOCK - 1).rename("step")
    means = steps.groupby([steps.arm, steps.seed, block])[["reward", "entropy"]].mean()
    return means.astype("float32").reset_index()


def plan_from(parameters: Mapping[str, Any]) -> Plan:
    """A plan from a notebook's parameter."""
    return Plan(**{**parameters, "ks": tuple(parameters["ks"])})

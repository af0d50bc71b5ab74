"""For-Value beside scores from gradients, on the same samples, and beside true changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from common.lm.gradient_scores import scores, state_scores
from papers.for_value.gradient_baselines import (
    datainf,
    gradient_cosine,
    gradient_dot,
    grams,
    inverse_fisher,
)
from papers.for_value.lora_gradients import Adapters, Gradients, attach, sample_gradients
from papers.for_value.models import score_inputs, scorer, vocabulary_of
from papers.for_value.one_step import rank_agreement, step_changes
from papers.for_value.retrieval import auc_by_class, recall_by_class
from papers.for_value.tasks import TASKS, draw
from papers.for_value.texts import Batch, Positions, encode

GRADIENT_METHODS = ("gradient_dot", "gradient_cosine", "datainf", "inverse_fisher")
"""From gradients of mean losses; `gradient_dot_sum` takes summed ones, as For-Value does."""
POSITIONS: tuple[Positions, ...] = ("full", "response")


@dataclass(frozen=True)
class Plan:
    """What is drawn, and by which model it is scored.

    Attributes:
        model: see `models.scorer`.
        device: likewise.
        training: samples per class.
        validation: samples per class.
        rank: of the adapters whose gradients are taken.
        start: of the adapters, see `lora_gradients.Adapters`.
    """

    model: str
    device: str
    training: int
    validation: int
    rank: int = 8
    start: str = "pissa"


def measure(plan: Plan, task: str, seed: int) -> pd.DataFrame:
    """AUC and recall per validation sample, by positions and method, on freshly drawn data."""
    rng = np.random.default_rng([seed, TASKS.index(task), 1])
    training, validation = (draw(task, n, rng) for n in (plan.training, plan.validation))
    model, tokenizer = scorer(plan.model, [*training, *validation], seed, plan.device)
    vocabulary = vocabulary_of(tokenizer, training, validation)
    val, train = (score_inputs(model, tokenizer, s, vocabulary) for s in (validation, training))
    found = {(where, "for_value"): scores(val.at(where), train.at(where)) for where in POSITIONS}
    adapted = attach(model, Adapters(rank=plan.rank, start=plan.start), seed)
    batches = [encode(tokenizer, part, model.device) for part in (validation, training)]
    sides = [_gradients(adapted, batch) for batch in batches]
    for where in POSITIONS:
        sums = grams(*(side[where] for side in sides))
        means = sums.divided(*(batch.labels(where).sum(1) for batch in batches))
        found |= {
            (where, "gradient_dot"): gradient_dot(means),
            (where, "gradient_dot_sum"): gradient_dot(sums),
            (where, "gradient_cosine"): gradient_cosine(means),
            (where, "datainf"): datainf(means),
            (where, "inverse_fisher"): inverse_fisher(means),
        }
    groups = [np.array([s.group for s in part]) for part in (training, validation)]
    rows = []
    for (positions, method), matrix in found.items():
        values = matrix.double().cpu().numpy()
        auc, recall = auc_by_class(values, *groups), recall_by_class(values, *groups)
        one = {"validation": range(len(validation)), "auc": auc, "recall": recall}
        rows.append(pd.DataFrame(one).assign(positions=positions, method=method))
    return pd.concat(rows, ignore_index=True).assign(task=task, seed=seed)


def by_seed(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over validation samples: those of one seed share their training samples."""
    keys = ["task", "positions", "method", "seed"]
    return rows.groupby(keys)[["auc", "recall"]].mean().reset_index()


@dataclass(frozen=True)
class StepPlan:
    """One step of plain gradient ascent on every training sample.

    Attributes:
        model: see `models.scorer`.
        device: likewise.
        task: one of `tasks.TASKS`.
        classes: as many of the ten.
        training: samples per class.
        learning_rate: small enough for a change of first order.
        positions: which tokens count, each a measurement of its own.
    """

    model: str
    device: str
    task: str
    classes: int
    training: int
    learning_rate: float
    positions: tuple[Positions, ...] = ("full",)


def one_step(plan: StepPlan, seed: int) -> pd.DataFrame:
    """Rank agreement of scores with the true changes of one validation sample per class.

    `relative_change`: the sum of absolute changes when that part steps, in units of that of the
    whole model.
    """
    rng = np.random.default_rng([seed, 20])
    training = draw(plan.task, plan.training, rng)[: plan.classes * plan.training]
    validation = draw(plan.task, 1, rng)[: plan.classes]
    model, tokenizer = scorer(plan.model, [*training, *validation], seed, plan.device)
    vocabulary = vocabulary_of(tokenizer, training, validation)
    val, train = (score_inputs(model, tokenizer, s, vocabulary) for s in (validation, training))
    batches = [encode(tokenizer, part, model.device) for part in (validation, training)]
    steps = {
        where: step_changes(model, batches[1], batches[0], plan.learning_rate, where)
        for where in plan.positions
    }
    adapted = attach(model, Adapters(), seed)
    sides = [_gradients(adapted, batch, plan.positions) for batch in batches]
    tables = []
    for where, pairs in steps.items():
        predicted = {
            "for_value": scores(val.at(where), train.at(where)),
            "no_error": state_scores(val.at(where), train.at(where)),
            "lora_dot": gradient_dot(grams(*(side[where] for side in sides))),
        }
        # Pairs stand row by row, training samples fastest, as in a flattened matrix of scores.
        for name, matrix in predicted.items():
            pairs[name] = matrix.flatten().double().cpu().numpy()
        table = rank_agreement(pairs, [*predicted, "gradient_dot"], ["whole", "head"])
        sizes = pairs[["whole", "head"]].abs().sum()
        table["relative_change"] = table.trained.map(sizes / sizes["whole"])
        tables.append(table.assign(positions=where))
    return pd.concat(tables, ignore_index=True).assign(seed=seed)


def _gradients(
    model: Any, batch: Batch, positions: Sequence[Positions] = POSITIONS, batch_size: int = 8
) -> dict[Positions, Gradients]:
    """Of all samples, some at a time."""
    parts = [
        sample_gradients(model, batch.rows(rows), positions)
        for rows in torch.arange(len(batch)).split(batch_size)
    ]
    return {
        where: {name: torch.cat([part[where][name] for part in parts]) for name in parts[0][where]}
        for where in positions
    }

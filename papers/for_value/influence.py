"""Which training samples have the class of a validation sample, by every score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from common.lm.gradient_scores import product_of_sums, scores, state_scores
from common.lm.output_gradients import lowest_likelihood
from papers.for_value.models import Adaptation, Scored, adapt, score_inputs, scorer, vocabulary_of
from papers.for_value.retrieval import auc_by_class, largest_hub, mean_ranks, recall_by_class
from papers.for_value.tasks import CLASSES, TASKS, draw, permuted
from papers.for_value.texts import Sample


@dataclass(frozen=True)
class Plan:
    """What is drawn, and by which model it is scored.

    Attributes:
        model: see `models.scorer`.
        device: likewise.
        training: samples per class.
        validation: samples per class.
        keep_ratios: shares of a training sample's least likely tokens, below 1.
        permuted: tasks that are also scored with permuted training answers.
        adapted: tasks that are also scored after fine-tuning on other samples of theirs.
        adaptation: that fine-tuning.
    """

    model: str
    device: str
    training: int
    validation: int
    keep_ratios: tuple[float, ...]
    permuted: tuple[str, ...]
    adapted: tuple[str, ...]
    adaptation: Adaptation


def measure(plan: Plan, task: str, seed: int) -> pd.DataFrame:
    """One row per condition, positions, method and validation sample, on freshly drawn data."""
    rng = np.random.default_rng([seed, TASKS.index(task)])
    training, validation = (draw(task, n, rng) for n in (plan.training, plan.validation))
    shuffled, others = permuted(training, rng), draw(task, plan.training, rng)
    model, tokenizer = scorer(plan.model, [*training, *validation, *others], seed, plan.device)
    vocabulary = vocabulary_of(tokenizer, training, validation)

    def read(samples: list[Sample]) -> Scored:
        return score_inputs(model, tokenizer, samples, vocabulary)

    groups = [np.array([s.group for s in part]) for part in (training, validation)]
    val, train = read(validation), read(training)
    found = {"as is": all_scores(val, train, plan.keep_ratios)}
    if task in plan.permuted:
        found["permuted answers"] = all_scores(val, read(shuffled), ())
    if task in plan.adapted:
        adapt(model, tokenizer, others, plan.adaptation, seed)
        found["fine-tuned"] = all_scores(read(validation), read(training), ())
    rows = [
        _rows(matrix, *groups).assign(condition=condition, positions=positions, method=method)
        for condition, by_method in found.items()
        for (positions, method), matrix in by_method.items()
    ]
    return pd.concat(rows, ignore_index=True).assign(seed=seed, task=task)


def all_scores(
    val: Scored, train: Scored, keep_ratios: tuple[float, ...]
) -> dict[tuple[str, str], np.ndarray]:
    """Scores (n_val, n_train) by positions and method."""
    found = {("official", "for_value"): scores(val.everything, train.everything)}
    for positions in ("full", "response"):
        v, t = val.at(positions), train.at(positions)
        methods = {
            "for_value": scores(v, t),
            "for_value_cosine": scores(v, t, cosine=True),
            "product_of_sums": product_of_sums(v, t),
            "no_error": state_scores(v, t),
        }
        for ratio in keep_ratios:
            methods[f"keep_{ratio:g}"] = scores(v, lowest_likelihood(t, ratio))
        found |= {(positions, method): matrix for method, matrix in methods.items()}
    unit = torch.nn.functional.normalize
    for name in ("last", "mean"):
        v, t = getattr(val, name), getattr(train, name)
        found["full", f"embedding_{name}_dot"] = v @ t.T
        found["full", f"embedding_{name}_cosine"] = unit(v, dim=1) @ unit(t, dim=1).T
    return {key: matrix.double().cpu().numpy() for key, matrix in found.items()}


def _rows(matrix: np.ndarray, training: np.ndarray, validation: np.ndarray) -> pd.DataFrame:
    """One row per validation sample; `hub` is the same in all of them."""
    ranks = mean_ranks(matrix, training, CLASSES)
    own_class = int((training == training[0]).sum())
    return pd.DataFrame(
        {
            "validation": range(len(validation)),
            "group": validation,
            "auc": auc_by_class(matrix, training, validation),
            "recall": recall_by_class(matrix, training, validation),
            "hub": largest_hub(matrix, own_class),
            **{f"rank_{group}": ranks[:, group] for group in range(CLASSES)},
        }
    )


KEYS = ["task", "condition", "positions", "method", "seed"]


def by_seed(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over validation samples, with the best embedding similarity and chance beside them."""
    table = rows.groupby(KEYS)[["auc", "recall", "hub"]].mean().reset_index()
    table["auc_std"] = rows.groupby(KEYS).auc.std(ddof=0).to_numpy()
    rest = [key for key in KEYS if key != "method"]
    similar = table[table.method.str.startswith("embedding")]
    best = similar.sort_values("auc", kind="stable").groupby(rest).tail(1)
    chance = table[table.method == "for_value"].assign(
        auc=0.5, auc_std=0.0, recall=1 / CLASSES, hub=1 / CLASSES, method="chance"
    )
    return pd.concat([table, best.assign(method="embedding_best"), chance], ignore_index=True)


def ablation(table: pd.DataFrame) -> pd.DataFrame:
    """On how many tasks the whole score beats the sum of states alone, by seed and positions."""
    plain = table[(table.condition == "as is") & (table.positions != "official")]
    wide = plain.pivot(index=["seed", "positions", "task"], columns="method", values="auc")
    better = (wide.for_value > wide.no_error).groupby(["seed", "positions"]).sum()
    return better.rename("tasks").reset_index()

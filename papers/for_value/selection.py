"""A tenth of a noisy pool, chosen by score or at random, and what fine-tuning on it gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from common.lm.gradient_scores import scores
from common.lm.output_gradients import OutputGradients, lowest_likelihood, output_gradients
from papers.for_value.models import Adaptation, adapt, answer_loss, scorer
from papers.for_value.noise import with_noise
from papers.for_value.tasks import CLASSES, draw
from papers.for_value.texts import Sample, encode


@dataclass(frozen=True)
class Plan:
    """What is drawn, how it is damaged, chosen and learned.

    Attributes:
        model: see `models.scorer`.
        device: likewise.
        task: one of `tasks.TASKS`.
        pool: samples per class.
        validation: clean samples per class that judge; as many others measure the loss.
        noise: share of damaged answers.
        select: share that is chosen.
        top_k: predicted tokens per position whose union is the vocabulary.
        keep_ratio: share of a training sample's least likely answer tokens that counts.
        adaptation: the fine-tuning on what was chosen.
    """

    model: str
    device: str
    task: str
    pool: int
    validation: int
    noise: float
    select: float
    top_k: int
    keep_ratio: float
    adaptation: Adaptation


def measure(plan: Plan, seed: int) -> pd.DataFrame:
    """Share of clean answers among what every arm chooses; the loss of those that are learned."""
    rng = np.random.default_rng([seed, 10])
    pool = with_noise(draw(plan.task, plan.pool, rng), plan.noise, rng)
    judges, held_out = (draw(plan.task, plan.validation, rng) for _ in range(2))
    everything = [*pool, *judges, *held_out]
    model, tokenizer = scorer(plan.model, everything, seed, plan.device)
    number = max(round(plan.select * len(pool)), 1)
    chosen = {
        arm: np.argsort(-values, kind="stable")[:number]
        for arm, values in _values(model, tokenizer, judges, pool, plan).items()
    }
    chosen["random"] = rng.permutation(len(pool))[:number]
    clean = np.array([sample.clean for sample in pool])
    groups = np.array([sample.group for sample in pool])
    rows = [
        {"arm": arm, "clean": clean[index].mean(), "classes": len(set(groups[index]))}
        for arm, index in chosen.items()
    ]
    # The pool as a whole is what random choice gives on average.
    rows.append({"arm": "pool", "clean": clean.mean(), "classes": CLASSES})
    before = [parameter.detach().clone() for parameter in model.parameters()]
    losses = {"none": answer_loss(model, tokenizer, held_out)}
    for arm in ("for_value", "random"):
        with torch.no_grad():
            for parameter, value in zip(model.parameters(), before, strict=True):
                parameter.copy_(value)
        adapt(model, tokenizer, [pool[i] for i in chosen[arm]], plan.adaptation, seed)
        losses[arm] = answer_loss(model, tokenizer, held_out)
    selected = pd.DataFrame(rows).assign(measured="selection", seed=seed)
    learned = pd.DataFrame({"arm": list(losses), "loss": list(losses.values())})
    return pd.concat([selected, learned.assign(measured="loss", seed=seed)], ignore_index=True)


def _values(
    model: Any, tokenizer: Any, judges: Sequence[Sample], pool: Sequence[Sample], plan: Plan
) -> dict[str, np.ndarray]:
    """Every way to value the pool, (n_train,) each; larger is chosen first."""

    def read(samples: Sequence[Sample]) -> OutputGradients:
        batch = encode(tokenizer, samples, model.device)
        labels = batch.labels("response")
        return output_gradients(
            model, batch.input_ids, batch.attention_mask, labels, top_k=plan.top_k
        )

    val, train = read(judges), read(pool)
    kept = lowest_likelihood(train, plan.keep_ratio)
    counts = torch.bincount(train.samples, minlength=train.size)
    likelihood = train.logps.new_zeros(train.size).index_add_(0, train.samples, train.logps)
    found = {
        "for_value": scores(val, kept).mean(0),
        "for_value_all_tokens": scores(val, train).mean(0),
        "for_value_cosine": scores(val, train, cosine=True).mean(0),
        "likelihood": likelihood / counts,
    }
    return {arm: values.double().cpu().numpy() for arm, values in found.items()}

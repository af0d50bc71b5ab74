"""Which training samples have a wrong label, judged by clean validation samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from common.lm.gradient_scores import scores, state_scores
from papers.for_value.models import Adaptation, Scored, adapt, score_inputs, scorer, vocabulary_of
from papers.for_value.noise import KINDS, flipped
from papers.for_value.retrieval import auc_by_class


@dataclass(frozen=True)
class Plan:
    """What is drawn, and by which model it is scored.

    Attributes:
        model: see `models.scorer`.
        device: likewise.
        training: samples in the pool.
        validation: clean samples.
        flip_ratios: shares of wrong labels.
        adapted: kinds that are also scored after fine-tuning on the pool as it is.
        adapted_ratio: share of wrong labels in that pool.
        adaptation: that fine-tuning.
    """

    model: str
    device: str
    training: int
    validation: int
    flip_ratios: tuple[float, ...]
    adapted: tuple[str, ...]
    adapted_ratio: float
    adaptation: Adaptation


def measure(plan: Plan, kind: str, seed: int) -> pd.DataFrame:
    """AUC of clean against wrong labels by start, ratio, positions, method and validation samples.

    Every sample of the pool is read with its right and with its wrong label. Nothing else changes
    with the share of wrong labels while the model is the pretrained one.
    """
    rng = np.random.default_rng([seed, 30 + list(KINDS).index(kind)])
    pairs = KINDS[kind](plan.training, rng)
    validation = [right for right, _ in KINDS[kind](plan.validation, rng)]
    variants = [sample for pair in pairs for sample in pair]
    model, tokenizer = scorer(plan.model, [*variants, *validation], seed, plan.device)
    vocabulary = vocabulary_of(tokenizer, variants, validation)
    given = np.array([sample.group for sample in variants])
    asked = np.array([sample.group for sample in validation])

    def rows(ratios: dict[float, np.ndarray], start: str) -> pd.DataFrame:
        val, train = (
            score_inputs(model, tokenizer, part, vocabulary) for part in (validation, variants)
        )
        found = []
        for (positions, method, against), values in _means(val, train, asked, given).items():
            for ratio, wrong in ratios.items():
                chosen = values[2 * np.arange(len(wrong)) + wrong]
                auc = auc_by_class(chosen[None], ~wrong, np.array([True]))[0]
                found.append((start, ratio, positions, method, against, auc))
        columns = ["start", "flip_ratio", "positions", "method", "against", "auc"]
        return pd.DataFrame(found, columns=columns)

    flips = {ratio: flipped(plan.training, ratio, rng) for ratio in plan.flip_ratios}
    parts = [rows(flips, "pretrained")]
    if kind in plan.adapted:
        wrong = flips[plan.adapted_ratio]
        pool = [pair[int(w)] for pair, w in zip(pairs, wrong, strict=True)]
        adapt(model, tokenizer, pool, plan.adaptation, seed)
        parts.append(rows({plan.adapted_ratio: wrong}, "fine-tuned"))
    return pd.concat(parts, ignore_index=True).assign(seed=seed, kind=kind)


def _means(
    val: Scored, train: Scored, asked: np.ndarray, given: np.ndarray
) -> dict[tuple[str, str, str], np.ndarray]:
    """Mean score of every training sample, by positions, method and which validation samples.

    `likelihood` needs none of these: the summed log-probability of the sample's own tokens.
    """
    found = {}
    same = asked[:, None] == given
    for positions in ("full", "response"):
        v, t = val.at(positions), train.at(positions)
        methods = {
            "for_value": scores(v, t),
            "for_value_cosine": scores(v, t, cosine=True),
            "no_error": state_scores(v, t),
            "likelihood": t.logps.new_zeros(1, t.size).index_add_(1, t.samples, t.logps[None]),
        }
        for method, matrix in methods.items():
            values = matrix.double().cpu().numpy()
            found[positions, method, "all"] = values.mean(0)
            if method != "likelihood":
                # A label that no validation sample has scores 0: nothing is known of it.
                found[positions, method, "same label"] = np.where(same, values, 0).sum(
                    0
                ) / np.maximum(same.sum(0), 1)
    return found


KEYS = ["kind", "start", "flip_ratio", "positions", "method", "against", "seed"]


def with_chance(rows: pd.DataFrame) -> pd.DataFrame:
    """The table with rows of what a coin would give."""
    chance = rows[rows.method == "for_value"].assign(method="chance", auc=0.5)
    return pd.concat([rows, chance], ignore_index=True)

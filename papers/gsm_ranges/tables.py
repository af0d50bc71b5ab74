"""From graded responses to the tables that claims are decided from: one number per seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

LABELS = ("correct", "non_logical", "logical")


def error_rates(rows: pd.DataFrame, by: Sequence[str] = ("seed", "level")) -> pd.DataFrame:
    """Share of responses with each label, in percent, with and without repaired copies.

    Args:
        rows: greedy responses.
        by: columns that tell groups apart.

    Returns:
        The columns `by`, copy_repair, label, rate.
    """
    parts = []
    for column, repaired in (("label", True), ("label_without_repair", False)):
        shares = pd.crosstab([rows[key] for key in by], rows[column], normalize="index") * 100
        shares = shares.reindex(columns=LABELS, fill_value=0.0)
        long = shares.reset_index().melt(list(by), LABELS, "label", "rate")
        parts.append(long.assign(copy_repair=repaired))
    return pd.concat(parts, ignore_index=True)


def rises(rates: pd.DataFrame) -> pd.DataFrame:
    """Rate at level 6 minus rate at level 1, in percentage points."""
    keys = ["seed", "copy_repair", "label"]
    wide = rates.pivot(index=keys, columns="level", values="rate")
    return (wide[6] - wide[1]).rename("rise").reset_index()


def lengths(rows: pd.DataFrame) -> pd.DataFrame:
    """By seed and level: tokens of a response, and shares of responses in percent.

    `finished_logical_rate` is the share of logical errors among responses that did not run out of
    room, missing where there is none.
    """
    groups = rows.assign(
        truncated_rate=100 * (1 - rows.finished),
        lucky_rate=100 * rows.lucky,
        repaired_rate=100 * (rows.repairs > 0),
        logical_rate=100 * (rows.label == "logical"),
        finished_logical_rate=100 * (rows.label == "logical").where(rows.finished == 1),
    ).groupby(["seed", "level"])
    measured = ["tokens", "truncated_rate", "lucky_rate", "repaired_rate", "logical_rate"]
    return groups[[*measured, "finished_logical_rate"]].mean().reset_index()


def asked_alone(rows: pd.DataFrame, seeds: Sequence[int]) -> pd.DataFrame:
    """Share of operations that fail alone, by their outcome in context, beside one half.

    Without any operation the share is missing.

    Args:
        rows: operations of all levels that were asked alone.
        seeds: all of them, also those without any operation.
    """
    groups = rows.groupby(["seed", "in_context"]).failed_alone
    index = pd.MultiIndex.from_product([seeds, ["wrong", "right"]], names=["seed", "in_context"])
    measured = pd.DataFrame({"failed_alone": groups.mean(), "operations": groups.size()})
    measured = measured.reindex(index).fillna({"operations": 0}).reset_index()
    half = measured.assign(failed_alone=0.5)
    return pd.concat([measured.assign(source="measured"), half.assign(source="half")])


def recall(rows: pd.DataFrame, counts: Sequence[int]) -> pd.DataFrame:
    """Share of questions for which some of n samples has the right logic, in percent.

    The estimator `any` looks at the first n samples, as the paper does; `unbiased` averages over
    all choices of n among the samples drawn (arXiv 2107.03374, equation 1).

    Args:
        rows: sampled responses; right logic is a correct or a non-logical one.
        counts: n; the largest one is that of all samples.
    """
    from common.lm.pass_at_k import pass_at_k

    right = rows.assign(right=(rows.label != "logical").astype(float))
    keys = ["seed", "level"]
    questions = right.groupby([*keys, "item"]).right.agg(["size", "sum"]).reset_index()
    parts = []
    for n in counts:
        first = right[right["sample"] < n].groupby([*keys, "item"]).right.max()
        unbiased = pass_at_k(questions["size"], questions["sum"], n)
        for estimator, share in (
            ("any", first.groupby(keys).mean()),
            ("unbiased", questions.assign(share=unbiased).groupby(keys).share.mean()),
        ):
            draws = {1: "one", max(counts): "all"}.get(n, str(n))
            part = (100 * share.abs()).rename("recall").reset_index()  # no minus zero
            parts.append(part.assign(n=n, draws=draws, estimator=estimator))
    return pd.concat(parts, ignore_index=True)


def recall_gaps(recalls: pd.DataFrame) -> pd.DataFrame:
    """Recall at level 1 minus recall at level 6, in percentage points."""
    keys = ["seed", "n", "draws", "estimator"]
    wide = recalls.pivot(index=keys, columns="level", values="recall")
    return (wide[1] - wide[6]).rename("gap").reset_index()


def over_templates(rows: pd.DataFrame, resamples: int = 2000) -> pd.DataFrame:
    """Level 6 minus level 1 of both error rates, resampling whole templates.

    The interval is the 95 % percentile one. All seeds are pooled within a template, so it speaks
    about other templates, not about other trainings.
    """
    rates = error_rates(rows, ("template", "level"))
    rates = rates[rates.copy_repair & (rates.label != "correct")]
    wide = rates.pivot(index=["label", "template"], columns="level", values="rate")
    differences = (wide[6] - wide[1]).unstack("template")
    rng = np.random.default_rng(0)
    drawn = rng.integers(differences.shape[1], size=(resamples, differences.shape[1]))
    found = []
    for label, values in differences.iterrows():
        means = values.to_numpy()[drawn].mean(1)
        low, high = np.percentile(means, [2.5, 97.5])
        found.append((label, differences.shape[1], values.mean(), low, high))
    return pd.DataFrame(found, columns=["label", "templates", "rise", "low", "high"])

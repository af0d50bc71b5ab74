"""From errors to one number per seed: which cells count, and who has the lower error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

R_SQUARED = (0.05, 0.999)
"""Training R² of a run that counts: neither collapsed to the mean nor limited by optimisation."""

LAST_CHANGE = 0.01
"""Largest relative change of the loss in the last tenth of the steps of a run that counts."""

MOST = 0.8
"""Share of its cells in which a seed has to agree."""

CELL = ["dataset", "regime", "decay", "seed"]


def counts(errors: pd.DataFrame) -> pd.Series:
    """Whether each run counts, by the rule fixed before any comparison."""
    low, high = R_SQUARED
    fits = (errors.r_squared > low) & (errors.r_squared < high)
    return fits & (errors.last_change <= LAST_CHANGE)


def paired_runs(errors: pd.DataFrame, factor: str, arms: Mapping[str, str]) -> pd.DataFrame:
    """The runs of two arms, in every cell in which both count; elsewhere their values are missing.

    Args:
        errors: one row per run.
        factor: the column that tells the arms apart.
        arms: the two values of `factor`, and what they are called in the column `arm`.

    Returns:
        One row per arm and cell, with `train_error`, `test_error`, their logarithms, and whether
        each is the lower one (`share`, `test_share`).
    """
    runs = errors[errors[factor].isin(list(arms))].assign(used=counts).reset_index(drop=True)
    cells = runs.groupby(CELL)
    used = cells.used.transform("all")
    columns = {"share": "train_error", "test_share": "test_error"}
    # Of two equal errors neither is lower: both get the larger rank.
    lower = {name: (cells[error].rank(method="max") == 1) for name, error in columns.items()}
    logs = {f"log_{error}": np.log(runs[error]) for error in columns.values()}
    values = pd.DataFrame(lower | logs, dtype=float).where(used)
    return runs[CELL].assign(arm=runs[factor].map(dict(arms))).join(values)


def shares(runs: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """For each group `by` and arm, over the cells that count.

    `cells` (their number), `share` and `test_share` (of those with the lower error), `most` and
    `test_most` (1 where the share is at least `MOST`, else 0), `mean_error` and `mean_test_error`
    (geometric means). Without any cell all but `cells` are missing.
    """
    groups = runs.groupby([*by, "arm"])
    means = groups[["share", "test_share", "log_train_error", "log_test_error"]].mean()
    for name in ("share", "test_share"):
        agrees = (means[name] >= MOST - 1e-9).astype(float)
        means[name.replace("share", "most")] = agrees.where(means[name].notna())
    geometric = {
        "mean_error": np.exp(means.pop("log_train_error")),
        "mean_test_error": np.exp(means.pop("log_test_error")),
    }
    return means.assign(cells=groups.share.count(), **geometric).reset_index()


def trends(errors: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """For each group `by`: how the networks' error follows the model's over λ.

    Spearman's correlation, slope and correlation of the logarithms, and the geometric means of
    both errors, over the runs that count; missing where these are fewer than three.
    """
    rows = []
    for keys, group in errors.groupby(list(by)):
        used = group[counts(group)]
        found = dict.fromkeys(("spearman", "slope", "correlation", "network", "model"), np.nan)
        if len(used) >= 3:
            logs = np.log(used[["train_error", "ufm_error"]])
            means = np.exp(logs.mean())
            found = {
                "spearman": logs.corr("spearman").iloc[0, 1],
                "slope": np.polyfit(logs.ufm_error, logs.train_error, 1)[0],
                "correlation": logs.corr().iloc[0, 1],
                "network": means.train_error,
                "model": means.ufm_error,
            }
        rows.append(dict(zip(by, keys, strict=True)) | {"cells": len(used)} | found)
    return pd.DataFrame(rows)


def best_decays(errors: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """For each group `by` the test error at the λ with the lowest validation error.

    All runs take part, converged or not: stopping early is regularisation, too.
    """
    errors = errors.reset_index(drop=True)
    best = errors.groupby(list(by)).validation_error.idxmin()
    return errors.loc[best, [*by, "decay", "test_error"]].reset_index(drop=True)

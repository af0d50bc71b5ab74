"""What the curves of a training say: when a level is reached, and NC2 at equal NC1."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NEVER = 2.0
"""A level that is never reached counts as this many times the length of the training."""


def epoch_of(epochs: Floats, values: Floats, level: float) -> float:
    """The first epoch at which `values` is at most `level`; NaN if it never is.

    Between two looks the logarithm of the value is taken as linear in the epoch. A value of 0 has
    none: then it is the later look.
    """
    below = np.flatnonzero(values <= level)
    if not len(below):
        return float("nan")
    after = below[0]
    if after == 0 or level <= 0 or values[after] <= 0:
        return float(epochs[after])
    before = after - 1
    high, low = np.log(values[before]), np.log(values[after])
    share = (high - np.log(level)) / (high - low)
    return float(epochs[before] + share * (epochs[after] - epochs[before]))


def epochs_to_levels(
    curves: pd.DataFrame, reference: str, metrics: list[str], by: list[str]
) -> pd.DataFrame:
    """When each arm reaches the level at which the reference arm of the same seed ends.

    Args:
        curves: columns `arm`, `seed`, `epoch`, those of `by`, and the metrics.
        reference: name of the arm whose end sets the level.
        metrics: falling metrics.
        by: further columns that tell experiments apart.

    Returns:
        Columns of `by`, `seed`, `metric`, `arm`, `level`, `epochs` (a level that is never reached
        counts as `NEVER` times the training) and `reached`.
    """
    rows = []
    for keys, part in curves.groupby([*by, "seed"]):
        part = part.sort_values("epoch")
        last = part.epoch.max()
        end = part[(part.arm == reference) & (part.epoch == last)].iloc[0]
        for metric in metrics:
            for arm, curve in part.groupby("arm"):
                epoch = epoch_of(
                    curve.epoch.to_numpy(float), curve[metric].to_numpy(float), float(end[metric])
                )
                rows.append(
                    dict(zip([*by, "seed"], keys, strict=True))
                    | {"metric": metric, "arm": arm, "level": end[metric]}
                    | {"epochs": NEVER * last if np.isnan(epoch) else epoch}
                    | {"reached": not np.isnan(epoch)}
                )
    return pd.DataFrame(rows)


def at_equal(curves: pd.DataFrame, x: str, y: str, by: list[str]) -> pd.DataFrame:
    """The geometric mean of y along training, at values of x that all arms of a seed pass.

    log y is interpolated in log x over the range of x that all of them pass after epoch 0, at 50
    points equally spaced in log x.

    Args:
        curves: columns `arm`, `seed`, `epoch`, those of `by`, x and y.
        x: a positive metric.
        y: a positive metric.
        by: further columns that tell experiments apart.

    Returns:
        Columns of `by`, `seed`, `arm`, y (NaN where the ranges do not meet), and `low` and `high`,
        the ends of the common range of x.
    """
    rows = []
    for keys, part in curves[curves.epoch > 0].groupby([*by, "seed"]):
        logs = {
            arm: np.log(curve.sort_values(x)[[x, y]].to_numpy(float)).T
            for arm, curve in part.groupby("arm")
        }
        low = max(xs[0] for xs, _ in logs.values())
        high = min(xs[-1] for xs, _ in logs.values())
        for arm, log in logs.items():
            mean = np.interp(np.linspace(low, high, 50), *log).mean() if low < high else np.nan
            rows.append(
                dict(zip([*by, "seed"], keys, strict=True))
                | {"arm": arm, y: np.exp(mean), "low": np.exp(low), "high": np.exp(high)}
            )
    return pd.DataFrame(rows)

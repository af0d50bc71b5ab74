"""Calibration of classifiers: expected calibration error and temperature scaling.

Bins are equally wide and closed on the right, (i/B, (i+1)/B], as in arXiv 2402.03979; the
confidence of a sample is the largest of its probabilities, that of its prediction.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.01, 100.0


def reliability(probabilities: ArrayLike, labels: ArrayLike, bins: int = 20) -> pd.DataFrame:
    """What a reliability diagram shows: one row per bin, the empty ones included.

    Args:
        probabilities: (N, K), rows sum to 1.
        labels: (N,), integers in 0…K−1.
        bins: B, the number of bins.

    Returns:
        Columns `low` and `high` (the bin is low < confidence <= high), `count`, and the means
        `confidence` and `accuracy`, NaN in an empty bin.

    Raises:
        ValueError: shapes do not fit, rows are no probabilities, or a label is no class.
    """
    if bins < 1:
        raise ValueError(f"bins: must be positive, got {bins}")
    p, y = _checked("probabilities", probabilities, labels)
    if p.min() < 0 or np.abs(p.sum(axis=1) - 1).max() > 1e-4:
        raise ValueError("probabilities: rows must be non-negative and sum to 1")
    confidence, correct = p.max(axis=1), p.argmax(axis=1) == y
    edges = np.arange(bins + 1) / bins
    # Rounding may lift a confidence above 1.
    place = np.searchsorted(edges, confidence.clip(max=1), side="left") - 1
    count = np.bincount(place, minlength=bins)
    totals = [np.bincount(place, weights, bins) for weights in (confidence, correct)]
    with np.errstate(invalid="ignore"):
        means = [total / count for total in totals]
    columns = {"low": edges[:-1], "high": edges[1:], "count": count}
    return pd.DataFrame(columns | {"confidence": means[0], "accuracy": means[1]})


def expected_calibration_error(
    probabilities: ArrayLike, labels: ArrayLike, bins: int = 20
) -> float:
    """Mean over samples of |accuracy − confidence| of their bin, in [0, 1].

    Args:
        probabilities: (N, K), rows sum to 1.
        labels: (N,), integers in 0…K−1.
        bins: B, the number of bins; the paper's figures have 20.

    Raises:
        ValueError: as `reliability`.
    """
    table = reliability(probabilities, labels, bins)
    gaps = (table["accuracy"] - table["confidence"]).abs().fillna(0.0)
    return float(np.average(gaps, weights=table["count"]))


def fit_temperature(
    logits: ArrayLike, labels: ArrayLike, criterion: Literal["nll", "ece"]
) -> float:
    """The temperature T for which softmax(logits/T) is calibrated best.

    Args:
        logits: (N, K).
        labels: (N,), integers in 0…K−1.
        criterion: "nll" minimises the negative log-likelihood, which is convex in 1/T, over
            T in [0.01, 100]; the lower end is returned where sharpening never hurts (every sample
            is classified correctly). "ece" is the search of arXiv 2402.03979's public code:
            `expected_calibration_error` with 20 bins on the grid 0.1, 0.6, …, 9.6, then on 10
            points within ±0.5 of the best and 10 within ±0.1; of equals the first counts, and
            temperatures of zero or less are left out.

    Raises:
        ValueError: shapes do not fit, an entry is not finite, a label is no class, or unknown
            criterion.
    """
    z, y = _checked("logits", logits, labels)
    if criterion == "nll":
        return _nll_temperature(z, y)
    if criterion == "ece":
        return _ece_temperature(z, y)
    raise ValueError(f"criterion: 'nll' or 'ece', got {criterion!r}")


def _nll_temperature(logits: Floats, labels: Integers) -> float:
    own = np.arange(len(labels)), labels
    gaps = logits - logits[own][:, None]

    def loss(log_temperature: float) -> float:
        return -float(log_softmax(logits / np.exp(log_temperature), axis=1)[own].mean())

    # Far below the best temperature of separable data the loss is zero: nothing to search in.
    slope = (softmax(logits / LOWEST_TEMPERATURE, axis=1) * gaps).sum(axis=1).mean()
    if slope <= 0:
        return LOWEST_TEMPERATURE
    bounds = (np.log(LOWEST_TEMPERATURE), np.log(HIGHEST_TEMPERATURE))
    best = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    return float(np.exp(best.x))


def _ece_temperature(logits: Floats, labels: Integers) -> float:
    def error(temperature: float) -> float:
        return expected_calibration_error(softmax(logits / temperature, axis=1), labels)

    grid = np.linspace(0.1, 9.6, 20)
    best = min(grid, key=error)
    for width in (0.5, 0.1):
        around = np.linspace(best - width, best + width, 10)
        best = min([best, *around[around > 0]], key=error)
    return float(best)


def _checked(name: str, scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Integers]:
    """(N, K) scores in float64 and (N,) labels."""
    values, classes = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"{name}: needs shape (N, K), got {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: an entry is NaN or infinite")
    if classes.shape != values.shape[:1]:
        raise ValueError(f"labels: needs one for each of {len(values)} rows, got {classes.shape}")
    if not np.issubdtype(classes.dtype, np.integer):
        raise ValueError(f"labels: needs integers, got {classes.dtype}")
    if classes.min() < 0 or classes.max() >= values.shape[1]:
        raise ValueError(f"labels: must lie in 0…{values.shape[1] - 1}")
    return values, classes.astype(np.int64)

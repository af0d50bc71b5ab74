"""Regression data with three correlated targets: a generated teacher and a clinical set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]

SCALES = np.array([1.5, 1.0, 0.5])
"""Standard deviations of the three targets, before they are scaled together."""

MIXING = np.array([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.8, 0.3, 0.5]])
"""Rows: what of three uncorrelated signals goes into each target; correlations of about 0.8."""


@dataclass(frozen=True)
class Split:
    """Rows for training, validation and test, drawn by a seed; statistics are those of training.

    Attributes:
        inputs: by part, (rows, p), standardised.
        targets: by part, (rows, n), centred and scaled to the average variance asked for.
    """

    inputs: dict[str, Tensor]
    targets: dict[str, Tensor]


def teacher() -> tuple[Floats, Floats]:
    """600 normal inputs (8) and the mixed outputs (3) of a fixed two-layer tanh network."""
    rng = np.random.default_rng(20250509)
    inputs = rng.normal(size=(600, 8))
    hidden = np.tanh(inputs @ rng.normal(size=(8, 16)) / np.sqrt(8))
    signals = hidden @ rng.normal(size=(16, 3))
    signals = (signals - signals.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(signals.T))).T
    return inputs, signals @ MIXING.T


def breast_cancer() -> tuple[Floats, Floats]:
    """Ten mean features of 569 tumours, and the worst radius, compactness and concave points."""
    from sklearn.datasets import load_breast_cancer  # takes a second

    data = load_breast_cancer()
    names = list(data.feature_names)
    columns = [names.index(f"worst {name}") for name in ("radius", "compactness", "concave points")]
    return data.data[:, :10], data.data[:, columns]


DATASETS = {"teacher": teacher, "breast_cancer": breast_cancer}


def split(dataset: str, seed: int, samples: int, average_variance: float = 1.0) -> Split:
    """`samples` random rows for training; the others are halved into validation and test.

    Every output is standardised, weighted by `SCALES`, and all are scaled together.

    Raises:
        ValueError: an unknown data set, or too few rows left over.
    """
    if dataset not in DATASETS:
        raise ValueError(f"dataset: {dataset!r} is none of {', '.join(DATASETS)}")
    inputs, targets = DATASETS[dataset]()
    if not 1 < samples <= len(inputs) - 2:
        raise ValueError(f"samples: {samples} of {len(inputs)} leave no validation and test rows")
    order = np.random.default_rng(seed).permutation(len(inputs))
    middle = (samples + len(inputs)) // 2
    rows = {"train": order[:samples], "validation": order[samples:middle], "test": order[middle:]}
    train = rows["train"]
    inputs = (inputs - inputs[train].mean(0)) / inputs[train].std(0)
    targets = (targets - targets[train].mean(0)) / targets[train].std(0) * SCALES
    targets *= np.sqrt(average_variance / np.mean(SCALES**2))
    return Split(
        {part: torch.from_numpy(inputs[which]).float() for part, which in rows.items()},
        {part: torch.from_numpy(targets[which]).float() for part, which in rows.items()},
    )

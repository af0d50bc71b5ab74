"""How well scores find the training samples of a validation sample's class again."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata


def auc_by_class(scores: np.ndarray, training: np.ndarray, validation: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of the own class against the rest, per validation sample.

    Args:
        scores: (n_val, n_train); ties get their average rank.
        training: (n_train,) classes, in any order.
        validation: (n_val,) classes.

    Returns:
        (n_val,), 0.5 for scores that say nothing.

    Raises:
        ValueError: some validation sample's class has all of the training samples, or none.
    """
    own = _own(training, validation)
    ranks = rankdata(scores, axis=1)
    m = own.sum(1)
    rest = own.shape[1] - m
    return ((ranks * own).sum(1) - m * (m + 1) / 2) / (m * rest)


def recall_by_class(scores: np.ndarray, training: np.ndarray, validation: np.ndarray) -> np.ndarray:
    """Share of the own class among its size's top scores, per validation sample, (n_val,).

    Among equal scores the earlier training sample counts as higher.

    Raises:
        ValueError: as in `auc_by_class`.
    """
    own = _own(training, validation)
    order = np.argsort(-scores, axis=1, kind="stable")
    top = np.arange(own.shape[1]) < own.sum(1, keepdims=True)
    return (np.take_along_axis(own, order, 1) & top).sum(1) / own.sum(1)


def mean_ranks(scores: np.ndarray, training: np.ndarray, classes: int) -> np.ndarray:
    """Mean rank of every class's training samples, as a share of the list, (n_val, classes)."""
    ranks = (rankdata(scores, axis=1) - 0.5) / scores.shape[1]
    return np.stack([ranks[:, training == group].mean(1) for group in range(classes)], 1)


def largest_hub(scores: np.ndarray, top: int) -> float:
    """The share of validation samples in whose top list the most frequent training sample stands.

    With scores that ignore the validation sample it is 1.
    """
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    return float(np.bincount(order.ravel(), minlength=scores.shape[1]).max() / len(scores))


def _own(training: np.ndarray, validation: np.ndarray) -> np.ndarray:
    own = np.asarray(validation)[:, None] == np.asarray(training)
    if not (own.any(1) & ~own.all(1)).all():
        raise ValueError("training: a validation sample's class has all of its samples, or none")
    return own

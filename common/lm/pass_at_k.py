"""Pass@k: the chance that at least one of k samples is right."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from common.stats import Interval, mean_interval


def pass_at_k(samples: ArrayLike, correct: ArrayLike, k: int) -> NDArray[np.float64]:
    """The unbiased estimate 1 - C(n-c, k) / C(n, k) (arXiv 2107.03374, equation 1).

    Args:
        samples: n, samples drawn per problem.
        correct: c, how many of them were right; broadcasts with `samples`.
        k: at most the smallest n.

    Raises:
        ValueError: k lies outside 1 ... n, or c outside 0 ... n.
    """
    n, c = np.broadcast_arrays(np.asarray(samples, float), np.asarray(correct, float))
    if k < 1 or (n.size and k > n.min()):
        raise ValueError(f"k must lie between 1 and the number of samples, not {k}")
    if ((c < 0) | (c > n)).any():
        raise ValueError("correct must lie between 0 and the number of samples")
    wrong = n - c
    # log of C(n-c, k) / C(n, k); where fewer than k are wrong, some sample of k is right.
    with np.errstate(invalid="ignore"):
        log_miss = gammaln(wrong + 1) - gammaln(wrong - k + 1) - gammaln(n + 1) + gammaln(n - k + 1)
    return np.where(wrong < k, 1.0, -np.expm1(np.where(wrong < k, 0.0, log_miss)))


def mean_pass_at_k(samples: ArrayLike, correct: ArrayLike, k: int, level: float = 0.95) -> Interval:
    """The mean over problems with its t interval: problems, not samples, are what was drawn.

    Args:
        samples: n, per problem.
        correct: c, per problem.
        k: at most the smallest n.
        level: two-sided confidence level.
    """
    return mean_interval(pass_at_k(samples, correct, k), level)

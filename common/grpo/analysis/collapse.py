"""When a training run collapsed, and how long before that a signal told so."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def detect_collapse(
    rewards: ArrayLike,
    *,
    window: int = 20,
    fraction: float = 0.1,
    patience: int = 40,
    dead: int = 20,
) -> int | None:
    """The index at which a collapse begins, or None.

    A run has collapsed when the mean reward of the last `window` steps stays below `fraction` of
    its best value so far for `patience` steps in a row, or when the reward is 0 for `dead` steps
    in a row. Arm and seed play no part. A missing (NaN) reward counts as 0.

    The rule is ours: arXiv 2512.04220 shows collapses and defines none. A drop counts only from
    a best value above 0. During the first steps the trailing mean is over those that there are.

    Args:
        rewards: (S,), mean reward of every step, at least 0.
        window: steps of the trailing mean.
        fraction: of the best trailing mean.
        patience: steps in a row below it.
        dead: steps in a row with reward 0.

    Returns:
        Index of the first step of the first such stretch.

    Raises:
        ValueError: `rewards` is no list, or holds negative values; a length is below 1, or
            `fraction` not between 0 and 1.
    """
    series = np.nan_to_num(np.asarray(rewards, dtype=float), nan=0.0)
    if series.ndim != 1 or (series < 0).any():
        raise ValueError("rewards: one number of at least 0 per step")
    if min(window, patience, dead) < 1:
        raise ValueError(f"window, patience, dead: at least 1, got {window}, {patience}, {dead}")
    if not 0 < fraction < 1:
        raise ValueError(f"fraction: between 0 and 1, got {fraction}")
    sums = np.cumsum(series)
    sums[window:] -= sums[:-window].copy()
    means = sums / np.minimum(np.arange(1, len(series) + 1), window)
    low = means < fraction * np.maximum.accumulate(means)
    starts = (_stretch(series == 0, dead), _stretch(low, patience))
    return min((start for start in starts if start is not None), default=None)


def lead_time(alarm: ArrayLike, collapse: int, *, within: int = 30) -> int | None:
    """Steps from the first alarm to the collapse, looking back at most `within` steps.

    Args:
        alarm: (S,), whether the signal rings at each step.
        collapse: index of the step at which the collapse begins.
        within: how far back an alarm counts; one at the step of the collapse has lead 0.

    Returns:
        None where nothing rang in that time.

    Raises:
        ValueError: `collapse` is no index of `alarm`.
    """
    rings = np.asarray(alarm, dtype=bool)
    if not 0 <= collapse < len(rings):
        raise ValueError(f"collapse: an index below {len(rings)}, got {collapse}")
    first = max(0, collapse - within)
    heard = np.flatnonzero(rings[first : collapse + 1])
    return int(collapse - first - heard[0]) if len(heard) else None


def _stretch(flags: NDArray[np.bool_], length: int) -> int | None:
    """Start of the first run of `length` true values."""
    if len(flags) < length:
        return None
    whole = np.lib.stride_tricks.sliding_window_view(flags, length).all(1)
    return int(whole.argmax()) if whole.any() else None

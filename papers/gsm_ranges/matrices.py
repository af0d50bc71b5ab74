"""Confusion matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABELS = ("correct", "non_logical", "logical")


def confusion(panel: Axes, counts: pd.DataFrame, title: str) -> None:
    """Counts as a matrix, shaded by their share of the row.

    Args:
        panel: to draw on.
        counts: truth in rows, labels in columns.
        title: of the panel.
    """
    sums = counts.sum(axis=1).clip(lower=1)
    shares = counts.div(sums, axis=0).to_numpy()
    panel.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), count in np.ndenumerate(counts.to_numpy()):
        color = "white" if shares[row, column] > 0.5 else "black"
        panel.text(column, row, str(count), ha="center", va="center", color=color)
    panel.set_xticks(range(len(counts.columns)), [str(one) for one in counts.columns])
    panel.set_yticks(range(len(counts)), [str(one) for one in counts.index])
    panel.set_title(title)
    panel.grid(visible=False)


def counted(frame: pd.DataFrame, truth: list[str], label: str = "label") -> pd.DataFrame:
    """How often each truth got each label; truths of several columns are joined by commas."""
    names = frame[truth].astype(str).agg(", ".join, axis=1)
    return pd.crosstab(names, frame[label]).reindex(columns=list(LABELS), fill_value=0)

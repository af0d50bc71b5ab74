"""Figures that need more than a few lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from common.plots import CLAIMED, panels
from common.stats import mean_interval
from papers.for_value.tasks import CLASSES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def blocks(rows: pd.DataFrame, tasks: Sequence[str], positions: Sequence[str]) -> Figure:
    """Mean rank of every training class for every validation class; a dark diagonal is wanted."""
    figure, axes = panels(len(tasks) * len(positions), width=2.7, height=2.9)
    chosen = rows[(rows.method == "for_value") & (rows.condition == "as is")]
    cells = [(task, where) for where in positions for task in tasks]
    for panel, (task, where) in zip(axes, cells, strict=True):
        part = chosen[(chosen.task == task) & (chosen.positions == where)]
        grid = part.groupby("group")[[f"rank_{group}" for group in range(CLASSES)]].mean()
        image = panel.imshow(grid, "Blues", vmin=0, vmax=1)
        panel.set(title=f"{task}, {where}", xlabel="training class", xticks=[], yticks=[])
        panel.grid(visible=False)
    axes[0].set_ylabel("validation class")
    figure.colorbar(image, ax=axes[-1], shrink=0.8, label="mean rank")
    return figure


def bars(
    panel: Axes, table: pd.DataFrame, methods: Sequence[str], value: str = "auc", by: str = "method"
) -> None:
    """Means over seeds with 95 % t intervals, one bar per method."""
    for place, method in enumerate(methods):
        values = table[table[by] == method][value].to_numpy()
        if len(values) > 1:
            interval = mean_interval(values)
            size = np.array([[values.mean() - interval.low], [interval.high - values.mean()]])
        else:
            size = None
        panel.barh(place, values.mean(), xerr=size, color="tab:blue", alpha=0.7, capsize=2)
    panel.set(yticks=range(len(methods)), yticklabels=[name.replace("_", " ") for name in methods])
    panel.invert_yaxis()


def auc_bars(
    table: pd.DataFrame, cells: Sequence[dict[str, str]], methods: Sequence[str], claimed: float
) -> Figure:
    """One panel of bars per filter in `cells`; the claimed AUC is dashed."""
    figure, axes = panels(len(cells), width=3.4, height=0.32 * len(methods) + 1.0)
    for number, (panel, cell) in enumerate(zip(axes, cells, strict=True)):
        part = table[(table[list(cell)] == pd.Series(cell)).all(axis=1)]
        bars(panel, part, [name for name in methods if (part.method == name).any()])
        panel.axvline(claimed, **CLAIMED)
        panel.set(title=", ".join(cell.values()), xlabel="AUC", xlim=(0.3, 1.02))
        if number:
            panel.tick_params(labelleft=False)
    return figure

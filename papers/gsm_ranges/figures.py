"""The paper's Figures 3 to 6: what we measured is solid, what the paper prints is dashed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from common.plots import CLAIMED, panels
from papers.gsm_ranges.printed import RECALL, TOKENS, printed_rates

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TITLES = {"logical": "logical errors", "non_logical": "non-logical errors"}
PRINTED = CLAIMED | {"linewidth": 0.8, "alpha": 0.5}


def with_band(panel: Axes, values: pd.DataFrame, colour: str, label: str) -> None:
    """The mean over seeds against the index, with all seeds as thin lines."""
    panel.plot(values, color=colour, alpha=0.25, linewidth=0.8)
    panel.plot(values.mean(axis=1), color=colour, marker="o", label=label)


def rates_by_level(rates: pd.DataFrame) -> Figure:
    """Figure 3, but relative to level 1: error rates in percentage points.

    Level 0 is one problem per template here, too few to measure from.
    """
    figure, axes = panels(2)
    printed = printed_rates()
    for panel, (label, title) in zip(axes, TITLES.items(), strict=True):
        theirs = printed[printed.label == label].pivot(
            index="level", columns="model", values="rate"
        )
        panel.plot(theirs.loc[1:] - theirs.loc[1], **PRINTED)
        for repaired, colour in ((False, "C1"), (True, "C0")):
            part = rates[(rates.label == label) & (rates.copy_repair == repaired)]
            ours = part.pivot(index="level", columns="seed", values="rate")
            name = "copies repaired" if repaired else "copies as written"
            with_band(panel, ours.loc[1:] - ours.loc[1], colour, name)
        panel.plot([], label="ten models of the paper", **PRINTED)
        panel.set(title=title, xlabel="level")
    axes[0].set_ylabel("rate minus that at level 1, points")
    axes[1].legend(fontsize=8)
    return figure


def logical_gaps(rates: pd.DataFrame) -> Figure:
    """Figure 4: logical errors at level 1 minus originals, and at level 6 minus level 1."""
    ours = rates[(rates.label == "logical") & rates.copy_repair]
    mean = ours.groupby("level").rate.mean().rename("ours, mean of seeds")
    printed = printed_rates().query("label == 'logical'")
    table = printed.pivot(index="model", columns="level", values="rate")
    table = pd.concat([table, mean.to_frame().T])
    figure, axes = panels(2, width=4.4)
    for panel, (high, low), title in zip(
        axes, ((1, 0), (6, 1)), ("level 1 − original", "level 6 − level 1"), strict=True
    ):
        colours = ["0.6"] * (len(table) - 1) + ["C0"]
        panel.barh(table.index, table[high] - table[low], color=colours)
        panel.axvline(0, color="black", linewidth=0.8)
        panel.set(title=title, xlabel="logical errors, percentage points")
    axes[1].set_yticklabels([])
    return figure


def recall_curves(recalls: pd.DataFrame) -> Figure:
    """Figure 5: questions with right logic among n samples, and the gap between levels."""
    figure, axes = panels(2)
    part = recalls[recalls.estimator == "unbiased"]
    for colour, (level, rows) in enumerate(part.groupby("level")):
        values = rows.pivot(index="n", columns="seed", values="recall")
        with_band(axes[0], values, f"C{colour}", f"level {level}")
    wide = part.pivot(index=["n", "seed"], columns="level", values="recall")
    gap = (wide[1] - wide[6]).unstack("seed")
    with_band(axes[1], gap, "C0", "ours")
    for first, last in RECALL.values():
        axes[1].plot([1, 48], [first[1] - first[6], last[1] - last[6]], **PRINTED)
    axes[1].plot([], label="four models of the paper", **PRINTED)
    axes[0].set(ylabel="right logic, % of questions", title="recall by level")
    axes[1].set(ylabel="percentage points", title="level 1 − level 6")
    for panel in axes:
        panel.set_xscale("log", base=2)
        panel.set_xlabel("samples n")
        panel.legend(fontsize=8)
    return figure


def tokens_by_level(measured: pd.DataFrame) -> Figure:
    """Figure 6: tokens of a response, relative to level 1."""
    figure, (panel,) = panels(1)
    ours = measured.pivot(index="level", columns="seed", values="tokens")
    with_band(panel, ours / ours.loc[1], "C0", "ours")
    panel.plot([one / TOKENS[1] for one in TOKENS], label="o3-mini", **CLAIMED)
    panel.set(title="tokens of a response", xlabel="level", ylabel="relative to level 1")
    panel.legend(fontsize=8)
    return figure

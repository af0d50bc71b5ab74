"""The figures of the notebooks, drawn from their tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from common.plots import CLAIMED, panels
from papers.layer_importance import similarity as sim
from papers.layer_importance.comparisons import LARGE_DROP, Profiles
from papers.layer_importance.profiles import BASE
from papers.layer_importance.questions import MATHS
from papers.layer_importance.scratch import ALL

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def accuracy_by_layer(profiles: pd.DataFrame, tasks: Sequence[str]) -> Figure:
    """Accuracy after removing each layer, one panel per task, variants overlaid.

    Dotted: the intact models. Dashed: 40 % of the base's intact accuracy, a drop that makes a
    layer critical.
    """
    figure, axes = panels(len(tasks), width=4.4)
    for panel, task in zip(axes, tasks, strict=True):
        for variant, part in profiles[profiles.task == task].groupby("variant", sort=False):
            means = part.groupby("layer").accuracy.mean()
            (line,) = panel.plot(means.drop(-1), marker=".", linewidth=1, label=variant)
            panel.axhline(means[-1], color=line.get_color(), linestyle=":", linewidth=1)
            if variant == BASE:
                panel.axhline((1 - LARGE_DROP) * means[-1], **CLAIMED)
        panel.set(title=task, xlabel="ablated layer", ylabel="accuracy", ylim=(-0.03, 1.05))
    axes[0].legend(fontsize=8)
    return figure


def drops_by_task(profiles: Profiles) -> Figure:
    """Relative drops of the base model: maths against facts and copying."""
    figure, (panel,) = panels(1, width=7)
    for (variant, task), values in profiles.accuracy.items():
        if variant != BASE:
            continue
        intact = values[:, 0].mean()
        drop = sim.mean_drop(values, range(len(values))) / (intact if intact else np.nan)
        style = {"linewidth": 2} if task in MATHS else {"linewidth": 1, "marker": "."}
        panel.plot(drop, label=task, **style)
    panel.axhline(LARGE_DROP, **CLAIMED)
    panel.set(xlabel="ablated layer", ylabel="relative drop of accuracy", ylim=(-0.5, 1.05))
    panel.legend()
    return figure


def similarity_map(profiles: Profiles) -> Figure:
    """Rank correlation of all profiles between halves of the blocks; diagonal: the ceiling."""
    keys = list(profiles.logp)
    values = [[sim.split_half(profiles.logp[a], profiles.logp[b]) for b in keys] for a in keys]
    figure, (panel,) = panels(1, width=7, height=6)
    image = panel.imshow(values, vmin=-1, vmax=1, cmap="RdBu_r")
    names = [f"{task}, {variant}" for variant, task in keys]
    panel.set_xticks(range(len(keys)), names, rotation=90, fontsize=8)
    panel.set_yticks(range(len(keys)), names, fontsize=8)
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            panel.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=6)
    panel.grid(visible=False)
    figure.colorbar(image, ax=panel, label="rank correlation", shrink=0.8)
    return figure


def agreement_by_layer(
    curves: pd.DataFrame, elbows: pd.DataFrame, critical: Sequence[int]
) -> Figure:
    """NMI by layer for every setting; critical layers dashed, elbows dotted."""
    figure, (panel,) = panels(1, width=7)
    for setting, part in curves.groupby("setting", sort=False):
        panel.plot(part.groupby("layer").nmi.mean(), marker=".", linewidth=1, label=setting)
    for layer in critical:
        panel.axvline(layer, **CLAIMED)
    for layer in elbows[elbows.elbow == "steepest fall"].layer.dropna().unique():
        panel.axvline(layer, color="grey", linestyle=":", linewidth=1)
    panel.set(xlabel="layer", ylabel="NMI with the reference's clusters", ylim=(0, 1))
    panel.legend(fontsize=7)
    return figure


def profiles_of_seeds(profiles: pd.DataFrame, similarities: pd.DataFrame) -> Figure:
    """Profiles of independently pre-trained decoders, and how like they are their own variants'."""
    figure, (left, right) = panels(2, width=4.8)
    base = profiles[(profiles.variant == BASE) & (profiles.task == "addition")]
    for seed, part in base.groupby("seed"):
        means = part.groupby("layer").logp.mean()
        left.plot(means[-1] - means.drop(-1), marker=".", linewidth=1, label=f"seed {seed}")
    left.set(xlabel="ablated layer", ylabel="drop of log-probability, nats", yscale="symlog")
    left.legend(fontsize=7)
    similarities = similarities[similarities.variant != ALL]
    for place, (_, part) in enumerate(similarities.groupby("compared_with")):
        for shift, (variant, one) in enumerate(part.groupby("variant")):
            x = np.full(len(one), place + 0.2 * (shift - 1))
            right.plot(
                x, one.spearman, ".", color=f"C{shift}", label=variant if not place else None
            )
    names = sorted(similarities.compared_with.unique())
    right.set_xticks(range(len(names)), names)
    right.axhline(0.8, **CLAIMED)
    right.set(ylabel="rank correlation of profiles", ylim=(-1.05, 1.05))
    right.legend(fontsize=8)
    return figure


def ablations(components: pd.DataFrame) -> Figure:
    """Accuracy by ablated layer, one line per kind of ablation."""
    figure, (panel,) = panels(1, width=7)
    for (component, written), part in components.groupby(["component", "written"]):
        means = part.groupby("layer").accuracy.mean()
        panel.plot(means.drop(-1), marker=".", linewidth=1, label=f"{component}, {written}")
        panel.axhline((1 - LARGE_DROP) * means[-1], **CLAIMED)
    panel.set(xlabel="ablated layer", ylabel="accuracy", ylim=(-0.03, 1.05))
    panel.legend(fontsize=8)
    return figure

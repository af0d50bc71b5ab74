"""Figures that need more than a few lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from common.plots import panels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {"thr": "RdBu", "entropy": "Greens"}


def heat_map(tokens: pd.DataFrame, scores: tuple[str, ...]) -> Figure:
    """The first group's responses, one row each, coloured by every score; correct ones on top.

    Args:
        tokens: of `anatomy.token_table`.
        scores: columns of it; `thr` is drawn around zero.
    """
    import matplotlib.pyplot as plt

    group = tokens[tokens.prompt == tokens.prompt.min()]
    order = group.groupby("response").correct.first().sort_values(ascending=False, kind="stable")
    places = {response: row for row, response in enumerate(order.index)}
    figure, axes = panels(len(scores), width=6.2, height=0.4 * len(places) + 1.2)
    for panel, score in zip(axes, scores, strict=True):
        largest = group[score].abs().max() or 1.0
        grid = group.pivot(index="response", columns="position", values=score).loc[order.index]
        low = -largest if score == "thr" else 0.0
        image = panel.imshow(
            grid, plt.get_cmap(COLOURS.get(score, "viridis")), vmin=low, vmax=largest, aspect="auto"
        )
        for token in group.itertuples():
            place = (token.position, places[token.response])
            panel.text(*place, token.token, ha="center", va="center", fontsize=7)
        panel.axhline(order.sum() - 0.5, color="black", linewidth=1)
        panel.set(title=score, xlabel="position", yticks=[], ylabel="response")
        panel.grid(visible=False)
        figure.colorbar(image, ax=panel, shrink=0.8)
    return figure

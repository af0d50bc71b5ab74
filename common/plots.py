"""One look for all figures: what is measured is solid, what is claimed is dashed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLAIMED: dict[str, Any] = {"color": "black", "linestyle": "--", "linewidth": 1.2}
"""Line style of a value or a curve that a paper claims or a theorem gives."""

STYLE: dict[str, Any] = {
    "figure.dpi": 80,
    "font.size": 10,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "grid.alpha": 0.25,
    "legend.frameon": False,
}


def panels(columns: int = 1, width: float = 4.6, height: float = 3.6) -> tuple[Figure, list[Axes]]:
    """A figure with `columns` panels side by side, sizes in inches per panel."""
    import matplotlib.pyplot as plt

    plt.rcParams.update(STYLE)  # type: ignore[arg-type]
    size = (width * columns, height)
    figure, axes = plt.subplots(1, columns, figsize=size, squeeze=False, layout="constrained")
    return figure, list(axes[0])

"""Where plain GRPO collapses in most runs but not in all: the rule, written before any search."""

from __future__ import annotations

import pandas as pd

LOW, HIGH = 0.5, 0.9
"""Share of runs without a regulariser that has to collapse for a setting to be marginal."""


def collapse_shares(runs: pd.DataFrame) -> pd.DataFrame:
    """Share of collapsed runs per setting (`learning_rate`, `minibatches`)."""
    groups = runs.groupby(["learning_rate", "minibatches"]).collapsed
    return groups.agg(share="mean", runs="size").reset_index()


def choose(shares: pd.DataFrame) -> dict[str, float | str]:
    """The setting for all arms, and how it was found.

    `marginal`: the share lies between `LOW` and `HIGH`; of several the one nearest to their
    middle. `nearest`: none does, and the one with the smallest distance to that range is taken;
    then collapse and survival may not separate the arms. Among equals the smallest learning rate
    and number of mini-batches wins. Only runs without a regulariser enter.
    """
    outside = (LOW - shares.share).clip(lower=0) + (shares.share - HIGH).clip(lower=0)
    off_centre = (shares.share - (LOW + HIGH) / 2).abs()
    ranked = shares.assign(outside=outside, off_centre=off_centre.round(9)).sort_values(
        ["outside", "off_centre", "learning_rate", "minibatches"]
    )
    best = ranked.iloc[0]
    return {
        "learning_rate": float(best.learning_rate),
        "minibatches": int(best.minibatches),
        "share": float(best.share),
        "found": "marginal" if best.outside == 0 else "nearest",
    }

"""From layer profiles to the tables that claims are decided from; the blocks are the units."""

from __future__ import annotations

import numpy as np
import pandas as pd

from papers.layer_importance import similarity as sim
from papers.layer_importance.profiles import BASE
from papers.layer_importance.questions import MATHS

LARGE_DROP, SMALL_DROP = 0.6, 0.35
"""Relative drops that make a layer critical, and that the median layer stays below."""
TOP, CRITICAL = 5, 3
"""Layers that are compared as sets, and layers called critical."""
OTHERS = ("capitals", "copying")


class Profiles:
    """Profiles by variant and task as arrays (B, L+1), column 0 the intact model.

    Args:
        frame: columns variant, task, block, layer, accuracy, logp.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self.blocks = sorted(frame.block.unique().tolist())
        self.variants = [v for v in frame.variant.unique() if v != BASE]
        parts = {key: part for key, part in frame.groupby(["variant", "task"])}
        self.accuracy = {key: sim.by_block(part, "accuracy") for key, part in parts.items()}
        self.logp = {key: sim.by_block(part, "logp") for key, part in parts.items()}

    def correlations(self, a: tuple[str, str], b: tuple[str, str]) -> dict[int, float]:
        """By block: how drops of log-probability agree (`similarity.block_correlations`)."""
        values = sim.block_correlations(self.logp[a], self.logp[b])
        return dict(zip(self.blocks, values.tolist(), strict=True))


def critical_layers(profiles: Profiles) -> pd.DataFrame:
    """Base model: accuracy without the critical and the median layer, and the claim's bar.

    The critical layer of a block is the middle layer whose removal costs most accuracy on the
    other blocks. Columns task, block, layer, arm (measured, bar), accuracy; `bar` is what is left
    of the intact accuracy after the relative drop that the claim names.
    """
    rows = []
    for (variant, task), values in profiles.accuracy.items():
        if variant != BASE:
            continue
        for index, block in enumerate(profiles.blocks):
            others = [k for k in range(len(profiles.blocks)) if k != index]
            (worst,) = sim.top_layers(sim.mean_drop(values, others), 1)
            layers = sim.middle(values.shape[1] - 1)
            found = {
                "critical": (values[index, worst + 1], (1 - LARGE_DROP) * values[index, 0]),
                "median": (np.median(values[index, layers + 1]),
                           (1 - SMALL_DROP) * values[index, 0]),
            }  # fmt: skip
            for layer, (measured, bar) in found.items():
                key = {"task": task, "block": block, "layer": layer}
                rows.append(key | {"arm": "measured", "accuracy": measured})
                rows.append(key | {"arm": "bar", "accuracy": bar})
    return pd.DataFrame(rows)


def gains(profiles: Profiles) -> pd.DataFrame:
    """Intact accuracy of every variant and of the base: columns variant, task, block, arm."""
    rows = []
    for (variant, task), values in profiles.accuracy.items():
        if variant == BASE:
            continue
        for arm, one in (("after", values), ("before", profiles.accuracy[BASE, task])):
            for block, accuracy in zip(profiles.blocks, one[:, 0], strict=True):
                key = {"variant": variant, "task": task, "block": block}
                rows.append(key | {"arm": arm, "accuracy": accuracy})
    return pd.DataFrame(rows)


def invariance(profiles: Profiles) -> pd.DataFrame:
    """How each variant's profile of sums and products agrees with profiles of the base.

    Columns variant, task, compared_with, block, spearman. Compared with: "own base" (same task),
    the base's profiles of the other tasks, "ceiling" (the variant with itself), "nothing" (0).
    """
    rows = []
    for variant in profiles.variants:
        for task in MATHS:
            measured = {"own base": (BASE, task), "ceiling": (variant, task)}
            measured |= {other: (BASE, other) for other in OTHERS}
            key = {"variant": variant, "task": task}
            for name, reference in measured.items():
                values = profiles.correlations((variant, task), reference)
                rows += _rows(key | {"compared_with": name}, values)
            rows += _rows(key | {"compared_with": "nothing"}, dict.fromkeys(profiles.blocks, 0.0))
    return pd.DataFrame(rows)


def pooled(profiles: Profiles) -> pd.DataFrame:
    """One row per variant and task, all blocks together, no interval.

    Columns spearman and spearman_accuracy (by drops of log-probability and of accuracy), half (of
    one half of the blocks with the other), ceiling_base and ceiling_variant (a profile with itself,
    likewise), disattenuated (half over the ceilings' geometric mean), jaccard (of the top layers).
    """
    rows = []
    every = range(len(profiles.blocks))
    for variant in profiles.variants:
        for task in MATHS:
            base, after = profiles.logp[BASE, task], profiles.logp[variant, task]
            tops = [sim.top_layers(sim.mean_drop(v, every), TOP) for v in (base, after)]
            accuracies = profiles.accuracy[BASE, task], profiles.accuracy[variant, task]
            rows.append(
                {
                    "variant": variant,
                    "task": task,
                    "spearman": sim.profile_correlation(base, after, every, every),
                    "spearman_accuracy": sim.profile_correlation(*accuracies, every, every),
                    "half": sim.split_half(base, after),
                    "ceiling_base": sim.split_half(base, base),
                    "ceiling_variant": sim.split_half(after, after),
                    "disattenuated": sim.disattenuated(base, after),
                    "jaccard": sim.jaccard(*tops),
                }
            )
    return pd.DataFrame(rows)


def specificity(profiles: Profiles) -> pd.DataFrame:
    """How the base's profiles of sums and products agree with its other profiles.

    Columns task (either, or "maths": their mean), compared_with ("other maths", capitals, copying,
    "capitals and copying": their mean, "ceiling": the task with itself, "nothing": 0), block,
    spearman, and relative: spearman over the mean ceiling.
    """
    frames = []
    for task in MATHS:
        compared = {other: (BASE, other) for other in OTHERS}
        (other_maths,) = set(MATHS) - {task}
        compared |= {"other maths": (BASE, other_maths), "ceiling": (BASE, task)}
        found = pd.DataFrame(
            {name: profiles.correlations((BASE, task), key) for name, key in compared.items()}
        )
        found["capitals and copying"] = found[list(OTHERS)].mean(axis=1)
        frames.append(found.assign(nothing=0.0))
    columns = zip((*MATHS, "maths"), (*frames, (frames[0] + frames[1]) / 2), strict=True)
    tables = []
    for task, found in columns:
        long = found.rename_axis("block").melt(
            var_name="compared_with", value_name="spearman", ignore_index=False
        )
        relative = long.spearman / found.ceiling.mean()
        tables.append(long.reset_index().assign(task=task, relative=relative.to_numpy()))
    return pd.concat(tables, ignore_index=True)


def drops_at_critical(profiles: Profiles) -> pd.DataFrame:
    """Relative drops at the layers that sums and products need most: block, task, relative_drop.

    The layers are chosen by the mean drop of accuracy in both, on other blocks. "maths" is the mean
    of both tasks. Missing where a task's intact accuracy is below 0.3.
    """
    chosen_by = [profiles.accuracy[BASE, task] for task in MATHS]
    found = {
        task: sim.relative_drops(chosen_by, profiles.accuracy[BASE, task], CRITICAL)
        for task in (*MATHS, *OTHERS)
    }
    found["maths"] = np.mean([found[task] for task in MATHS], axis=0)
    table = pd.DataFrame(found, index=pd.Index(profiles.blocks, name="block"))
    return table.reset_index().melt("block", var_name="task", value_name="relative_drop")


def concentration(profiles: Profiles) -> pd.DataFrame:
    """How the drop is spread over the middle layers, all blocks together, for every profile.

    Columns variant, task, intact (accuracy), gini and top3_share (of drops of accuracy, rises
    counted as 0), top (the layers of the largest drops of log-probability, largest first).
    """
    rows = []
    every = range(len(profiles.blocks))
    for (variant, task), values in profiles.accuracy.items():
        drop = sim.mean_drop(values, every)
        losses = drop[sim.middle(len(drop))].clip(min=0)
        share = np.sort(losses)[-CRITICAL:].sum() / losses.sum() if losses.sum() else 0.0
        tops = sim.top_layers(sim.mean_drop(profiles.logp[variant, task], every), TOP)
        rows.append(
            {
                "variant": variant,
                "task": task,
                "intact": values[:, 0].mean(),
                "gini": sim.gini(losses),
                "top3_share": share,
                "top": " ".join(map(str, tops)),
            }
        )
    return pd.DataFrame(rows)


def _rows(key: dict[str, str], values: dict[int, float]) -> list[dict[str, str | int | float]]:
    return [key | {"block": block, "spearman": value} for block, value in values.items()]

"""Gradient descent on unconstrained feature models, many starts at once."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice, pairwise
from typing import Literal

import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from common.collapse.class_statistics import class_statistics
from common.collapse.metrics import logits_to_etf, within_between_ratio
from common.collapse.ufm.cross_entropy import random_start
from papers.label_smoothing_collapse.settings import Setting

Arm = Literal["cross-entropy", "smoothing", "matched cross-entropy"]
Step = Literal["shared", "own"]
Point = dict[str, Tensor]
METRICS = ("within_between_ratio", "logits_to_etf")
DIVERGED = 1e6  # an entry as large as this, far beyond any minimiser
ROUNDING = 1e-12  # by this share a value may rise at the bottom without meaning anything


def arms(setting: Setting, smoothing: float) -> dict[Arm, tuple[Setting, float]]:
    """By name, the setting and the smoothing of what is compared.

    Matched cross-entropy has larger penalties, with which its logit gap is that of smoothing.
    """
    return {
        "cross-entropy": (setting, 0.0),
        "smoothing": (setting, smoothing),
        "matched cross-entropy": (setting.matched(smoothing), 0.0),
    }


def starts(setting: Setting, seeds: Iterable[int]) -> Point:
    """Normal entries of variance 1 / d; one copy for each seed along the first dimension."""
    K, n, d = setting.num_classes, setting.per_class, setting.num_features
    each = [random_start(K, n, d, seed, scale=1 / math.sqrt(d)) for seed in seeds]
    return {name: torch.stack([one[name] for one in each]) for name in each[0]}


def gradient(setting: Setting, smoothing: float, point: Point) -> Point:
    """The gradient of `setting.objective(smoothing)`, for every copy along leading dimensions.

    Written out, because autograd takes three times as long on tensors as small as these.
    """
    weight, features, labels = point["weight"], point["features"], setting.labels
    targets = (1 - smoothing) * one_hot(
        labels, setting.num_classes
    ).double() + smoothing / setting.num_classes
    logits = features @ weight.mT + point["bias"].unsqueeze(-2)
    residual = (logits.softmax(-1) - targets) / len(labels)
    slopes = {
        "weight": residual.mT @ features,
        "features": residual @ weight,
        "bias": residual.sum(-2),
    }
    return {name: slope + setting.decays[name] * point[name] for name, slope in slopes.items()}


def descent(setting: Setting, smoothing: float, start: Point, step: float) -> Iterator[Point]:
    """The points of gradient descent, without end."""
    point = start
    while True:
        yield point
        slopes = gradient(setting, smoothing, point)
        point = {name: block - step * slopes[name] for name, block in point.items()}


def always_falls(
    setting: Setting, smoothing: float, start: Point, step: float, iterations: int
) -> bool:
    """Whether gradient descent lowers the objective of every copy in every iteration."""
    points = islice(descent(setting, smoothing, start, step), iterations + 1)
    values = map(setting.objective(smoothing), points)
    return all(bool((b <= a * (1 + ROUNDING)).all()) for a, b in pairwise(values))


def step_sizes(
    setting: Setting, smoothing: float, pilot_seeds: Sequence[int], iterations: int
) -> dict[Step, dict[Arm, float]]:
    """The step of each arm, by the same rule for all: no pilot run may ever rise.

    It is the largest of 2^8, 2^7.5, 2^7, ... with which the objective of every pilot run falls in
    every iteration. `own`: found for each arm alone; `shared`: the smallest of these for all arms.
    """
    start, own = starts(setting, pilot_seeds), {}
    for arm, (which, delta) in arms(setting, smoothing).items():
        candidates = (2 ** (8 - k / 2) for k in count())
        falling = (
            step for step in candidates if always_falls(which, delta, start, step, iterations)
        )
        own[arm] = next(falling)
    return {"shared": dict.fromkeys(own, min(own.values())), "own": own}


def looks(iterations: int) -> list[int]:
    """The iterations after which the metrics are looked at: each up to 100, then every 1 %."""
    grid = [0]
    while grid[-1] < iterations:
        grid.append(grid[-1] + max(1, grid[-1] // 100))
    return [*grid[:-1], iterations]


def metrics_along(
    setting: Setting, smoothing: float, start: Point, step: float, iterations: int
) -> dict[str, Tensor]:
    """`METRICS` after each of `looks(iterations)`, each (looks, starts).

    A run that diverges has none (NaN) from there on.
    """
    path, seen = descent(setting, smoothing, start, step), set(looks(iterations))
    points = [point for k, point in enumerate(islice(path, iterations + 1)) if k in seen]
    weight, features = (torch.stack([p[name] for p in points]) for name in ("weight", "features"))
    sound = (weight.abs() < DIVERGED).all(-1).all(-1) & (features.abs() < DIVERGED).all(-1).all(-1)
    weight, features = (torch.where(sound[..., None, None], one, 0) for one in (weight, features))
    statistics = class_statistics(features, setting.labels, setting.num_classes)
    values = within_between_ratio(statistics), logits_to_etf(weight, statistics)
    return dict(zip(METRICS, values, strict=True))


def trajectories(
    setting: Setting, smoothing: float, seeds: list[int], pilot_seeds: list[int], iterations: int
) -> pd.DataFrame:
    """One row for each step rule, arm, seed and look, with the `METRICS`."""
    start, parts = starts(setting, seeds), []
    index = pd.MultiIndex.from_product([looks(iterations), seeds], names=["iteration", "seed"])
    steps = step_sizes(setting, smoothing, pilot_seeds, iterations)
    for arm, (which, delta) in arms(setting, smoothing).items():
        for step in {steps["shared"][arm], steps["own"][arm]}:
            seen = metrics_along(which, delta, start, step, iterations)
            flat = {name: values.reshape(-1).numpy() for name, values in seen.items()}
            part = pd.DataFrame(flat, index=index).reset_index().assign(arm=arm, step_size=step)
            parts += [part.assign(step=rule) for rule in steps if steps[rule][arm] == step]
    return pd.concat(parts, ignore_index=True)


def arrivals(curves: pd.DataFrame, thresholds: dict[str, float]) -> pd.DataFrame:
    """The first look at which a metric lies below its threshold, for each run and metric.

    A run that does not get there counts as arriving with its last iteration, and `arrived` is
    False. That can shrink the difference between two runs that share their length, but not turn
    it round.
    """
    keys = ["setting", "step", "arm", "seed"]
    last = curves.groupby(keys).iteration.max()
    parts = []
    for metric, threshold in thresholds.items():
        below = curves[curves[metric] < threshold]
        first = below.groupby(keys).iteration.min().reindex(last.index)
        part = pd.DataFrame({"iterations": first.fillna(last), "arrived": first.notna()})
        parts.append(part.reset_index().assign(metric=metric))
    return pd.concat(parts, ignore_index=True)


def thinned(curves: pd.DataFrame, points: int) -> pd.DataFrame:
    """The rows of about `points` looks, evenly spread on a logarithmic scale, and the last."""
    there, last = sorted(curves.iteration.unique()), int(curves.iteration.max())
    wanted = [last ** (k / (points - 1)) for k in range(points)]
    kept = {there[bisect_left(there, round(one, 6))] for one in wanted}
    return curves[curves.iteration.isin(kept)]

"""A problem on which the original exploring starts need not find the optimum. It is ours.

One state, two actions. Both repeat the state with the same probability and otherwise end the
episode; they pay -0.5 and -1. Episodes start with the action that is *not* greedy most of the time,
which exploring starts permit: every pair has a positive probability for ever.

Why it traps, in short. While the bad action is greedy, the good one is tried often and looks nearly
as bad as it, because what follows is bad; while the good one is greedy, the bad one is tried often
and soon looks better than the good one's stale value. So each is mostly judged by the other's
future, and both values settle near the worse one. With a fixed start distribution, initial visits
and running means this cannot happen: all values then move at the same rate (`mean_dynamics`).

Found by the search below over the two numbers that matter; rewards only set the scale.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Literal

import numpy as np
import pandas as pd

from common.tabular.environments import SolvedSSP
from common.tabular.exact import policy_evaluation
from common.tabular.exploring_starts import monte_carlo_es
from common.tabular.mces import batch_mces
from common.tabular.mean_dynamics import MeanOrbit, mean_orbit
from common.tabular.ssp import SSP

REPEAT, GREEDY_START = 0.9, 0.1
"""The instance: the probability to stay in the state, and to start with the greedy action."""

Arm = Literal["biased starts", "uniform starts", "first visits, biased starts", "batch MCES"]
ARMS: tuple[Arm, ...] = (
    "biased starts",
    "uniform starts",
    "first visits, biased starts",
    "batch MCES",
)


def counterexample(repeat: float = REPEAT) -> SolvedSSP:
    """The problem; action 0 is optimal, and K = 1 / (1 - `repeat`) steps."""
    ssp = SSP(np.zeros((1, 2, 1), dtype=int), np.full((1, 2, 1), repeat), [[-0.5, -1.0]])
    return SolvedSSP(
        ssp=ssp,
        worst_case_length=1 / (1 - repeat),
        optimal_values=np.array([-0.5 / (1 - repeat)]),
        optimal_policy=np.array([0]),
        initial_policy=np.array([1]),
        optimal_gap=0.5,
        separation=0.5,
    )


def orbit(first_value: float, greedy_start: float | None, repeat: float = REPEAT) -> MeanOrbit:
    """The expected path of initial-visit running means from Q(good) = `first_value`, Q(bad) = -1.

    `first_value` is relative to the value of the policy that always plays the bad action, which is
    -1: values are divided by its size, so that problems with different `repeat` compare.
    """
    ssp = counterexample(repeat).ssp
    scale = -policy_evaluation(ssp, [1])[0]
    path = mean_orbit(
        ssp,
        "initial",
        np.array([[first_value, -1.0]]) * scale,
        duration=25.0,
        greedy_start=greedy_start,
    )
    return MeanOrbit(path.times, path.action_values / scale, path.policies)


def search(repeats: Iterable[float], greedy_starts: Iterable[float]) -> pd.DataFrame:
    """For each instance: the share of late time in which the bad action is greedy.

    Late is the second half, in log-time, of the expected path on which the good action at first
    looks twice as bad as the bad one is.
    """
    rows = []
    for repeat, greedy_start in product(repeats, greedy_starts):
        path = orbit(-2.0, greedy_start, repeat)
        late = path.policies[len(path.policies) // 2 :, 0]
        row = {"repeat": repeat, "greedy_start": greedy_start, "bad": late.mean()}
        rows.append(row)
    return pd.DataFrame(rows)


def counterexample_runs(arm: Arm, seeds: Iterable[int], episodes: int) -> pd.DataFrame:
    """One row per seed: whether the last policy is optimal, and the largest error of a value.

    Batch MCES plays half of `episodes` for each pair, so in every sweep as many as the others in
    all: with 100,000 a change is decided at four standard errors.
    """
    known, seeds = counterexample(), list(seeds)
    if arm == "batch MCES":
        results = [
            batch_mces(known.ssp, known.initial_policy, episodes // 2, known.separation, 10, seed)
            for seed in seeds
        ]
        rows = [{"bad": int(result.policy[0]), "error": np.nan} for result in results]
    else:
        learned = monte_carlo_es(
            known.ssp,
            [episodes],
            seeds,
            visit="first" if arm.startswith("first") else "initial",
            greedy_start=None if arm == "uniform starts" else GREEDY_START,
        )
        optimal = known.optimal_values[0] - np.array([0.0, 0.5])
        error = np.abs(learned.action_values[:, -1, 0] - optimal).max(axis=1)
        bad = learned.policies[:, -1, 0]
        rows = [{"bad": int(b), "error": e} for b, e in zip(bad, error, strict=True)]
    return pd.DataFrame(rows).assign(arm=arm, seed=seeds, episodes=episodes)

"""How many episodes are really needed: the smallest budget that succeeds in 90 % of runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.tabular.budget import Version, prescribed_budget
from common.tabular.environments import chain, flat
from common.tabular.mces import BatchMcesResult, batch_mces_runs, optimal_policies
from papers.mces_finite_sample.problems import Problem, solved

Grid = Literal["states", "actions", "length", "chain"]

TARGET = 0.9
"""The share of runs that has to end with an optimal policy."""
STEPS_PER_OCTAVE = 4
"""Budgets are powers of 2 ** (1 / 4)."""
LARGEST_BUDGET = 1 << 30
"""Where a search for the needed budget gives up."""
GUARANTEE = 0.1
"""The delta of the prescribed budgets beside which the measured ones are shown."""


def scaling_problem(grid: Grid, x: int, seed: int) -> Problem:
    """The problem at place `x` of a grid: one quantity varies, the gap of the actions does not.

    Three grids are `flat` with a gap of 0.5: S = x with A = 4 and K = 5; A = x with S = 10 and
    K = 5; K = x with S = 5 and A = 2. The fourth is the chain of x states with a slip of 0.2, whose
    exit costs 1 + x / 0.8, a little more than the longest way to the goal.
    """
    if grid == "chain":
        return solved(chain(x, exit_cost=x / 0.8 + 1, slip=0.2))
    n_states, n_actions, length = {
        "states": (x, 4, 5.0),
        "actions": (10, x, 5.0),
        "length": (5, 2, float(x)),
    }[grid]
    return solved(flat(n_states, n_actions, length, gap=0.5, seed=seed))


def smallest_budget(share_of_successes: Callable[[int], float], start: int = 2) -> int:
    """The smallest power of 2 ** (1 / `STEPS_PER_OCTAVE`), rounded, that reaches `TARGET`.

    Doubles the budget from `start` until the target is reached, then halves the last octave. The
    share is measured once for each budget that is tried, so the answer is as uncertain as it is.

    Raises:
        RuntimeError: if even `LARGEST_BUDGET` does not reach the target.
    """
    exponent = STEPS_PER_OCTAVE * math.log2(start)

    def succeeds(places: int) -> bool:
        return share_of_successes(_budget(exponent + places)) >= TARGET

    high = 0
    while not succeeds(high):
        high += STEPS_PER_OCTAVE
        if _budget(exponent + high) > LARGEST_BUDGET:
            raise RuntimeError(f"fewer than {TARGET:.0%} of runs succeed with any budget tried")
    low = high - STEPS_PER_OCTAVE  # too small, or never tried
    while high - low > 1 and high > 0:
        middle = (low + high) // 2
        low, high = (low, middle) if succeeds(middle) else (middle, high)
    return _budget(exponent + high)


def needed_episodes(grid: Grid, x: int, seed: int, runs: int) -> pd.DataFrame:
    """One row: the smallest N of batch MCES for one problem, from `runs` runs for each N tried.

    Also how many episodes a run then plays, in all and for each pair, and what is prescribed.
    """
    problem = scaling_problem(grid, x, seed)
    n_pairs = problem.ssp.rewards.size
    episodes: dict[int, float] = {}

    def share(N: int) -> float:
        results = _runs(problem, N, seed, runs)
        episodes[N] = float(np.mean([result.episodes for result in results]))
        return float(_optimal(problem, results).mean())

    N = smallest_budget(share)
    prescribed = {
        version: problem.budget(math.log(1 / GUARANTEE), version).total_episodes
        for version in ("truncated", "untruncated")
    }
    row: dict[str, Any] = {
        "grid": grid,
        "x": x,
        "seed": seed,
        "S": problem.ssp.n_states,
        "A": problem.ssp.n_actions,
        "K": problem.length,
        "N": N,
        "episodes": episodes[N],
        "episodes_per_pair": episodes[N] / n_pairs,
    }
    return pd.DataFrame([row | {version: float(total) for version, total in prescribed.items()}])


def failure_rates(N_values: Iterable[int], seed: int, runs: int) -> pd.DataFrame:
    """How often batch MCES ends with a non-optimal policy, one row for each N.

    On `flat` with S = 5, A = 2, K = 2 and a gap of 0.5. A rate of 0 has no logarithm and raises a
    ValueError: then there were too few runs for so large an N.
    """
    problem = solved(flat(5, 2, length=2.0, gap=0.5, seed=seed))
    rows = []
    for N in N_values:
        results = _runs(problem, N, seed, runs)
        failures = int((~_optimal(problem, results)).sum())
        if failures == 0:
            raise ValueError(f"none of {runs} runs with N = {N} failed: take more runs")
        rows.append({"seed": seed, "N": N, "runs": runs, "failures": failures})
    frame = pd.DataFrame(rows)
    return frame.assign(log_inverse_failure=-np.log(frame.failures / frame.runs))


def prescribed_growth(log_inverse_deltas: Iterable[float]) -> pd.DataFrame:
    """The prescribed N of both versions against ln(1 / delta), with the local exponent.

    For S = 30, A = 4, K = 10, R = 1, Delta = 0.1 and rewards of one sign. The local exponent is
    the slope of ln N against ln ln(1 / delta) from the grid point before.
    """
    versions: tuple[Version, ...] = ("untruncated", "truncated")
    parts = []
    for version in versions:
        x = np.array(list(log_inverse_deltas))
        budgets = [
            prescribed_budget(30, 4, 10.0, 1.0, 0.1, value, version, one_signed=True)
            for value in x.tolist()
        ]
        N = np.array([float(budget.episodes_per_pair) for budget in budgets])
        slope = np.concatenate([[np.nan], np.diff(np.log(N)) / np.diff(np.log(x))])
        part = {"version": version, "log_inverse_delta": x, "N": N, "local_exponent": slope}
        parts.append(pd.DataFrame(part))
    return pd.concat(parts)


def _runs(problem: Problem, N: int, seed: int, runs: int) -> list[BatchMcesResult]:
    """`runs` runs whose seeds no other `seed` uses, with as many sweeps as are prescribed."""
    sweeps = problem.budget(math.log(1 / GUARANTEE), "truncated").iterations
    seeds = range(seed * runs, (seed + 1) * runs)
    return batch_mces_runs(
        problem.ssp, problem.initial_policy, N, problem.separation, sweeps, seeds
    )


def _optimal(problem: Problem, results: list[BatchMcesResult]) -> NDArray[np.bool_]:
    policies = np.array([result.policy for result in results])
    return optimal_policies(problem.ssp, policies, problem.optimal_values)


def _budget(exponent: float) -> int:
    return round(2 ** (exponent / STEPS_PER_OCTAVE))

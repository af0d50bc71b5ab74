"""What the notebooks of this paper measure, one table row per observation."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from common.tabular.budget import Version
from common.tabular.exact import (
    optimal_action_gap,
    policy_iteration,
    policy_iteration_bound,
    weighted_norm,
    worst_case_length,
)
from common.tabular.mces import batch_mces_runs, optimal_policies
from common.tabular.ssp import SSP, IntArray
from papers.mces_finite_sample.problems import Problem, small, tiny


def worst_policy(ssp: SSP) -> IntArray:
    """int64[S]: the policy of least value, the hardest start for policy iteration."""
    return policy_iteration(SSP(ssp.successors, ssp.probabilities, -ssp.rewards)).policy


def policy_iteration_errors(ssp: SSP, start: IntArray) -> tuple[list[dict], dict[str, Any]]:
    """Every step of exact policy iteration from `start`, and a summary.

    Returns:
        One row per iteration k with the error ||v* - v_k|| in the xi-weighted norm relative to
        the first, its ratio to the one before and the rate 1 - 1/K; and K, R, the optimal action
        gap, the iterations until v_k = v*, and our bound on them.
    """
    weights, length = worst_case_length(ssp)
    run = policy_iteration(ssp, start)
    errors = weighted_norm(run.values - run.value_history, weights)
    rows = [
        {
            "k": k,
            "relative_error": errors[k] / errors[0] if errors[0] > 0 else 0.0,
            "ratio": errors[k] / errors[k - 1] if k else np.nan,
            "rate": 1 - 1 / length,
        }
        for k in range(len(errors))
    ]
    gap = optimal_action_gap(ssp)
    summary = {
        "K": length,
        "R": ssp.reward_bound,
        "optimal_gap": gap,
        "iterations": run.iterations,
        "bound": policy_iteration_bound(length, ssp.reward_bound, gap),
    }
    return rows, summary


def budget_rows(families: Iterable[str], deltas: Iterable[float]) -> list[dict[str, Any]]:
    """The prescribed budgets of the tiny and the small instance of each family."""
    instances = {"tiny": tiny, "small": small}
    versions: tuple[Version, ...] = ("truncated", "untruncated")
    rows = []
    for family, size, delta, version in product(families, instances, deltas, versions):
        problem = instances[size](family)
        budget = problem.budget(math.log(1 / delta), version)
        known = {"family": family, "size": size, "delta": delta, "version": version}
        ssp = {"S": problem.ssp.n_states, "A": problem.ssp.n_actions, "K": problem.length}
        rows.append(known | ssp | {"separation": problem.separation} | asdict(budget))
    return rows


def prescribed_runs(family: str, delta: float, seeds: Iterable[int]) -> pd.DataFrame:
    """Runs on the tiny instance at the prescribed budget of the truncated version."""
    problem = tiny(family)
    budget = problem.budget(math.log(1 / delta), "truncated")
    rows = exploring_starts_runs(
        problem, seeds, budget.episodes_per_pair, budget.iterations, budget.horizon
    )
    return pd.DataFrame(rows).assign(family=family, delta=delta)


def curve_point(family: str, log2_episodes: int, seeds: Iterable[int]) -> pd.DataFrame:
    """Runs on the small instance with 2 ** `log2_episodes` episodes for each pair and sweep."""
    problem = small(family)
    sweeps = problem.budget(math.log(10), "truncated").iterations
    rows = exploring_starts_runs(problem, seeds, 2**log2_episodes, sweeps, horizon=None)
    return pd.DataFrame(rows).assign(family=family)


def exploring_starts_runs(
    problem: Problem,
    seeds: Iterable[int],
    episodes_per_pair: int,
    max_iterations: int,
    horizon: int | None,
) -> list[dict[str, Any]]:
    """One row per seed: whether batch MCES returned an optimal policy, and what it cost."""
    seeds = list(seeds)
    results = batch_mces_runs(
        problem.ssp,
        problem.initial_policy,
        episodes_per_pair,
        problem.separation,
        max_iterations,
        seeds,
        horizon=horizon,
    )
    policies = np.array([result.policy for result in results])
    optimal = optimal_policies(problem.ssp, policies, problem.optimal_values)
    return [
        {
            "seed": seed,
            "episodes_per_pair": episodes_per_pair,
            "optimal": bool(good),
            "sweeps": result.iterations,
            "episodes": result.episodes,
            "steps": result.steps,
            "truncated": result.truncated,
        }
        for seed, result, good in zip(seeds, results, optimal, strict=True)
    ]

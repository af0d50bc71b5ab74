"""Beyond the paper: racing actions, certificates, and rivals at equal environment steps."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import numpy as np
import pandas as pd

from common.tabular.confidence import RunningEstimates, loss_bound
from common.tabular.elimination import eliminating_mces
from common.tabular.exact import (
    greedy_improvement,
    policy_evaluation,
    policy_iteration,
    worst_case_length,
)
from common.tabular.exploring_starts import monte_carlo_es
from common.tabular.mces import batch_mces_runs, is_optimal, optimal_policies
from common.tabular.model_based import model_based_policy
from common.tabular.q_learning import q_learning
from common.tabular.simulate import Simulator
from common.tabular.ssp import IntArray
from common.tabular.streams import stream_key
from papers.mces_finite_sample.problems import Problem, small, tiny
from papers.mces_finite_sample.scaling import smallest_budget

Method = Literal["batch MCES", "original MCES", "Q-learning", "model-based"]
METHODS: tuple[Method, ...] = ("batch MCES", "original MCES", "Q-learning", "model-based")


def elimination_runs(family: str, delta: float, seeds: Iterable[int]) -> pd.DataFrame:
    """Two rows per seed: episodes of a run with elimination, and of one with the uniform budget.

    On the tiny instance. The uniform budget is counted, not played: while its estimates are good,
    it spends the same on each sweep of exact policy iteration and on one more that changes nothing.
    """
    problem = tiny(family)
    log = math.log(1 / delta)
    sweeps = policy_iteration(problem.ssp, problem.initial_policy).iterations + 1
    uniform = problem.ssp.rewards.size * problem.budget(log, "truncated").episodes_per_pair * sweeps
    rows = []
    for seed in seeds:
        run = eliminating_mces(
            problem.ssp, problem.initial_policy, problem.length, problem.separation, log, seed
        )
        optimal = is_optimal(problem.ssp, run.policy, problem.optimal_values)
        common = {"family": family, "delta": delta, "seed": seed}
        rows.append(common | {"budget": "uniform", "episodes": uniform, "optimal": None})
        rows.append(common | {"budget": "racing", "episodes": run.episodes, "optimal": optimal})
    return pd.DataFrame(rows).astype({"episodes": float, "optimal": float})


def certified_run(family: str, delta: float, sweeps: int, seed: int) -> pd.DataFrame:
    """One row per sweep: what is certified about its policy, and what that policy really loses.

    On the small instance; sweep k plays 2 ** (k + 6) fresh episodes for each pair, cut at the
    prescribed horizon. `bound` is a bound on max_s v*(s) - v^pi(s) that holds for all sweeps
    together with probability at least 1 - `delta`; `loss` is the exact value.
    """
    problem, simulator = small(family), Simulator(small(family).ssp)
    ssp, policy = problem.ssp, problem.initial_policy
    lengths, _ = worst_case_length(ssp)
    horizon = problem.budget(math.log(1 / delta), "truncated").horizon
    spread = (1 if ssp.one_signed else 2) * ssp.reward_bound * horizon
    rows, episodes = [], 0
    for k in range(sweeps):
        N = 2 ** (k + 6)
        batch = simulator.action_values(policy[None], [stream_key(seed, k)], N, horizon=horizon)
        estimates = RunningEstimates.empty(ssp.n_states, ssp.n_actions)
        estimates.add(batch.values[0], batch.variance[0], N)
        # All pairs of all sweeps: delta / ((k + 1) (k + 2)) is left for sweep k.
        log = math.log(ssp.rewards.size * (k + 1) * (k + 2) / delta)
        radius = estimates.radius(spread, log) + problem.separation / 8  # bias of the horizon
        bound = loss_bound(estimates.means - radius, estimates.means + radius, policy, lengths)
        loss = problem.optimal_values - policy_evaluation(ssp, policy)
        episodes += N * ssp.rewards.size
        rows.append({"sweep": k, "episodes": episodes, "bound": bound.max(), "loss": loss.max()})
        policy = greedy_improvement(policy, estimates.means, problem.separation / 2)
    return pd.DataFrame(rows).assign(family=family, seed=seed)


def steps_to_target(family: str, method: Method, seed: int, runs: int) -> pd.DataFrame:
    """One row: environment steps that a method takes until 90 % of `runs` runs are optimal.

    On the small instance. Every method is run with budgets that grow by a factor of 2 ** (1 / 4)
    (`scaling.smallest_budget`); what counts are the steps that it has then played on average.
    """
    problem = small(family)
    seeds = range(seed * runs, (seed + 1) * runs)
    steps: dict[int, float] = {}

    def share(budget: int) -> float:
        policies, played = _learn(problem, method, budget, seeds)
        steps[budget] = played
        return float(optimal_policies(problem.ssp, policies, problem.optimal_values).mean())

    budget = smallest_budget(share, start=2 if method in ("batch MCES", "model-based") else 64)
    row = {"family": family, "method": method, "seed": seed, "budget": budget}
    return pd.DataFrame([row | {"steps": steps[budget]}])


def _learn(problem: Problem, method: Method, budget: int, seeds: range) -> tuple[IntArray, float]:
    """(int64[runs, S] policies, mean environment steps of a run).

    The budget counts episodes for each pair and sweep (batch MCES), episodes (original MCES),
    steps (Q-learning) or observed transitions of each pair (model-based).
    """
    ssp = problem.ssp
    if method == "batch MCES":
        sweeps = problem.budget(math.log(10), "truncated").iterations
        results = batch_mces_runs(
            ssp, problem.initial_policy, budget, problem.separation, sweeps, seeds
        )
        policies = np.array([result.policy for result in results])
        return policies, float(np.mean([result.steps for result in results]))
    if method == "original MCES":
        result = monte_carlo_es(ssp, [budget], seeds, initial_policy=problem.initial_policy)
        return result.policies[:, -1], float(result.steps[:, -1].mean())
    if method == "Q-learning":
        return q_learning(ssp, [budget], seeds).policies[:, -1], float(budget)
    policies = np.array([model_based_policy(ssp, budget, seed) for seed in seeds])
    return policies, float(budget * ssp.rewards.size)

"""Monte-Carlo exploring starts with independent batches, which finds an optimal policy.

arXiv 2410.02994 analyses a modified Monte-Carlo exploring starts algorithm. We know its
guarantee from the abstract but not its listing: the algorithm here is our inference, the simplest
one whose analysis gives the announced order S A K^3 log^3(1/delta) (see `budget`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.tabular.exact import (
    VALUE_TOLERANCE,
    greedy_improvement,
    policy_evaluation,
    policy_iteration,
)
from common.tabular.simulate import SAFETY_LIMIT, Progress, Simulator
from common.tabular.ssp import SSP, FloatArray, IntArray
from common.tabular.streams import stream_key


@dataclass(frozen=True, eq=False)
class BatchMcesResult:
    """The outcome of one run.

    Attributes:
        policy: int64[S], the last policy.
        changes: how many states changed their action, for each iteration that was run.
        episodes: episodes played in all.
        steps: environment steps played in all.
        truncated: episodes that were cut at the horizon.
    """

    policy: IntArray
    changes: tuple[int, ...]
    episodes: int
    steps: int
    truncated: int

    @property
    def iterations(self) -> int:
        """Sweeps of evaluation and improvement that were run."""
        return len(self.changes)

    @property
    def settled(self) -> bool:
        """Whether the last improvement left the policy unchanged."""
        return bool(self.changes) and self.changes[-1] == 0


def batch_mces(
    ssp: SSP,
    initial_policy: ArrayLike,
    episodes_per_pair: int,
    gap: float,
    max_iterations: int,
    seed: int,
    *,
    horizon: int | None = None,
    stop_when_unchanged: bool = True,
    safety_limit: int = SAFETY_LIMIT,
    threads: int | None = None,
    progress: Progress | None = None,
) -> BatchMcesResult:
    """Alternate fresh Monte-Carlo evaluation of all pairs with a conservative improvement.

    In each iteration every state-action pair starts `episodes_per_pair` new episodes that
    follow the current policy, and no sample is used twice. The action of a state changes only
    if the best estimate exceeds that of the current action by more than `gap` / 2; then to the
    best one of lowest index. With `prescribed_budget` for the arguments the result is optimal
    with probability at least 1 - delta (order: arXiv 2410.02994, abstract; algorithm inferred,
    constants derived here).

    Args:
        ssp: the problem.
        initial_policy: int[S].
        episodes_per_pair: N, per iteration.
        gap: Delta, the smallest distance of distinct action values (`exact.value_separation`).
        max_iterations: I.
        seed: the results depend on it, and on nothing else that is random.
        horizon: H, steps after which episodes are cut; None plays them to their end.
        stop_when_unchanged: whether to stop at the first iteration that changes nothing.
        safety_limit: steps; without a horizon, an episode that exceeds it is an error.
        threads: for the simulation; results do not depend on it.
        progress: called with (episodes done, episodes in this iteration).

    Raises:
        ValueError: if `gap` is not positive, or a count is below 1.
        RuntimeError: if an untruncated episode exceeds `safety_limit`.
    """
    return batch_mces_runs(
        ssp,
        initial_policy,
        episodes_per_pair,
        gap,
        max_iterations,
        [seed],
        horizon=horizon,
        stop_when_unchanged=stop_when_unchanged,
        safety_limit=safety_limit,
        threads=threads,
        progress=progress,
    )[0]


def batch_mces_runs(
    ssp: SSP,
    initial_policy: ArrayLike,
    episodes_per_pair: int,
    gap: float,
    max_iterations: int,
    seeds: Sequence[int],
    *,
    horizon: int | None = None,
    stop_when_unchanged: bool = True,
    safety_limit: int = SAFETY_LIMIT,
    threads: int | None = None,
    progress: Progress | None = None,
) -> list[BatchMcesResult]:
    """One `batch_mces` run per seed, simulated together; each equals the run done alone.

    Worth it for many runs of a small problem with few episodes, where the overhead of a call
    would outweigh the simulation.
    """
    if not gap > 0 or max_iterations < 1:
        raise ValueError("gap must be positive and max_iterations at least 1")
    simulator = Simulator(ssp, threads=threads)
    policies = np.tile(ssp.check_policy(initial_policy), (len(seeds), 1))
    changes: list[list[int]] = [[] for _ in seeds]
    counts = np.zeros((len(seeds), 2), dtype=np.int64)
    active = np.arange(len(seeds))
    for iteration in range(max_iterations):
        if active.size == 0:
            break
        estimates = simulator.action_values(
            policies[active],
            [stream_key(seeds[run], iteration) for run in active.tolist()],
            episodes_per_pair,
            horizon=horizon,
            safety_limit=safety_limit,
            progress=progress,
        )
        improved = greedy_improvement(policies[active], estimates.values, gap / 2)
        changed = (improved != policies[active]).sum(axis=1)
        for run, number in zip(active.tolist(), changed.tolist(), strict=True):
            changes[run].append(number)
        policies[active] = improved
        counts[active] += np.stack([estimates.steps, estimates.truncated], axis=1)
        if stop_when_unchanged:
            active = active[changed > 0]
    sweep = ssp.n_states * ssp.n_actions * episodes_per_pair
    return [
        BatchMcesResult(policy, tuple(change), len(change) * sweep, *count)
        for policy, change, count in zip(policies, changes, counts.tolist(), strict=True)
    ]


def is_optimal(
    ssp: SSP,
    policy: ArrayLike,
    optimal_values: FloatArray | None = None,
    tolerance: float = VALUE_TOLERANCE,
) -> bool:
    """Whether the value of `policy` is within `tolerance` of v* in every state.

    Values are compared, not actions: there may be several optimal policies. Without
    `optimal_values` (float64[S]) they are computed by policy iteration.
    """
    best = policy_iteration(ssp).values if optimal_values is None else optimal_values
    return bool(np.abs(best - policy_evaluation(ssp, policy)).max() <= tolerance)


def optimal_policies(
    ssp: SSP, policies: IntArray, optimal_values: FloatArray | None = None
) -> NDArray[np.bool_]:
    """bool[runs]: which of int64[runs, S] are optimal; each distinct policy is judged once."""
    best = policy_iteration(ssp).values if optimal_values is None else optimal_values
    distinct, which = np.unique(policies, axis=0, return_inverse=True)
    verdicts = [is_optimal(ssp, policy, best) for policy in distinct]
    return np.array(verdicts)[which.reshape(-1)]

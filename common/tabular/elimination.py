"""Exploring starts that go on sampling only where it is unclear which action is best.

Our refinement of `mces.batch_mces`, not the paper's (arXiv 2410.02994): instead of the same number
of episodes everywhere, each state races its actions (successive elimination, Even-Dar, Mannor and
Mansour 2006). The guarantee is the same: while all confidence intervals hold, each sweep is a step
of exact policy iteration.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from common.tabular.budget import Budget, prescribed_budget
from common.tabular.confidence import RunningEstimates
from common.tabular.mces import BatchMcesResult
from common.tabular.simulate import Simulator
from common.tabular.ssp import SSP, IntArray
from common.tabular.streams import stream_key

# Doublings of the number of episodes after which a race is given up: a separation that is wrong
# or far too small would otherwise never end it.
MAX_ROUNDS = 40


def eliminating_mces(
    ssp: SSP,
    initial_policy: ArrayLike,
    length: float,
    separation: float,
    log_inverse_delta: float,
    seed: int,
    *,
    first_episodes: int = 256,
    threads: int | None = None,
) -> BatchMcesResult:
    """Policy iteration by races: optimal with probability at least 1 - delta (derived here).

    In each sweep all pairs play `first_episodes` episodes, cut after the horizon H of the truncated
    budget; then those that are undecided play as many again as they have had, and so on. An action
    leaves the race when its interval lies below another's. A state is decided when one action is
    left, or when the intervals of those that are left span less than `separation`: then their
    values are equal. It keeps its action if that is left, and otherwise takes the one of lowest
    index.

    Args:
        ssp: the problem.
        initial_policy: int[S].
        length: K, steps (`exact.worst_case_length`).
        separation: Delta, the smallest distance of distinct action values.
        log_inverse_delta: ln(1 / delta).
        seed: the results depend on it, and on nothing else that is random.
        first_episodes: of every pair in every sweep; at least 2.
        threads: for the simulation; results do not depend on it.

    Raises:
        ValueError: if an argument lies outside its range.
        RuntimeError: if a state is still undecided after `MAX_ROUNDS` doublings.
    """
    if first_episodes < 2:
        raise ValueError(f"a variance needs at least 2 episodes, got {first_episodes}")
    budget = prescribed_budget(
        ssp.n_states,
        ssp.n_actions,
        length,
        ssp.reward_bound,
        separation,
        log_inverse_delta,
        "truncated",
        one_signed=ssp.one_signed,
    )
    race = _Race(Simulator(ssp, threads=threads), budget, separation, log_inverse_delta)
    policy = ssp.check_policy(initial_policy)
    changes = []
    for sweep in range(budget.iterations):
        improved = race.improve(policy, first_episodes, (seed, sweep))
        changes.append(int((improved != policy).sum()))
        policy = improved
        if changes[-1] == 0:
            break
    return BatchMcesResult(policy, tuple(changes), race.episodes, race.steps, race.truncated)


class _Race:
    """One improvement step after the other, and what they have cost so far."""

    def __init__(
        self, simulator: Simulator, budget: Budget, separation: float, log_inverse_delta: float
    ) -> None:
        ssp = simulator.ssp
        self.simulator, self.separation, self.horizon = simulator, separation, budget.horizon
        # Cutting at H shifts a mean by at most an eighth of the separation (`budget`).
        self.bias = separation / 8
        self.spread = (1 if ssp.one_signed else 2) * ssp.reward_bound * budget.horizon
        # Every estimate of every sweep may fail; its rounds share its part of delta.
        self.log_events = log_inverse_delta + math.log(ssp.rewards.size * budget.iterations)
        self.episodes = self.steps = self.truncated = 0

    def improve(self, policy: IntArray, first_episodes: int, stream: tuple[int, int]) -> IntArray:
        ssp = self.simulator.ssp
        estimates = RunningEstimates.empty(ssp.n_states, ssp.n_actions)
        racing = np.ones((ssp.n_states, ssp.n_actions), dtype=bool)
        undecided = np.ones(ssp.n_states, dtype=bool)
        for round_ in range(MAX_ROUNDS):
            self._play(
                policy,
                np.flatnonzero(racing & undecided[:, None]),
                first_episodes << max(0, round_ - 1),  # doubles what there is
                stream_key(*stream, round_),
                estimates,
            )
            log_rounds = math.log((round_ + 1) * (round_ + 2))
            radius = self.bias + estimates.radius(self.spread, self.log_events + log_rounds)
            lower = np.where(racing, estimates.means - radius, -math.inf)
            upper = np.where(racing, estimates.means + radius, -math.inf)
            racing &= upper >= lower.max(axis=1, keepdims=True)
            span = upper.max(axis=1) - np.where(racing, lower, math.inf).min(axis=1)
            undecided &= (racing.sum(axis=1) > 1) & (span >= self.separation)
            if not undecided.any():
                keeps = racing[np.arange(ssp.n_states), policy]
                return np.where(keeps, policy, racing.argmax(axis=1))
        raise RuntimeError(
            f"state {int(undecided.argmax())} is undecided after {MAX_ROUNDS} doublings: is the "
            f"separation of {self.separation:g} right?"
        )

    def _play(
        self,
        policy: IntArray,
        pairs: IntArray,
        episodes: int,
        key: int,
        estimates: RunningEstimates,
    ) -> None:
        new = self.simulator.action_values(
            policy[None], [key], episodes, horizon=self.horizon, pairs=pairs
        )
        estimates.add(new.values[0], new.variance[0], episodes)
        self.episodes += len(pairs) * episodes
        self.steps += int(new.steps[0])
        self.truncated += int(new.truncated[0])

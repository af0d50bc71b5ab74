"""The problem instances of this paper's notebooks.

They were chosen by what their prescribed budget costs, before any run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.tabular.budget import Budget, Version, prescribed_budget
from common.tabular.environments import SolvedSSP, chain, flat, garnet, widen_action_gap
from common.tabular.exact import policy_iteration, value_separation, worst_case_length
from common.tabular.ssp import SSP, FloatArray, IntArray


@dataclass(frozen=True)
class Problem:
    """An SSP with what the prescribed budget needs to know about it.

    Attributes:
        ssp: the problem.
        initial_policy: int64[S], where the algorithm starts.
        length: K, steps.
        separation: Delta, over the policies that exact policy iteration visits from
            `initial_policy`; no other policy is met as long as all estimates are within Delta / 4.
        optimal_values: float64[S], v*.
    """

    ssp: SSP
    initial_policy: IntArray
    length: float
    separation: float
    optimal_values: FloatArray

    def budget(self, log_inverse_delta: float, version: Version) -> Budget:
        """The prescribed budget for this problem."""
        return prescribed_budget(
            self.ssp.n_states,
            self.ssp.n_actions,
            self.length,
            self.ssp.reward_bound,
            self.separation,
            log_inverse_delta,
            version,
            one_signed=self.ssp.one_signed,
        )


def tiny(family: str) -> Problem:
    """Instances so small that the prescribed budget can be played hundreds of times."""
    if family == "flat":
        return solved(flat(5, 2, length=2.0, gap=0.5, seed=0))
    if family == "chain":
        return solved(chain(3, exit_cost=3.4, slip=0.1))
    return _random(widen_action_gap(garnet(4, 2, length=1.5, branching=2, seed=0), 0.5))


def small(family: str) -> Problem:
    """Instances with tens of states, whose prescribed budget is out of reach."""
    if family == "flat":
        return solved(flat(20, 3, length=10.0, gap=0.5, seed=0))
    if family == "chain":
        return solved(chain(8, exit_cost=20.0, slip=0.2))
    return _random(widen_action_gap(garnet(20, 3, length=5.0, seed=0), 0.5))


def solved(known: SolvedSSP) -> Problem:
    """What a family knows about itself, as a `Problem`."""
    return Problem(
        known.ssp,
        known.initial_policy,
        known.worst_case_length,
        known.separation,
        known.optimal_values,
    )


def _random(ssp: SSP) -> Problem:
    start = np.zeros(ssp.n_states, dtype=np.int64)
    exact = policy_iteration(ssp, start)
    separation = value_separation(ssp, exact.policies)
    return Problem(ssp, start, worst_case_length(ssp)[1], separation, exact.values)

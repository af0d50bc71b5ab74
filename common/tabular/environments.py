"""Families of SSPs whose difficulty is known in closed form, and random ones.

The three families are ours, made to measure how the cost of Monte-Carlo exploring starts grows
(arXiv 2410.02994 has no experiments). `flat` isolates the width of the return distribution,
`chain` the number of policy improvements, and `garnet` is the usual random test bed.
"""

from dataclasses import dataclass, replace

import numpy as np

from common.tabular.exact import VALUE_TOLERANCE, action_values, policy_iteration
from common.tabular.ssp import SSP, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class SolvedSSP:
    """An SSP together with what is known about it without any computation.

    Attributes:
        ssp: the problem itself.
        worst_case_length: K, the expected episode length in steps, maximised over policies
            and starting states.
        optimal_values: float64[S], v*.
        optimal_policy: int64[S]; where actions tie, one of the optimal ones.
        initial_policy: int64[S], the customary start, as far from optimal as the family allows.
        optimal_gap: the smallest v*(s) - Q*(s, a) over non-optimal actions a.
        separation: the smallest distance of two distinct values of Q^pi(s, .), over all states
            and all policies that exact policy iteration visits from `initial_policy`.
    """

    ssp: SSP
    worst_case_length: float
    optimal_values: FloatArray
    optimal_policy: IntArray
    initial_policy: IntArray
    optimal_gap: float
    separation: float


def flat(
    n_states: int,
    n_actions: int,
    length: float,
    gap: float,
    *,
    seed: int | np.random.Generator,
    branching: int = 5,
) -> SolvedSSP:
    """States that differ only in which action is good: episodes last `length` steps on average.

    Whatever is done, the episode ends with probability `1 / length` and otherwise moves to one
    of `branching` states (drawn once per state, with replacement, independently of the action).
    The good action pays -0.5, the others `-0.5 - gap`. It is never action 0, so that the
    all-zero initial policy is wrong everywhere and one improvement step repairs it.

    Closed forms: xi(s) = K = `length` and v*(s) = -length / 2 in every state; the values of
    Q^pi(s, .) are `gap` apart for every policy pi, not only for those that are visited.

    Raises:
        ValueError: if there are fewer than 2 actions, `length` < 1, or `gap` <= 0.
    """
    if n_states < 1 or n_actions < 2 or branching < 1:
        raise ValueError("flat needs at least 1 state, 2 actions and 1 successor")
    if not (length >= 1 and gap > 0):
        raise ValueError(f"flat needs length >= 1 and gap > 0, got {length} and {gap}")
    rng = np.random.default_rng(seed)
    successors = rng.integers(n_states, size=(n_states, 1, branching), dtype=np.int32)
    best = rng.integers(1, n_actions, size=n_states)
    shape = (n_states, n_actions, branching)
    rewards = np.full((n_states, n_actions), -0.5 - gap)
    rewards[np.arange(n_states), best] = -0.5
    return SolvedSSP(
        ssp=SSP(
            np.broadcast_to(successors, shape),
            np.full(shape, (1.0 - 1.0 / length) / branching),
            rewards,
        ),
        worst_case_length=float(length),
        optimal_values=np.full(n_states, -0.5 * length),
        optimal_policy=best.astype(np.int64),
        initial_policy=np.zeros(n_states, dtype=np.int64),
        optimal_gap=float(gap),
        separation=float(gap),
    )


def chain(n_states: int, exit_cost: float, slip: float, *, n_actions: int = 2) -> SolvedSSP:
    """A corridor in which policy iteration learns about the goal one state at a time.

    Action 0 (exit) ends the episode at once and pays `-exit_cost`, but nothing is lost in the
    last state. Action 1 (forward) costs 1 and moves to the next state, or stays with probability
    `slip`; in the last state it ends the episode. Further actions are exits that cost 1 more
    than `exit_cost` everywhere.

    With n states, xi(i) = 1 + (n - 1 - i) / (1 - slip), so K = xi(0); v*(i) =
    -(n - 1 - i) / (1 - slip). From "exit everywhere" exact policy iteration repairs exactly one
    further state per step and takes n - 1 steps. Over the policies that it visits the smallest
    distance of distinct action values is exactly 1 (derived here; attained in the last state).

    Raises:
        ValueError: unless n_actions >= 2, 0 <= slip < 1 and exit_cost > n / (1 - slip); with a
            cheaper exit, leaving at once would be optimal somewhere.
    """
    if n_states < 1 or n_actions < 2:
        raise ValueError("chain needs at least 1 state and 2 actions")
    if not 0 <= slip < 1:
        raise ValueError(f"slip must lie in [0, 1), got {slip}")
    if not exit_cost > n_states / (1 - slip):
        raise ValueError(f"exit_cost must exceed n / (1 - slip) = {n_states / (1 - slip)}")
    states = np.arange(n_states)
    successors = np.zeros((n_states, n_actions, 2), dtype=np.int32)
    probabilities = np.zeros((n_states, n_actions, 2))
    successors[:-1, 1, 0] = states[1:]
    successors[:-1, 1, 1] = states[:-1]
    probabilities[:-1, 1] = (1.0 - slip, slip)
    rewards = np.full((n_states, n_actions), -exit_cost - 1.0)
    rewards[:, 0] = -exit_cost
    rewards[:, 1] = -1.0
    rewards[-1, 0] = 0.0
    remaining = (n_states - 1 - states) / (1.0 - slip)
    return SolvedSSP(
        ssp=SSP(successors, probabilities, rewards),
        worst_case_length=1.0 + float(remaining[0]),
        optimal_values=-remaining,
        optimal_policy=np.where(states < n_states - 1, 1, 0).astype(np.int64),
        initial_policy=np.zeros(n_states, dtype=np.int64),
        optimal_gap=1.0,
        separation=1.0,
    )


def garnet(
    n_states: int,
    n_actions: int,
    length: float,
    *,
    seed: int | np.random.Generator,
    branching: int = 5,
) -> SSP:
    """A random SSP with episodes of about `length` steps, rewards uniform on (-1, 0).

    Each pair ends the episode with its own probability, uniform on (0.5, 1.5) / length, and
    spreads the rest over `branching` states (drawn with replacement) with weights that are
    uniform on the simplex. There are no closed forms, and the gaps between actions are tiny:
    use `widen_action_gap` before asking a sampling method for an optimal policy.

    Raises:
        ValueError: if `length` < 1.5, for which a termination probability could exceed 1.
    """
    if min(n_states, n_actions, branching) < 1 or not length >= 1.5:
        raise ValueError("garnet needs at least 1 state, action and successor, and length >= 1.5")
    rng = np.random.default_rng(seed)
    shape = (n_states, n_actions, branching)
    successors = rng.integers(n_states, size=shape, dtype=np.int32)
    weights = rng.standard_exponential(size=shape)  # normalised: uniform on the simplex
    termination = rng.uniform(0.5, 1.5, size=shape[:2]) / length
    weights *= ((1.0 - termination) / weights.sum(axis=2))[:, :, None]
    return SSP(successors, weights, -rng.uniform(size=shape[:2]))


def widen_action_gap(ssp: SSP, gap: float) -> SSP:
    """The same SSP with non-optimal actions made worse until each loses at least `gap`.

    Lowering the reward of non-optimal actions changes neither v* nor the set of optimal
    policies, because v* still solves the Bellman equation. The reward bound grows by less than
    `gap`, and the episode lengths stay what they are.
    """
    solution = policy_iteration(ssp)
    loss = solution.values[:, None] - action_values(ssp, solution.values)
    shortfall = np.where(loss > VALUE_TOLERANCE, np.maximum(gap - loss, 0.0), 0.0)
    return replace(ssp, rewards=ssp.rewards - shortfall)

"""Exact dynamic programming for SSPs: values, policy iteration, episode lengths, gaps.

The rate of policy iteration is the one that follows from the weighted-norm contraction of
Bertsekas and Tsitsiklis, *Neuro-Dynamic Programming* (1996), section 2.2. arXiv 2410.02994
announces a rate result for policy iteration on SSPs in its abstract; how ours relates to its
theorem could not be checked, so everything named a bound here is derived here.
"""

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.sparse.linalg import bicgstab, spsolve

from common.tabular.ssp import SSP, FloatArray, IntArray

# Two values closer than this are one value: rounding separates exact ties by about 1e-14.
VALUE_TOLERANCE = 1e-9
# Above this many states a dense solve is slower, and soon larger, than a sparse one.
DENSE_STATES = 500
# Enumerating more policies than this is refused.
MAX_ENUMERATED_POLICIES = 1 << 14


@dataclass(frozen=True, eq=False)
class PolicyIterationResult:
    """What policy iteration found, and every step on the way.

    Attributes:
        policy: int64[S], the final policy.
        values: float64[S], its value.
        action_values: float64[S, A], its action values.
        policies: int64[k + 1, S], from the initial policy (row 0) to the final one.
        value_history: float64[k + 1, S], the value of each row of `policies`.
    """

    policy: IntArray
    values: FloatArray
    action_values: FloatArray
    policies: IntArray
    value_history: FloatArray

    @property
    def iterations(self) -> int:
        """k, the number of improvement steps that changed the policy."""
        return len(self.policies) - 1


def policy_evaluation(ssp: SSP, policy: ArrayLike) -> FloatArray:
    """float64[S]: the expected undiscounted return of `policy` from each state.

    Solves v = r_pi + P_pi v: densely up to `DENSE_STATES` states; above, by BiCGSTAB, or by a
    sparse factorisation where that fails to reach a residual of 1e-13 relative to v.
    """
    actions = ssp.check_policy(policy)
    return _expected_total(ssp, actions, ssp.rewards[np.arange(ssp.n_states), actions])


def return_variance(ssp: SSP, policy: ArrayLike) -> FloatArray:
    """float64[S]: the variance of the undiscounted return of `policy` from each state.

    The sum over the steps of the variance of the value of the next state (Sobel 1982, "The
    variance of discounted Markov decision processes", here for episodes that end).
    """
    actions = ssp.check_policy(policy)
    values = policy_evaluation(ssp, actions)
    states = np.arange(ssp.n_states)
    spread = ssp.expected_next(values**2) - ssp.expected_next(values) ** 2
    return np.maximum(0.0, _expected_total(ssp, actions, spread[states, actions]))


def _expected_total(ssp: SSP, actions: IntArray, rewards: FloatArray) -> FloatArray:
    """float64[S]: the solution of v = `rewards` + P v under a policy, int64[S]."""
    matrix = ssp.transition_matrix(actions)
    if ssp.n_states <= DENSE_STATES:
        return np.linalg.solve(np.eye(ssp.n_states) - matrix.toarray(), rewards)
    return _sparse_solve(sparse.eye_array(ssp.n_states, format="csr") - matrix, rewards)


def _sparse_solve(system: sparse.csr_array, rewards: FloatArray) -> FloatArray:
    # Where episodes are long, BiCGSTAB may diverge; the residual decides, overflow is no news.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        values, _ = bicgstab(system, rewards, rtol=1e-15, atol=0.0, maxiter=1000)
        residual = np.abs(system @ values - rewards).max()
        accurate = residual <= 1e-13 * max(1.0, float(np.abs(values).max()))
    return np.asarray(values if accurate else spsolve(system.tocsc(), rewards), dtype=np.float64)


def action_values(ssp: SSP, values: FloatArray) -> FloatArray:
    """float64[S, A]: r(s, a) + sum over s' of P(s'|s, a) `values`[s']."""
    return ssp.rewards + ssp.expected_next(values)


def greedy_improvement(
    policy: IntArray, action_values: FloatArray, tolerance: float = VALUE_TOLERANCE
) -> IntArray:
    """The greedy policy that keeps the current action unless another beats it by > `tolerance`.

    Works on int64[..., S] and float64[..., S, A]; among equally good new actions the lowest
    index wins.
    """
    current = np.take_along_axis(action_values, policy[..., None], axis=-1)[..., 0]
    better = action_values.max(axis=-1) - current > tolerance
    return np.where(better, action_values.argmax(axis=-1), policy)


def policy_iteration(
    ssp: SSP,
    initial_policy: ArrayLike | None = None,
    *,
    tolerance: float = VALUE_TOLERANCE,
    max_iterations: int = 10_000,
) -> PolicyIterationResult:
    """Howard's policy iteration from `initial_policy` (default: action 0 everywhere).

    An action is replaced only if another is better by more than `tolerance`, so ties cannot
    make it cycle.

    Raises:
        RuntimeError: if the policy still changes after `max_iterations` improvements.
    """
    start = np.zeros(ssp.n_states, np.int64) if initial_policy is None else initial_policy
    policies, history = [ssp.check_policy(start)], []
    for _ in range(max_iterations + 1):
        history.append(policy_evaluation(ssp, policies[-1]))
        q = action_values(ssp, history[-1])
        improved = greedy_improvement(policies[-1], q, tolerance)
        if np.array_equal(improved, policies[-1]):
            return PolicyIterationResult(
                improved, history[-1], q, np.array(policies), np.array(history)
            )
        policies.append(improved)
    raise RuntimeError(f"policy iteration still changes after {max_iterations} improvements")


def worst_case_length(ssp: SSP) -> tuple[FloatArray, float]:
    """(xi, K): the longest expected episode from each state, float64[S], and its maximum.

    xi(s) is maximised over policies and counts steps; it solves
    xi(s) = 1 + max over a of sum_s' P(s'|s, a) xi(s'). That K = max xi is the proxy for episode
    length meant in the abstract of arXiv 2410.02994 is our inference.
    """
    lengths = policy_iteration(replace(ssp, rewards=np.ones_like(ssp.rewards))).values
    return lengths, float(lengths.max())


def weighted_norm(values: FloatArray, weights: FloatArray) -> FloatArray:
    """The largest |values| / weights over states, the last axis; float64[...]."""
    return np.max(np.abs(values) / weights, axis=-1)


def optimal_action_gap(ssp: SSP, tolerance: float = VALUE_TOLERANCE) -> float:
    """The smallest v*(s) - Q*(s, a) over pairs that are not optimal; inf if all are optimal."""
    solution = policy_iteration(ssp, tolerance=tolerance)
    loss = solution.action_values.max(axis=1, keepdims=True) - solution.action_values
    return float(loss[loss > tolerance].min(initial=math.inf))


def deterministic_policies(n_states: int, n_actions: int) -> Iterator[IntArray]:
    """All A ** S deterministic policies as int64[S], the last state's action varying fastest."""
    for actions in itertools.product(range(n_actions), repeat=n_states):
        yield np.array(actions, dtype=np.int64)


def value_separation(
    ssp: SSP,
    policies: Iterable[ArrayLike] | None = None,
    tolerance: float = VALUE_TOLERANCE,
) -> float:
    """The smallest distance of two distinct values of Q^pi(s, .), over states and `policies`.

    Called Delta in our analysis of exploring starts: with action values known to within a
    quarter of it, an improvement step cannot be fooled. Values within `tolerance` count as
    one. Without `policies` all deterministic ones are enumerated. inf if nothing differs.

    Raises:
        ValueError: if there are too many policies to enumerate; pass, for instance, those
            visited by `policy_iteration`.
    """
    if policies is None:
        if ssp.n_actions**ssp.n_states > MAX_ENUMERATED_POLICIES:
            raise ValueError(
                f"{ssp.n_actions}**{ssp.n_states} policies are too many to enumerate; pass "
                "those of interest as `policies`"
            )
        policies = deterministic_policies(ssp.n_states, ssp.n_actions)
    smallest = math.inf
    for policy in policies:
        q = np.sort(action_values(ssp, policy_evaluation(ssp, policy)), axis=1)
        distances = np.diff(q, axis=1)
        smallest = min(smallest, float(distances[distances > tolerance].min(initial=math.inf)))
    return smallest


def policy_iteration_bound(length: float, reward_bound: float, gap: float) -> int:
    """Improvement steps after which exact policy iteration is surely optimal (derived here).

    ceil(K ln(2 R K / gap)) + 1 with K = `length` (steps) and R = `reward_bound`: the error in
    the xi-weighted norm starts below 2 R and shrinks by 1 - 1/K per step, and a policy that is
    not optimal is at least `gap` away somewhere. An infinite gap (no action is ever wrong)
    leaves 1 step.

    Raises:
        ValueError: if `length` < 1, or `reward_bound` or `gap` is not positive.

    >>> policy_iteration_bound(length=2, reward_bound=1, gap=0.5)
    6
    """
    if not (1 <= length < math.inf and 0 < reward_bound < math.inf and gap > 0):
        raise ValueError("needs length >= 1, reward_bound > 0 and gap > 0, the first two finite")
    if math.isinf(gap):
        return 1
    return max(0, math.ceil(length * math.log(2 * reward_bound * length / gap))) + 1

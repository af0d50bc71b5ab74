"""The expected motion of original exploring starts with running means: a differential equation.

After many episodes Monte-Carlo exploring starts (Sutton and Barto 2018, section 5.3) follows, up
to noise, dQ/dt = (f / n) (Q^pi - Q) and dn/dt = f - n in the time t = ln(episodes), where pi is
greedy for Q, f counts how many returns an episode adds to each pair, and n is the mean of f over
all episodes so far (the view of Tsitsiklis 2002, "On the convergence of optimistic policy
iteration"; the rates are derived here).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from common.tabular.exact import action_values, policy_evaluation
from common.tabular.exploring_starts import Visit
from common.tabular.ssp import SSP, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class MeanOrbit:
    """A path of the mean dynamics, at equidistant times.

    Attributes:
        times: float64[T], ln(episodes) up to a shift.
        action_values: float64[T, S, A].
        policies: int64[T, S], greedy for them; the lowest index wins ties.
    """

    times: FloatArray
    action_values: FloatArray
    policies: IntArray


def start_distribution(
    ssp: SSP, policy: IntArray, start: ArrayLike | None, greedy_start: float | None
) -> FloatArray:
    """float64[S, A]: the probabilities with which an episode of `monte_carlo_es` starts.

    Raises:
        ValueError: on a wrong shape, or weights that are not all positive and finite.
    """
    weights = np.ones_like(ssp.rewards) if start is None else np.asarray(start, dtype=np.float64)
    if weights.shape != ssp.rewards.shape:
        raise ValueError(f"start has shape {weights.shape}, expected {ssp.rewards.shape}")
    if not (np.isfinite(weights).all() and (weights > 0).all()):
        raise ValueError("exploring starts need a positive, finite weight for every pair")
    weights = weights / weights.sum()
    if greedy_start is None:
        return weights
    shares = np.full_like(weights, (1 - greedy_start) / (ssp.n_actions - 1))
    shares[np.arange(ssp.n_states), policy] = greedy_start
    return weights.sum(axis=1, keepdims=True) * shares


def update_frequencies(
    ssp: SSP,
    policy: ArrayLike,
    visit: Visit,
    start: ArrayLike | None = None,
    greedy_start: float | None = None,
) -> FloatArray:
    """float64[S, A]: the expected number of returns that one episode adds to each pair.

    The episode follows `policy` (int[S]). "initial" counts the starting pair, "every" all visits,
    and "first" at most one for each pair, so that its numbers are probabilities. `start` and
    `greedy_start` are those of `exploring_starts.monte_carlo_es`.

    Raises:
        ValueError: on an invalid policy or start, or an unknown `visit`.
    """
    actions = ssp.check_policy(policy)
    weights = start_distribution(ssp, actions, start, greedy_start)
    if visit == "initial":
        return weights
    states = np.arange(ssp.n_states)
    # visits[i, s]: of state s by an episode that is in state i, this moment included.
    visits = np.linalg.inv(np.eye(ssp.n_states) - ssp.transition_matrix(actions).toarray())
    if visit == "every":
        later = np.einsum("sa,sab,sabj->j", weights, ssp.probabilities, visits[ssp.successors])
    elif visit == "first":
        visits = visits / np.diag(visits)  # probabilities to get to s at all
        reached = np.einsum("sab,sabj->saj", ssp.probabilities, visits[ssp.successors])
        reached[states, actions, states] = 0.0  # the start was the first visit
        later = np.einsum("sa,saj->j", weights, reached)
    else:
        raise ValueError(f"visit must be initial, first or every, not {visit!r}")
    frequencies = weights.copy()
    frequencies[states, actions] += later
    return frequencies


def mean_orbit(
    ssp: SSP,
    visit: Visit,
    initial_values: ArrayLike,
    duration: float,
    *,
    start: ArrayLike | None = None,
    greedy_start: float | None = None,
    interval: float = 0.01,
) -> MeanOrbit:
    """Follow the mean dynamics from `initial_values` (float[S, A]) for `duration`.

    The greedy policy is chosen anew after every `interval`; between, the motion is exact. n starts
    as f of the first policy. Where two policies push Q to their common boundary, the path chatters
    along it with an amplitude of order `interval`. Repeat with a smaller one before believing in a
    path that does not converge: a policy that is held for 2 % of all past episodes can keep
    running means from converging that otherwise would.

    Raises:
        ValueError: on invalid arguments (see `update_frequencies`), or if `duration` or
            `interval` is not positive.
    """
    if not (duration > 0 and interval > 0):
        raise ValueError("duration and interval must be positive")

    def path() -> Iterator[FloatArray]:
        values = np.array(np.broadcast_to(initial_values, ssp.rewards.shape), dtype=np.float64)
        known: dict[bytes, tuple[FloatArray, FloatArray]] = {}
        means: FloatArray | None = None
        keep = np.exp(-interval)
        yield values
        for _ in range(round(duration / interval)):
            policy = values.argmax(axis=1)
            key = policy.tobytes()
            if key not in known:
                frequencies = update_frequencies(ssp, policy, visit, start, greedy_start)
                known[key] = action_values(ssp, policy_evaluation(ssp, policy)), frequencies
            target, frequencies = known[key]
            old = frequencies if means is None else means
            means = keep * old + (1.0 - keep) * frequencies
            values = values + (1.0 - keep) * frequencies / means * (target - values)
            yield values

    values = np.array(list(path()))
    return MeanOrbit(
        interval * np.arange(len(values), dtype=np.float64), values, values.argmax(axis=-1)
    )

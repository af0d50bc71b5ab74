"""The temporal-difference rival: tabular Q-learning (Watkins 1989) with exploring starts."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from common.tabular import streams
from common.tabular.simulate import default_threads, draw_thresholds
from common.tabular.ssp import SSP, FloatArray, IntArray

_MULTIPLIER = np.uint64(streams.LCG_MULTIPLIER)
_INCREMENT = np.uint64(streams.LCG_INCREMENT)
_SHIFT = np.uint64(64 - streams.DRAW_BITS)
_BITS = np.uint64(streams.DRAW_BITS)

_njit: Callable[..., Any] = numba.njit(nogil=True, cache=True)


@dataclass(frozen=True, eq=False)
class QLearningResult:
    """What was learnt after each number of steps.

    Attributes:
        action_values: float64[runs, snapshots, S, A].
        policies: int64[runs, snapshots, S], greedy, the lowest index among equals.
    """

    action_values: FloatArray
    policies: IntArray


def q_learning(
    ssp: SSP,
    steps: Sequence[int],
    seeds: Sequence[int],
    *,
    exponent: float = 0.8,
    exploration: float = 0.1,
    threads: int | None = None,
) -> QLearningResult:
    """Undiscounted Q-learning from Q = 0, one independent learner per seed.

    An episode starts from a random state-action pair, then acts greedily but for a share
    `exploration` of random actions. The step size of a pair is n ** -`exponent` at its n-th update
    (polynomial learning rate, Even-Dar and Mansour 2003, who recommend about 0.8 [from memory]).

    Args:
        ssp: the problem.
        steps: increasing numbers of environment steps at which snapshots are taken.
        seeds: one per learner.
        exponent: in (0.5, 1], for which the step sizes satisfy Robbins and Monro.
        exploration: in [0, 1].
        threads: learners are shared out among them; results do not depend on it.

    Raises:
        ValueError: if an argument lies outside its range.
    """
    if not steps or steps[0] < 1 or any(b <= a for a, b in pairwise(steps)):
        raise ValueError(f"steps must be positive and increase, got {list(steps)}")
    if not 0.5 < exponent <= 1 or not 0 <= exploration <= 1:
        raise ValueError(f"exponent {exponent} or exploration {exploration} is out of range")
    thresholds = draw_thresholds(ssp)
    marks = np.array(steps, dtype=np.int64)
    shape = (len(seeds), len(marks), ssp.n_states, ssp.n_actions)
    q = np.zeros(shape)

    def learn(run: int) -> None:
        key = np.uint64(streams.stream_key(seeds[run]))
        explore = np.uint64(round(exploration * 2**streams.DRAW_BITS))
        _learn(thresholds, ssp.successors, ssp.rewards, marks, key, exponent, explore, q[run])

    with ThreadPoolExecutor(default_threads() if threads is None else threads) as pool:
        list(pool.map(learn, range(len(seeds))))
    return QLearningResult(q, q.argmax(axis=3))


@_njit
def _draw(state: NDArray[np.uint64]) -> np.uint64:
    """The next 31 random bits of the stream in state[0]."""
    state[0] = state[0] * _MULTIPLIER + _INCREMENT
    return state[0] >> _SHIFT


@_njit
def _below(state: NDArray[np.uint64], n: int) -> np.int64:
    """A random integer in 0..n - 1."""
    return np.int64((_draw(state) * np.uint64(n)) >> _BITS)


@_njit
def _greedy(q: FloatArray, s: int) -> int:
    """The action of largest q[s], the lowest index among equals."""
    best = 0
    for a in range(1, q.shape[1]):  # argmax would take longer to compile
        if q[s, a] > q[s, best]:
            best = a
    return best


@_njit
def _learn(
    thresholds: NDArray[np.uint32],
    successors: NDArray[np.int32],
    rewards: FloatArray,
    marks: IntArray,
    key: np.uint64,
    exponent: float,
    explore: np.uint64,
    snapshots: FloatArray,
) -> None:
    """One learner; snapshots: float64[len(marks), S, A] receives Q after marks[i] steps."""
    n_states, n_actions, n_places = thresholds.shape
    q = np.zeros((n_states, n_actions))
    updates = np.zeros((n_states, n_actions), dtype=np.int64)
    random = np.array([key], dtype=np.uint64)
    taken, mark, over = 0, 0, True
    s, a = 0, 0
    while mark < len(marks):
        if over:
            s, a = _below(random, n_states), _below(random, n_actions)
        elif _draw(random) < explore:
            a = _below(random, n_actions)
        else:
            a = _greedy(q, s)
        draw, place = _draw(random), 0
        while place < n_places and np.uint64(thresholds[s, a, place]) <= draw:
            place += 1
        over = place == n_places
        following = 0 if over else successors[s, a, place]
        target = rewards[s, a] + (0.0 if over else q[following, _greedy(q, following)])
        updates[s, a] += 1
        q[s, a] += (target - q[s, a]) * updates[s, a] ** -exponent
        s = following
        taken += 1
        if taken == marks[mark]:
            snapshots[mark] = q
            mark += 1

"""The inner loop of the simulator, compiled by numba.

One episode is a chain of dependent operations (draw, compare, look up, load), and a processor
that follows a single one mostly waits. So `LANES` independent episodes advance in turn, one step
each; a lane whose episode ends takes up the next one at once.

A *row* is what one state-action pair needs, packed into whole cache lines of 16 words of 32
bits: B cumulative thresholds, B successor states, padding, and the reward as a float64 in the
last two words. B = 5 and B = 7 both fit into one line.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from common.tabular import streams

LANES = 16
LINE_WORDS = 16

# Everything that meets a uint64 must be one: numba turns a mixture with int64 into float64.
_GAMMA = np.uint64(streams.GOLDEN_GAMMA)
_MIX_FIRST = np.uint64(streams.MIX_FIRST)
_MIX_SECOND = np.uint64(streams.MIX_SECOND)
_MULTIPLIER = np.uint64(streams.LCG_MULTIPLIER)
_INCREMENT = np.uint64(streams.LCG_INCREMENT)
_DRAW_SHIFT = np.uint64(64 - streams.DRAW_BITS)
_ONE = np.uint64(1)
_ZERO = np.uint64(0)
_LANES = np.uint64(LANES)
_S27, _S30, _S31 = np.uint64(27), np.uint64(30), np.uint64(31)

Words = NDArray[np.uint32]
FloatArray = NDArray[np.float64]

_njit: Callable[..., Any] = numba.njit(nogil=True, cache=True)


def slots_for(branching: int) -> int:
    """B, the places of a packed row with at least `branching` successors: 5, 7, 15, 23, ...

    Few distinct values, because the inner loop is compiled once for each.
    """
    if branching <= 5:
        return 5
    return -(-(branching + 1) // 8) * 8 - 1


def words_for(slots: int) -> int:
    """The 32-bit words of a packed row with `slots` places; a whole number of cache lines."""
    return -(-(2 * slots + 2) // LINE_WORDS) * LINE_WORDS


@_njit
def _derive(key: np.uint64, index: np.uint64) -> np.uint64:
    value = key + _GAMMA * (index + _ONE)
    value = (value ^ (value >> _S30)) * _MIX_FIRST
    value = (value ^ (value >> _S27)) * _MIX_SECOND
    return value ^ (value >> _S31)


@_njit
def simulate_task(
    words: Words,
    rewards: FloatArray,
    slots: tuple[int, ...],
    key: np.uint64,
    base: np.uint64,
    pairs: tuple[int, int],
    episodes: tuple[int, int],
    limit: int,
    stop_at_limit: bool,
    sums: FloatArray,
    squares: FloatArray,
) -> tuple[int, int]:
    """Play every episode of one task and add up the returns after the first reward.

    words: uint32[rows * W] and rewards: float64[rows * W / 2] are two views of the packed rows;
    row `pair` starts an episode and row `base + s` continues it in state s. slots: a tuple whose
    length B is known to the compiler. pairs, episodes: (start, stop). sums, squares:
    float64[S * A], added to. Returns (steps, truncated episodes); with `stop_at_limit` the task
    gives up at the first episode that exceeds `limit` steps.
    """
    n_slots = np.uint64(len(slots))
    width = np.uint64((2 * len(slots) + 2 + LINE_WORDS - 1) // LINE_WORDS * LINE_WORDS)
    reward_place = (width >> _ONE) - _ONE
    at = np.empty(LANES, np.uint64)  # word at which the lane's row starts
    state = np.empty(LANES, np.uint64)  # of the episode's random stream
    total = np.empty(LANES, np.float64)  # rewards so far, but for the first
    born = np.empty(LANES, np.int64)  # sweep before the episode's first step
    owner = np.empty(LANES, np.int64)  # pair that the return belongs to
    pair, episode = pairs[0], episodes[0]
    pair_key = _derive(key, np.uint64(pair))
    active = _ZERO
    sweep, steps, truncated = 0, 0, 0
    while True:
        # A task begins like any lane that is free: with the next episode, if there is one.
        while active < _LANES and pair < pairs[1]:
            at[active], total[active] = np.uint64(pair) * width, 0.0
            born[active], owner[active] = sweep, pair
            state[active] = _derive(pair_key, np.uint64(episode))
            active += _ONE
            episode += 1
            if episode == episodes[1]:
                pair, episode = pair + 1, episodes[0]
                pair_key = _derive(key, np.uint64(pair))
        if active == _ZERO:
            return steps, truncated
        sweep += 1
        lane = _ZERO
        while lane < active:
            fresh = state[lane] * _MULTIPLIER + _INCREMENT
            state[lane] = fresh
            draw = np.uint32(fresh >> _DRAW_SHIFT)
            here = at[lane]
            place = _ZERO
            for j in range(len(slots)):
                place += np.uint64(words[here + np.uint64(j)] <= draw)
            length = sweep - born[lane]
            if place < n_slots:
                if length < limit:
                    following = (base + np.uint64(words[here + n_slots + place])) * width
                    at[lane] = following
                    total[lane] += rewards[(following >> _ONE) + reward_place]
                    lane += _ONE
                    continue
                truncated += 1
                if stop_at_limit:
                    return steps, truncated
            steps += length
            sums[owner[lane]] += total[lane]
            squares[owner[lane]] += total[lane] * total[lane]
            # The last lane, which has not advanced in this sweep yet, moves to this place.
            active -= _ONE
            at[lane], total[lane], state[lane] = at[active], total[active], state[active]
            born[lane], owner[lane] = born[active], owner[active]


@_njit
def simulate_tasks(
    words: Words,
    rewards: FloatArray,
    slots: tuple[int, ...],
    keys: NDArray[np.uint64],
    plan: tuple[int, int, int, int, int],
    tasks: tuple[int, int],
    limit: int,
    stop_at_limit: bool,
    sums: FloatArray,
    squares: FloatArray,
    counts: NDArray[np.int64],
) -> None:
    """Simulate the tasks number tasks[0] .. tasks[1] - 1 of a plan.

    keys: uint64[runs]. plan: (pairs, states, group, episodes, blocks), integers: a task covers
    `group` consecutive pairs and one of `blocks` equal ranges of their episodes. sums, squares:
    float64[blocks, runs, pairs]; counts: int64[runs * tasks per run, 2] receives steps and
    truncations. No two tasks write to the same place.
    """
    n_pairs, n_states, group, episodes, blocks = plan
    per_run = (n_pairs + group - 1) // group * blocks
    for task in range(tasks[0], tasks[1]):
        run, rest = task // per_run, task % per_run
        first, block = rest // blocks * group, rest % blocks
        counts[task, 0], counts[task, 1] = simulate_task(
            words,
            rewards,
            slots,
            keys[run],
            np.uint64(n_pairs + run * n_states),
            (first, min(first + group, n_pairs)),
            (episodes * block // blocks, episodes * (block + 1) // blocks),
            limit,
            stop_at_limit,
            sums[block, run],
            squares[block, run],
        )

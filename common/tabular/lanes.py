"""The inner loop of the simulator, compiled by numba.

One episode is a chain of dependent operations (draw, compare, look up, load), and a processor
that follows a single one mostly waits. So `LANES` independent episodes advance in turn, one step
each; a lane whose episode ends takes up the next one at once. Where a lane goes next is known a
whole sweep before it is needed, so the row is prefetched: 1.4 times the speed with 10^4 states,
1.6 times with 10^5.

A *row* is what one state-action pair needs, packed into whole cache lines of 16 words of 32
bits: B cumulative thresholds, B successor states, padding, and the reward as a float64 in the
last two words. B = 5 and B = 7 both fit into one line.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from common.tabular import streams

LANES = 16
LINE_WORDS = 16
# Returns are kept, 32 KiB of them, and added up in the order of the episodes: lanes finish them in
# an order that depends on what else is being played.
BATCH_EPISODES = 4096

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
IntArray = NDArray[np.int64]
# Row and random state with which the episodes of a batch begin, one array[BATCH_EPISODES] each.
Starts = tuple[NDArray[np.uint64], NDArray[np.uint64]]

_njit: Callable[..., Any] = numba.njit(nogil=True, cache=True)
_intrinsic: Callable[..., Any] = intrinsic


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


@_intrinsic
def _prefetch(typing_context: Any, words: Any, place: Any) -> Any:
    """Ask for the cache line of words[place], which is not checked, without waiting for it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.bitcast(builder.gep(array.data, [arguments[1]]), cgutils.voidptr_t)
        integer = ir.IntType(32)
        prefetch = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, integer, integer, integer]),
            "llvm.prefetch.p0i8",
        )
        # for reading; to be kept in all caches; data
        builder.call(prefetch, [address, *(ir.Constant(integer, n) for n in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(words, place), generate


@_njit
def _starts(
    key: np.uint64, pairs: IntArray, episodes: tuple[int, int], width: np.uint64, starts: Starts
) -> np.uint64:
    """Fill in row and random state of each pair's episodes in turn; return their number."""
    rows, states = starts
    count = _ZERO
    for pair in pairs:
        pair_key = _derive(key, np.uint64(pair))
        for episode in range(episodes[0], episodes[1]):
            rows[count] = np.uint64(pair) * width
            states[count] = _derive(pair_key, np.uint64(episode))
            count += _ONE
    return count


@_njit
def simulate_batch(
    words: Words,
    rewards: FloatArray,
    slots: tuple[int, ...],
    key: np.uint64,
    base: np.uint64,
    pairs: IntArray,
    episodes: tuple[int, int],
    limit: int,
    stop_at_limit: bool,
    starts: Starts,
    returns: FloatArray,
) -> tuple[np.uint64, int]:
    """Play the same range of episodes of each pair and store their returns in this order.

    words: uint32[rows * W] and rewards: float64[rows * W / 2] are two views of the packed rows;
    row `pair` starts an episode and row `base + s` continues it in state s. slots: a tuple whose
    length B is known to the compiler. episodes: (start, stop). starts, returns: room for at least
    pairs * episodes; returns receives the sums of the rewards in the rows met. Gives back (steps,
    truncated episodes); with `stop_at_limit` it gives up at the first episode that exceeds
    `limit` steps.
    """
    n_slots = np.uint64(len(slots))
    width = np.uint64((2 * len(slots) + 2 + LINE_WORDS - 1) // LINE_WORDS * LINE_WORDS)
    reward_place = (width >> _ONE) - _ONE
    longest = np.uint64(limit)
    rows, states = starts
    count = _starts(key, pairs, episodes, width, starts)
    active = begun = min(_LANES, count)
    integers = np.empty((4, LANES), np.uint64)  # side by side, which leaves registers free
    at, state = integers[0], integers[1]  # word at which the row starts, random stream
    due, owner = integers[2], integers[3]  # last sweep it may live, number in the batch
    total = np.zeros(LANES, np.float64)  # rewards so far
    at[:], state[:], due[:] = rows[:LANES], states[:LANES], longest
    owner[:] = np.arange(LANES).astype(np.uint64)
    sweep, steps, truncated = _ZERO, _ZERO, 0
    while active > _ZERO:
        sweep += _ONE
        steps += active
        lane = _ZERO
        while lane < active:
            fresh = state[lane] * _MULTIPLIER + _INCREMENT
            state[lane] = fresh
            draw = np.uint32(fresh >> _DRAW_SHIFT)
            here = at[lane]
            place = _ZERO
            for j in range(len(slots)):
                place += np.uint64(words[here + np.uint64(j)] <= draw)
            so_far = total[lane] + rewards[(here >> _ONE) + reward_place]
            if place < n_slots:
                if sweep < due[lane]:
                    following = (base + np.uint64(words[here + n_slots + place])) * width
                    _prefetch(words, following)
                    at[lane], total[lane] = following, so_far
                    lane += _ONE
                    continue
                truncated += 1
                if stop_at_limit:
                    return steps, truncated
            returns[owner[lane]] = so_far
            if begun < count:
                at[lane], state[lane], total[lane] = rows[begun], states[begun], 0.0
                due[lane], owner[lane] = sweep + longest, begun
                begun += _ONE
                lane += _ONE
                continue
            # The last lane, which has not advanced in this sweep yet, moves to this place.
            active -= _ONE
            at[lane], total[lane], state[lane] = at[active], total[active], state[active]
            due[lane], owner[lane] = due[active], owner[active]
    return steps, truncated


@_njit
def simulate_tasks(
    words: Words,
    rewards: FloatArray,
    slots: tuple[int, ...],
    keys: NDArray[np.uint64],
    pairs: IntArray,
    plan: tuple[int, int, int, int, int],
    tasks: tuple[int, int],
    limit: int,
    stop_at_limit: bool,
    sums: FloatArray,
    squares: FloatArray,
    counts: IntArray,
) -> None:
    """Simulate the tasks number tasks[0] .. tasks[1] - 1 of a plan.

    keys: uint64[runs]. pairs: int64[n], those to simulate. plan: (pairs of the problem, states,
    group, episodes, blocks), integers: a task covers `group` consecutive entries of `pairs` and
    one of `blocks` equal ranges of their episodes. sums, squares: float64[blocks, runs, n], of
    the returns in the order of the episodes; counts: int64[runs * tasks per run, 2] receives
    steps and truncations. No two tasks write to the same place.
    """
    n_all, n_states, group, episodes, blocks = plan
    per_run = (len(pairs) + group - 1) // group * blocks
    starts = np.empty(BATCH_EPISODES, np.uint64), np.empty(BATCH_EPISODES, np.uint64)
    returns = np.empty(BATCH_EPISODES, np.float64)
    for task in range(tasks[0], tasks[1]):
        run, rest = task // per_run, task % per_run
        first, block = rest // blocks * group, rest % blocks
        together = pairs[first : first + group]
        batch = BATCH_EPISODES // len(together)
        stop = episodes * (block + 1) // blocks
        for start in range(episodes * block // blocks, stop, batch):
            end = min(start + batch, stop)
            steps, truncated = simulate_batch(
                words,
                rewards,
                slots,
                keys[run],
                np.uint64(n_all + run * n_states),
                together,
                (start, end),
                limit,
                stop_at_limit,
                starts,
                returns,
            )
            counts[task, 0] += np.int64(steps)
            counts[task, 1] += truncated
            if truncated > 0 and stop_at_limit:
                return
            for i in range(len(together)):
                for value in returns[i * (end - start) : (i + 1) * (end - start)]:
                    sums[block, run, first + i] += value
                    squares[block, run, first + i] += value * value

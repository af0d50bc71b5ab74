"""Monte-Carlo estimates of action values: every state-action pair starts its own episodes.

The results are bit-identical for any number of threads and any division of the work: each
episode has its own counter-based random stream (`streams`), and the order in which the returns of
a pair are added up depends on the number of episodes alone.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.tabular.lanes import BATCH_EPISODES, LINE_WORDS, simulate_tasks, slots_for, words_for
from common.tabular.ssp import PROBABILITY_TOLERANCE, SSP, FloatArray, IntArray
from common.tabular.streams import DRAW_BITS, stream_key

Progress = Callable[[int, int], None]
# (S * A, S, pairs per task, episodes per pair, blocks that divide those episodes)
Plan = tuple[int, int, int, int, int]
# Sums and squares of returns without their first reward, float64[runs, pairs], and int64
# [runs, 2] counts of steps and truncated episodes.
Totals = tuple[FloatArray, FloatArray, IntArray]

# At most this many episodes of a pair are added up in one task: enough to keep all lanes busy, few
# enough to share out and for a call to be interrupted within seconds.
BLOCK_EPISODES = 1 << 16
# Episodes handed to compiled code at a time.
CHUNK_EPISODES = 1 << 16
# An untruncated episode longer than this stops the simulation with an error.
SAFETY_LIMIT = 1_000_000
# Bound on the floats of one array of partial sums, across the runs simulated together.
_MAX_PARTIAL_SUMS = 1 << 22


@dataclass(frozen=True, eq=False)
class ActionValueEstimates:
    """Monte-Carlo estimates for one policy, or for several runs at once (leading axis).

    Attributes:
        values: float64[S, A] or [runs, S, A], the mean undiscounted returns.
        variance: of the same shape, the unbiased variance of single returns (NaN with one
            episode); divide by `episodes` for that of the mean. Both are NaN for pairs that
            were not to be estimated.
        episodes: per state-action pair and run.
        steps: int64, environment steps played, in total or [runs].
        truncated: int64, episodes cut at the horizon, in total or [runs].
    """

    values: FloatArray
    variance: FloatArray
    episodes: int
    steps: IntArray
    truncated: IntArray


class Simulator:
    """Plays an SSP; keeps the packed transition rows between calls.

    Probabilities are rounded to multiples of 2^-31. An SSP may therefore have at most 2^31
    states, and events rarer than about 2^-32 per step never happen.

    Args:
        ssp: the problem.
        threads: how many to use (default: numba's, one per processor unless
            NUMBA_NUM_THREADS says otherwise). Results do not depend on it.
        chunk_episodes: work handed to compiled code at a time; between chunks the call can be
            interrupted and reports progress. Results do not depend on it.
    """

    def __init__(
        self, ssp: SSP, *, threads: int | None = None, chunk_episodes: int = CHUNK_EPISODES
    ) -> None:
        self.ssp = ssp
        self.threads = default_threads() if threads is None else threads
        if self.threads < 1 or chunk_episodes < 1:
            raise ValueError("threads and chunk_episodes must be at least 1")
        self.chunk_episodes = chunk_episodes
        self._slots = (0,) * slots_for(ssp.branching)
        self._rows = _empty_rows(0, words_for(len(self._slots)))
        self._pair_rows = pack_rows(ssp)
        # No draw is below a last threshold of 0: these episodes are over after one step.
        self._ends_at_once = self._pair_rows[:, len(self._slots) - 1] == 0

    def action_values(
        self,
        policies: IntArray,
        keys: Sequence[int],
        episodes: int,
        *,
        pairs: IntArray | None = None,
        horizon: int | None = None,
        safety_limit: int = SAFETY_LIMIT,
        progress: Progress | None = None,
    ) -> ActionValueEstimates:
        """Estimate Q for `runs` independent runs together, each with its policy and key.

        The estimate for a pair has the same bits whichever others are estimated with it.

        Args:
            policies: int64[runs, S].
            keys: one 64-bit `streams.stream_key` per run.
            episodes: per state-action pair and run.
            pairs: int64[n], the flat indices s * A + a of the pairs to estimate, in any order;
                None means all. They are the same for all runs.
            horizon: steps after which episodes are cut; None plays them to their end.
            safety_limit: steps; without a horizon, an episode that exceeds it is an error.
            progress: called with (episodes done, episodes in all) between chunks.

        Raises:
            ValueError: if `episodes` or `horizon` is below 1, or `pairs` is empty, not flat, or
                holds a number twice or one outside 0 .. S * A - 1.
            TypeError: if `pairs` are not integers.
            RuntimeError: if an untruncated episode exceeds `safety_limit`.
        """
        if episodes < 1 or (horizon is not None and horizon < 1):
            raise ValueError("episodes and horizon must be at least 1")
        if len(policies) != len(keys):
            raise ValueError(f"{len(policies)} policies but {len(keys)} keys")
        wanted = np.arange(len(self._pair_rows)) if pairs is None else self._check_pairs(pairs)
        played = wanted[~self._ends_at_once[wanted]]
        plan = _plan(self.ssp, episodes)
        all_of_run, not_played = wanted.size * episodes, (wanted.size - played.size) * episodes
        at_once = max(1, _MAX_PARTIAL_SUMS // (plan[0] + played.size * plan[4]))
        parts = []
        for first in range(0, len(keys), at_once):
            runs = slice(first, first + at_once)
            before = first * all_of_run + len(keys[runs]) * not_played

            def report(done: int, before: int = before) -> None:
                if progress is not None:
                    progress(before + done, len(keys) * all_of_run)

            parts.append(
                self._simulate(
                    policies[runs], keys[runs], played, plan, horizon, safety_limit, report
                )
            )
        sums, squares, counts = map(np.concatenate, zip(*parts, strict=True))
        counts[:, 0] += not_played  # one step each
        sums, squares = (_spread(each, plan[0], wanted, played) for each in (sums, squares))
        return _estimates(self.ssp, episodes, sums, squares, counts)

    def _check_pairs(self, pairs: IntArray) -> IntArray:
        flat, count = np.asarray(pairs), len(self._pair_rows)
        if flat.ndim != 1 or flat.size == 0:
            raise ValueError(f"pairs must be a non-empty flat array, got shape {flat.shape}")
        if not np.issubdtype(flat.dtype, np.integer):
            raise TypeError(f"pairs holds flat indices s * A + a, not {flat.dtype}")
        if flat.min() < 0 or flat.max() >= count:
            raise ValueError(f"pairs must lie in 0..{count - 1}, got {flat.min()}..{flat.max()}")
        distinct, times = np.unique(flat, return_counts=True)
        if distinct.size < flat.size:
            raise ValueError(f"pair {distinct[times.argmax()]} is listed {times.max()} times")
        return flat.astype(np.int64)

    def _simulate(
        self,
        policies: IntArray,
        keys: Sequence[int],
        pairs: IntArray,
        plan: Plan,
        horizon: int | None,
        safety_limit: int,
        report: Callable[[int], None],
    ) -> Totals:
        _, _, group, episodes, blocks = plan
        n_runs, per_run = len(keys), -(-pairs.size // group) * blocks
        sums, squares = np.zeros((2, blocks, n_runs, pairs.size))
        counts = np.zeros((n_runs * per_run, 2), dtype=np.int64)
        rows = self._rows_for(policies).reshape(-1)
        key_array = np.array(keys, dtype=np.uint64)
        limit = safety_limit if horizon is None else horizon

        def simulate(tasks: tuple[int, int]) -> int:
            simulate_tasks(
                rows,
                rows.view(np.float64),
                self._slots,
                key_array,
                pairs,
                plan,
                tasks,
                limit,
                horizon is None,
                sums,
                squares,
                counts,
            )
            return tasks[1] * pairs.size * episodes // per_run

        step = max(1, self.chunk_episodes * per_run // max(1, pairs.size * episodes))
        chunks = [(i, min(i + step, len(counts))) for i in range(0, len(counts), step)]
        for done in _in_threads(simulate, chunks, self.threads):
            if horizon is None and counts[:, 1].any():
                raise RuntimeError(
                    f"an episode exceeded {safety_limit} steps: pass a horizon, raise "
                    "safety_limit, or check that every loop has a fair chance of ending"
                )
            report(done)
        totals = counts.reshape(n_runs, per_run, 2).sum(axis=1)
        return _in_order(sums), _in_order(squares), totals

    def _rows_for(self, policies: IntArray) -> NDArray[np.uint32]:
        """Packed rows: those of all pairs, then for each run those that its policy plays.

        The first ones pay nothing: the first reward is the same for all episodes of a pair.
        """
        n_pairs, states = len(self._pair_rows), np.arange(self.ssp.n_states)
        needed = n_pairs + policies.size
        if len(self._rows) < needed:
            self._rows = _empty_rows(needed, self._pair_rows.shape[1])
            self._rows[:n_pairs] = self._pair_rows
            self._rows.view(np.float64)[:n_pairs, -1] = 0.0
        played = (states * self.ssp.n_actions + policies).ravel()
        np.take(self._pair_rows, played, axis=0, out=self._rows[n_pairs:needed])
        return self._rows


def mc_action_values(
    ssp: SSP,
    policy: ArrayLike,
    episodes: int,
    seed: int,
    *,
    stream: int = 0,
    horizon: int | None = None,
    safety_limit: int = SAFETY_LIMIT,
    threads: int | None = None,
    progress: Progress | None = None,
) -> ActionValueEstimates:
    """Estimate Q^policy(s, a) of every pair from `episodes` independent episodes each.

    Each episode takes the given action in the given state, then follows `policy` to the end,
    or for `horizon` steps; a cut return omits what would have followed. Random numbers depend
    on (`seed`, `stream`, pair, episode) only. See `Simulator.action_values` for the errors.

    >>> bandit = SSP([[[0], [0]]], [[[0.0], [0.0]]], [[-1.0, -2.0]])
    >>> mc_action_values(bandit, [0], episodes=100, seed=1).values.tolist()
    [[-1.0, -2.0]]
    """
    simulator = Simulator(ssp, threads=threads)
    policies = ssp.check_policy(policy)[None]
    estimates = simulator.action_values(
        policies,
        [stream_key(seed, stream)],
        episodes,
        horizon=horizon,
        safety_limit=safety_limit,
        progress=progress,
    )
    return ActionValueEstimates(
        estimates.values[0],
        estimates.variance[0],
        episodes,
        estimates.steps[0],
        estimates.truncated[0],
    )


def draw_thresholds(ssp: SSP) -> NDArray[np.uint32]:
    """uint32[S, A, b]: cumulative probabilities in units of 2^-31.

    A draw u goes to the first place whose threshold exceeds it, and ends the episode if none
    does. Rows that never terminate reach 2^31, which no draw does.
    """
    cumulative = np.minimum(np.cumsum(ssp.probabilities, axis=2), 1.0)
    thresholds = np.rint(cumulative * 2.0**DRAW_BITS)
    never_ends = ssp.termination_probabilities <= PROBABILITY_TOLERANCE
    thresholds[..., -1][never_ends] = 2.0**DRAW_BITS
    return thresholds.astype(np.uint32)


def pack_rows(ssp: SSP) -> NDArray[np.uint32]:
    """uint32[S * A, words]: the rows of all pairs as the inner loop reads them (see `lanes`)."""
    n_pairs, b = ssp.n_states * ssp.n_actions, ssp.branching
    slots = slots_for(b)
    rows = _empty_rows(n_pairs, words_for(slots))
    thresholds = draw_thresholds(ssp).reshape(n_pairs, b)
    rows[:, :b] = thresholds
    rows[:, b:slots] = thresholds[:, -1:]  # unused places are empty intervals
    rows[:, slots : slots + b] = ssp.successors.reshape(n_pairs, b)
    rows.view(np.float64)[:, -1] = ssp.rewards.ravel()
    return rows


def default_threads() -> int:
    """The number of threads numba would use, read without starting its thread pool."""
    return int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


def _empty_rows(count: int, words: int) -> NDArray[np.uint32]:
    """Zeroed uint32[count, words] that starts at a cache line."""
    spare = np.zeros(count * words + LINE_WORDS, dtype=np.uint32)
    start = -(spare.ctypes.data // 4) % LINE_WORDS
    return spare[start : start + count * words].reshape(count, words)


def _plan(ssp: SSP, episodes: int) -> Plan:
    """How the work is divided into tasks.

    Few episodes: several pairs share a task, for a lane never idles within one. Many: a pair's
    episodes are divided into blocks, and how depends on their number alone, because it fixes the
    order in which returns are added.
    """
    group = max(1, BATCH_EPISODES // episodes)
    blocks = -(-episodes // BLOCK_EPISODES)
    return ssp.n_states * ssp.n_actions, ssp.n_states, group, episodes, blocks


def _in_order(blocks: FloatArray) -> FloatArray:
    """Add up along the first axis one by one; numpy's order would depend on the other axes."""
    return functools.reduce(np.add, blocks)


def _in_threads(
    work: Callable[[tuple[int, int]], int], chunks: list[tuple[int, int]], threads: int
) -> Iterator[int]:
    """Yield work(chunk) in the order of the chunks; an error or interrupt drops the rest."""
    if threads == 1 or len(chunks) == 1:
        yield from map(work, chunks)
        return
    pool = ThreadPoolExecutor(threads)
    try:
        futures: list[Future[int]] = [pool.submit(work, chunk) for chunk in chunks]
        for future in futures:
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _spread(sums: FloatArray, n_pairs: int, wanted: IntArray, played: IntArray) -> FloatArray:
    """float64[runs, S * A]: the sums of `played` pairs, 0 for other `wanted` ones, NaN beside."""
    spread = np.full((len(sums), n_pairs), np.nan)
    spread[:, wanted] = 0.0
    spread[:, played] = sums
    return spread


def _estimates(
    ssp: SSP, episodes: int, sums: FloatArray, squares: FloatArray, counts: IntArray
) -> ActionValueEstimates:
    """Turn sums over episodes, without their first reward, into means and variances."""
    shape = (len(sums), ssp.n_states, ssp.n_actions)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.maximum(squares - sums**2 / episodes, 0.0) / (episodes - 1)
    return ActionValueEstimates(
        ssp.rewards + (sums / episodes).reshape(shape),
        spread.reshape(shape),
        episodes,
        counts[:, 0],
        counts[:, 1],
    )

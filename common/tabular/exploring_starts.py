"""Monte-Carlo exploring starts, one episode at a time: the original algorithm.

Sutton and Barto, *Reinforcement Learning* (2nd edition, 2018), section 5.3, in the undiscounted
setting of arXiv 2002.03585: draw a state-action pair, follow the greedy policy to the end of the
episode, and average its returns into the values that the policy is greedy for. `mces` holds the
variant with independent batches.

Many learners run side by side. Each has its own counter-based random streams (`streams`), so its
course depends on its seed alone: not on the other learners, the number of threads, or the
snapshots that are taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.tabular.lanes import slots_for
from common.tabular.learners import (
    AS_DRAWN,
    COLUMN,
    EVERY,
    FACT_WORDS,
    FIRST,
    INITIAL,
    LEARNERS,
    TOO_LONG,
    advance_group,
    fill_alias_table,
)
from common.tabular.simulate import (
    Progress,
    _empty_rows,
    _in_threads,
    default_threads,
    pack_rows,
)
from common.tabular.ssp import SSP, FloatArray, IntArray
from common.tabular.streams import DRAW_BITS, stream_key

Visit = Literal["first", "every", "initial"]

VISITS: dict[Visit, int] = {"first": FIRST, "every": EVERY, "initial": INITIAL}
# An episode longer than this stops the learners with an error.
SAFETY_LIMIT = 100_000
# Episode numbers are kept in 32 bits.
MAX_EPISODES = (1 << 32) - 1
# Environment steps handed to compiled code at a time, a tenth of a second's work or so.
CHUNK_STEPS = 1 << 23


@dataclass(frozen=True, eq=False)
class MonteCarloEsResult:
    """What the learners knew after given numbers of episodes.

    Attributes:
        action_values: float64[runs, snapshots, S, A], the learned values.
        policies: int64[runs, snapshots, S], the greedy policies that would be played next.
        visits: int64[runs, S, A], returns averaged into each value by the end.
        steps: int64[runs, snapshots], environment steps played so far.
    """

    action_values: FloatArray
    policies: IntArray
    visits: IntArray
    steps: IntArray


def monte_carlo_es(
    ssp: SSP,
    episodes: Sequence[int],
    seeds: Sequence[int],
    *,
    visit: Visit = "first",
    step_size: float | None = None,
    start: ArrayLike | None = None,
    greedy_start: float | None = None,
    initial_values: ArrayLike = 0.0,
    initial_policy: ArrayLike | None = None,
    safety_limit: int = SAFETY_LIMIT,
    threads: int | None = None,
    chunk_steps: int = CHUNK_STEPS,
    progress: Progress | None = None,
) -> MonteCarloEsResult:
    """Learn action values from single episodes with exploring starts, once for every seed.

    An episode starts with a random pair and follows the current policy. Then its steps are
    walked through backwards with the return G that followed each, and where `visit` says so the
    value of the pair moves towards G and the policy of the state becomes greedy: the current
    action stays if it attains the maximum, else the one of lowest index that does comes in
    (Sutton and Barto 2018, section 5.3; there with `visit="first"` and running means).

    Args:
        ssp: the problem.
        episodes: increasing numbers of episodes after which snapshots are taken; the last one
            is the total. Each takes 8 S (A + 1) bytes per run.
        seeds: one learner each; equal seeds give equal learners.
        visit: the steps to learn from: "first" occurrences of a pair in the episode, "every"
            occurrence, or the "initial" pair only.
        step_size: a constant one in (0, 1]; None takes 1/n for the n-th return of a pair, so
            that values are means of returns.
        start: float[S, A], weights of the pairs that start episodes (default: all the same).
            Their probabilities are met to within 2^-30. Weights of 0 are never drawn.
        greedy_start: if given, `start` decides on the state alone; the episode starts with its
            greedy action with this probability, in [0, 1], and else with any other alike.
        initial_values: a number, or float[S, A]. They decide which actions are tried first; a
            mean forgets them with the first return.
        initial_policy: int[S], followed in a state until one of its values is updated
            (default: greedy for `initial_values`, lowest index).
        safety_limit: steps; an episode that exceeds it is an error. A large one costs memory
            only if there are episodes as long.
        threads: how many to use (default: as `simulate.Simulator`). Results do not depend on
            it, and no more are of use than there are seeds.
        chunk_steps: work handed to compiled code at a time; between chunks the call can be
            interrupted and reports progress. Results do not depend on it.
        progress: called with (episodes done, episodes in all) between chunks.

    Raises:
        ValueError: on wrong shapes, numbers of episodes that are below 1, above 2^32 - 1 or
            not increasing, no seeds, weights that are negative, not finite or all 0, initial
            values that are not finite, a step size outside (0, 1], or a `greedy_start` outside
            [0, 1] or without a second action.
        RuntimeError: if an episode exceeds `safety_limit`.

    >>> bandit = SSP([[[0], [0]]], [[[0.0], [0.0]]], [[-1.0, -2.0]])
    >>> learned = monte_carlo_es(bandit, [100], seeds=[1])
    >>> learned.action_values.tolist(), learned.policies.tolist()
    ([[[[-1.0, -2.0]]]], [[[0]]])
    """
    targets = _targets(episodes)
    step = _step_size(step_size)
    if visit not in VISITS:
        raise ValueError(f"visit must be one of {', '.join(VISITS)}, not {visit!r}")
    threads = default_threads() if threads is None else threads
    if min(threads, chunk_steps, safety_limit) < 1 or not len(seeds):
        raise ValueError("needs at least 1 seed, 1 thread, and limits of at least 1 step")
    keys = np.array([stream_key(seed) for seed in seeds], dtype=np.uint64)
    starts, greedy = start_table(ssp, start), _greedy_start(ssp, greedy_start)
    nodes, facts, cells = _learners(ssp, len(keys), initial_values, initial_policy)
    rows = pack_rows(ssp).reshape(-1)
    slots = (0,) * slots_for(ssp.branching)
    shape = (len(keys), len(targets), ssp.n_states, ssp.n_actions)
    values, policies = np.empty(shape), np.empty(shape[:3], dtype=np.int64)
    steps = np.empty(shape[:2], dtype=np.int64)
    counts = np.zeros((len(keys), 2), dtype=np.int64)

    def advance(group: tuple[int, int]) -> int:
        played: int = advance_group(
            rows,
            rows.view(np.float64),
            slots,
            starts.view(np.uint64),
            greedy,
            keys,
            group,
            (VISITS[visit], step),
            safety_limit,
            chunk_steps,
            nodes,
            facts,
            cells,
            targets,
            counts,
            values,
            policies,
            steps,
        )
        return played

    total, done = len(keys) * int(targets[-1]), 0
    groups = _groups(len(keys), threads)
    while groups:
        for played in _in_threads(advance, groups, threads):
            if played == TOO_LONG:
                raise RuntimeError(
                    f"an episode exceeded {safety_limit} steps: raise safety_limit, or check "
                    "that every loop has a fair chance of ending"
                )
            done += played
            if progress is not None:
                progress(done, total)
        groups = [group for group in groups if (counts[slice(*group), 0] < targets[-1]).any()]
    visits = cells[1::2].reshape(shape[0], *shape[2:]).astype(np.int64)
    return MonteCarloEsResult(values, policies, visits, steps)


def start_table(ssp: SSP, weights: ArrayLike | None) -> NDArray[np.void]:
    """Walker's alias table of the start distribution, `learners.COLUMN`[S * A].

    Raises:
        ValueError: unless `weights` are float[S, A], finite, not negative and not all 0.
    """
    start = np.ones(ssp.rewards.shape) if weights is None else np.array(weights, dtype=np.float64)
    if start.shape != ssp.rewards.shape:
        raise ValueError(f"start has shape {start.shape}, expected {ssp.rewards.shape}")
    if not np.isfinite(start).all() or (start < 0).any() or not start.any():
        raise ValueError("start weights must be finite, not negative, and not all 0")
    scaled = start.ravel() / start.max()
    columns = np.empty(scaled.size, COLUMN)
    fill_alias_table(scaled / scaled.mean(), columns)
    return columns


def _targets(episodes: Sequence[int]) -> IntArray:
    targets = np.array(episodes)
    if targets.ndim != 1 or not targets.size or not np.issubdtype(targets.dtype, np.integer):
        raise ValueError(f"episodes must be a non-empty sequence of integers, got {episodes!r}")
    if targets[0] < 1 or targets[-1] > MAX_EPISODES or (np.diff(targets) <= 0).any():
        raise ValueError(f"episodes must increase and lie in 1..2**32 - 1, got {episodes!r}")
    return targets.astype(np.int64)


def _step_size(step_size: float | None) -> float:
    """The constant step size, or 0 for running means."""
    if step_size is None:
        return 0.0
    if not 0 < step_size <= 1:
        raise ValueError(f"step_size must lie in (0, 1], got {step_size}")
    return float(step_size)


def _greedy_start(ssp: SSP, probability: float | None) -> np.uint64:
    """The probability as `learners.advance_group` takes it."""
    if probability is None:
        return AS_DRAWN
    if not 0 <= probability <= 1 or ssp.n_actions < 2:
        raise ValueError(
            f"greedy_start must lie in [0, 1] and needs 2 actions, got {probability} "
            f"and {ssp.n_actions}"
        )
    return np.uint64(round(probability * 2**DRAW_BITS))


def _learners(
    ssp: SSP, runs: int, initial_values: ArrayLike, initial_policy: ArrayLike | None
) -> tuple[NDArray[np.uint64], FloatArray, FloatArray]:
    """The learners before their first episode, as `learners.advance_group` keeps them."""
    q = np.array(initial_values, dtype=np.float64)
    if q.shape not in ((), ssp.rewards.shape):
        raise ValueError(f"initial_values have shape {q.shape}, expected {ssp.rewards.shape}")
    if not np.isfinite(q).all():
        raise ValueError("initial_values must be finite")
    q = np.broadcast_to(q, ssp.rewards.shape)
    policy = q.argmax(axis=1) if initial_policy is None else ssp.check_policy(initial_policy)
    states = np.arange(ssp.n_states)
    nodes = np.tile((states * ssp.n_actions + policy).astype(np.uint64), runs)
    facts = _empty_rows(runs * ssp.n_states, 2 * FACT_WORDS).view(np.float64)
    rest = np.broadcast_to(q, ssp.rewards.shape).copy()
    rest[states, policy] = -np.inf
    facts[:, 0] = np.tile(rest.max(axis=1), runs)
    facts[:, 1] = np.tile(q[states, policy], runs)
    cells = _empty_rows(runs, q.size * 4).view(np.float64)
    cells[:, ::2] = q.ravel()
    return nodes, facts.reshape(-1), cells.reshape(-1)


def _groups(runs: int, threads: int) -> list[tuple[int, int]]:
    """Equal ranges of learners that advance together, if possible some for every thread."""
    even = -(-runs // (LEARNERS * threads)) * threads
    count = min(runs, even)
    return [(runs * i // count, runs * (i + 1) // count) for i in range(count)]

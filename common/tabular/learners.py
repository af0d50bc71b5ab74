"""The inner loop of Monte-Carlo exploring starts, compiled by numba.

An episode is a chain of dependent operations, and a learner has to finish one before it knows
the policy of the next. So up to `LEARNERS` independent learners of one group advance in turn,
one environment step each, as the episodes of `lanes` do. Transitions are read from the packed
rows that are described there.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from common.tabular.lanes import (
    _DRAW_SHIFT,
    _INCREMENT,
    _MULTIPLIER,
    _ONE,
    _ZERO,
    LINE_WORDS,
    FloatArray,
    Words,
    _derive,
    _njit,
    _prefetch,
)
from common.tabular.streams import DRAW_BITS

# Learners that one thread advances in turn; more would crowd one another out of the cache.
LEARNERS = 8

INITIAL, FIRST, EVERY = 0, 1, 2
TOO_LONG = -1
# No probability, in units of 2^-31, to start with the greedy action: pairs start as drawn.
AS_DRAWN = np.uint64(1 << 32)

# Walker's table: column i holds pair i below the threshold, in units of 2^-31, and else `other`.
COLUMN = np.dtype([("threshold", np.uint32), ("other", np.uint32)])

_TWO = np.uint64(2)
_DRAW_BITS = np.uint64(DRAW_BITS)
_LOW, _HIGH = np.uint64(0xFFFFFFFF), np.uint64(32)
# A step of the trail is a pair and, in the upper half, its state; this bit is set if the pair
# occurred before in the same episode.
_REPEATED = np.uint64(1 << 63)
_STATE = np.uint64((1 << 31) - 1)

# Beside the policy a learner keeps three facts of a state, and a word of padding: the highest
# value of the pairs that it does not play; value and visits of the one that it plays, whose cell
# is out of date. An episode needs little else.
FACT_WORDS = 4
_RIVAL, _VALUE, _VISITS, _FACTS = (np.uint64(i) for i in (0, 1, 2, FACT_WORDS))

# Where a lane keeps what, in words of 64 bits: the state of the episode's random stream, the
# pair it is at, the places in the trail of its next step and of the first that is too many, its
# number from 1 (in the upper half), the learner's first node, the learner, and its next snapshot.
_STREAM, _AT, _NEXT, _STOP, _STAMP, _NODES, _RUN, _SNAPSHOT = (np.uint64(i) for i in range(8))
_LANE = np.uint64(8)
# Trails begin this many words after a multiple of 4096 bytes from one another, or the learners
# would compete for the same few places of the cache.
_STAGGER = 144

IntArray = NDArray[np.int64]
Longs = NDArray[np.uint64]
Records = NDArray[np.void]

# For what is called in every episode: it takes no references to the arrays that it is given, as
# counting them, in locked instructions, would cost a tenth of the time.
_borrowing: Callable[..., Any] = numba.njit(  # type: ignore[call-overload]
    nogil=True, cache=True, _nrt=False
)


@_njit
def fill_alias_table(scaled: FloatArray, columns: Records) -> None:
    """Walker's alias table by the method of Vose (1991, IEEE Trans. Softw. Eng. 17, 972).

    scaled: float64[n], weights with mean 1, overwritten. columns: COLUMN[n], receives the table.
    """
    n = len(scaled)
    small, large = np.empty(n, np.int64), np.empty(n, np.int64)
    n_small = n_large = 0
    # Rounding may leave columns without a partner. The likeliest pair serves them, so that
    # what has no weight is never drawn.
    columns["other"][:] = np.argmax(scaled)
    for i in range(n):
        if scaled[i] < 1.0:
            small[n_small] = i
            n_small += 1
        else:
            large[n_large] = i
            n_large += 1
    while n_small > 0 and n_large > 0:
        n_small -= 1
        i, donor = small[n_small], large[n_large - 1]
        columns[i].other = donor
        scaled[donor] -= 1.0 - scaled[i]
        if scaled[donor] < 1.0:
            n_large -= 1
            small[n_small] = donor
            n_small += 1
    for i in range(n):
        columns[i].threshold = np.uint32(np.rint(min(scaled[i], 1.0) * 2.0**DRAW_BITS))


@_borrowing
def _moved(value: float, total: float, visits: float, step_size: float) -> float:
    """The value after its `visits`-th return."""
    if step_size > 0.0:
        return value + step_size * (total - value)
    return value + (total - value) / visits


@_borrowing
def _save(
    nodes: Longs, facts: FloatArray, at: np.uint64, cells: FloatArray, base: np.uint64
) -> None:
    """Bring the cell of the pair played in a state up to date."""
    cell, fact = base + _TWO * (nodes[at] & _LOW), at * _FACTS
    cells[cell], cells[cell + _ONE] = facts[fact + _VALUE], facts[fact + _VISITS]


@_borrowing
def _highest(cells: FloatArray, row: np.uint64, n_actions: np.uint64, but: np.uint64) -> float:
    """The highest value in a state, leaving out the action `but`; without a branch to guess."""
    highest = -np.inf
    action = _ZERO
    while action < n_actions:
        value = -np.inf if action == but else cells[row + _TWO * action]
        highest = value if value > highest else highest
        action += _ONE
    return highest


@_borrowing
def _switch(
    nodes: Longs,
    facts: FloatArray,
    at: np.uint64,
    cells: FloatArray,
    base: np.uint64,
    first: np.uint64,
    n_actions: np.uint64,
) -> None:
    """Change the policy of a state to the best of the other actions, the lowest such."""
    _save(nodes, facts, at, cells, base)
    row, action, fact = base + _TWO * first, _ZERO, at * _FACTS
    while cells[row + _TWO * action] < facts[fact + _RIVAL]:
        action += _ONE
    cell = row + _TWO * action
    nodes[at] = (nodes[at] ^ (nodes[at] & _LOW)) | (first + action)
    facts[fact + _VALUE], facts[fact + _VISITS] = cells[cell], cells[cell + _ONE]
    facts[fact + _RIVAL] = _highest(cells, row, n_actions, action)


@_borrowing
def _learn(
    trail: Longs,
    steps: tuple[np.uint64, np.uint64],
    rewards: FloatArray,
    reward_place: tuple[np.uint64, np.uint64],
    rule: tuple[int, float],
    nodes: Longs,
    facts: FloatArray,
    first_node: np.uint64,
    cells: FloatArray,
    n_actions: np.uint64,
) -> None:
    """Walk back over an episode's steps in the trail, updating values and policy."""
    ignored = _REPEATED if rule[0] == FIRST else _ZERO
    initial = rule[0] == INITIAL
    base = _TWO * first_node * n_actions
    total = 0.0
    head, t = steps
    while t > head:
        t -= _ONE
        step = trail[t]
        pair = step & _LOW
        total += rewards[pair * reward_place[0] + reward_place[1]]
        if step & ignored or (initial and t > head):
            continue
        state = (step >> _HIGH) & _STATE
        at, first = first_node + state, state * n_actions
        fact = at * _FACTS
        played = nodes[at] & _LOW
        if pair == played:
            visits = facts[fact + _VISITS] + 1.0
            facts[fact + _VALUE] = _moved(facts[fact + _VALUE], total, visits, rule[1])
            facts[fact + _VISITS] = visits
        else:
            cell = base + _TWO * pair
            visits = cells[cell + _ONE] + 1.0
            cells[cell] = _moved(cells[cell], total, visits, rule[1])
            cells[cell + _ONE] = visits
            row = base + _TWO * first
            facts[fact + _RIVAL] = _highest(cells, row, n_actions, played - first)
        if facts[fact + _VALUE] < facts[fact + _RIVAL]:
            _switch(nodes, facts, at, cells, base, first, n_actions)


@_njit
def _take_snapshot(
    nodes: Longs,
    facts: FloatArray,
    cells: FloatArray,
    run: int,
    values: FloatArray,
    policy: IntArray,
) -> None:
    n_states, n_actions = values.shape
    base = run * n_states * n_actions * 2
    for s in range(n_states):
        at = run * n_states + s
        _save(nodes, facts, np.uint64(at), cells, np.uint64(base))
        policy[s] = np.int64(nodes[at] & _LOW) - s * n_actions
        for a in range(n_actions):
            values[s, a] = cells[base + 2 * (s * n_actions + a)]


@_borrowing
def _begin(
    lanes: Longs,
    own: np.uint64,
    head: np.uint64,
    key: np.uint64,
    episode: int,
    starts: Longs,
    greedy_start: np.uint64,
    n_actions: np.uint64,
    trail: Longs,
    nodes: Longs,
) -> None:
    """Draw the pair that starts the episode and note it as the first step of the trail."""
    column_draw = _derive(key, np.uint64(episode)) * _MULTIPLIER + _INCREMENT
    column = ((column_draw >> _DRAW_SHIFT) * np.uint64(len(starts))) >> _DRAW_BITS
    last_draw = column_draw * _MULTIPLIER + _INCREMENT
    threshold, other = starts[column] & _LOW, starts[column] >> _HIGH
    pair = column if last_draw >> _DRAW_SHIFT < threshold else other
    stamp, state = np.uint64(episode + 1) << _HIGH, pair // n_actions
    at = lanes[own + _NODES] + state
    if greedy_start != AS_DRAWN:  # keep the state only, and choose the action anew
        pair = nodes[at] & _LOW
        last_draw = last_draw * _MULTIPLIER + _INCREMENT
        if last_draw >> _DRAW_SHIFT >= greedy_start:
            last_draw = last_draw * _MULTIPLIER + _INCREMENT
            further = ((last_draw >> _DRAW_SHIFT) * (n_actions - _ONE)) >> _DRAW_BITS
            pair = state * n_actions + (pair + further + _ONE) % n_actions
    # No other pair than the one that the policy plays can occur again.
    nodes[at] = pair | stamp if nodes[at] & _LOW == pair else nodes[at]
    lanes[own + _STREAM], lanes[own + _AT] = last_draw, pair
    lanes[own + _NEXT], lanes[own + _STAMP] = head + _ONE, stamp
    trail[head] = state << _HIGH | pair


@_njit
def advance_group(
    words: Words,
    rewards: FloatArray,
    slots: tuple[int, ...],
    starts: Longs,
    greedy_start: np.uint64,
    keys: Longs,
    group: tuple[int, int],
    rule: tuple[int, float],
    limit: int,
    budget: int,
    nodes: Longs,
    facts: FloatArray,
    cells: FloatArray,
    targets: IntArray,
    counts: IntArray,
    values: FloatArray,
    policies: IntArray,
    steps: IntArray,
) -> int:
    """Play whole episodes with the learners group[0] .. group[1] - 1, for about `budget` steps.

    words, rewards: uint32 and float64 views of the packed rows of all pairs. slots: as for
    `lanes.simulate_batch`. starts: COLUMN[S * A] viewed as uint64. greedy_start: probability in
    units of 2^-31, or AS_DRAWN. keys: uint64[runs]. rule: (INITIAL, FIRST or EVERY; constant step
    size, or 0 for running means). nodes: uint64[runs *
    S], the pair that the policy plays and, in the upper half, the number (from 1) of the last
    episode that came by. facts: float64[runs * S * FACT_WORDS]. cells: float64[runs * S * A *
    2], values and numbers of visits; up to date at a learner's snapshots. targets:
    int64[snapshots], increasing numbers of episodes. counts: int64[runs, 2], episodes
    and steps played so far. values: float64[runs, snapshots, S, A], policies: int64[runs,
    snapshots, S] and steps: int64[runs, snapshots] receive the snapshots.

    Returns the number of episodes played, or `TOO_LONG` if one exceeded `limit` steps.
    """
    n_states, n_actions = values.shape[2], np.uint64(values.shape[3])
    n_slots = np.uint64(len(slots))
    width = np.uint64((2 * len(slots) + 2 + LINE_WORDS - 1) // LINE_WORDS * LINE_WORDS)
    reward_place = width >> _ONE, (width >> _ONE) - _ONE
    longest = np.uint64(limit)
    # Memory that no episode reaches is never touched, and so is never really taken.
    room = -(-limit // 512) * 512 + _STAGGER
    trail = np.empty((group[1] - group[0]) * room, np.uint64)
    lanes = np.empty((group[1] - group[0]) * _LANE, np.uint64)
    end, walked, played = _ZERO, _ZERO, 0
    for run in range(group[0], group[1]):
        if counts[run, 0] < targets[-1]:
            head = np.uint64((run - group[0]) * room)
            lanes[end + _STOP], lanes[end + _RUN] = head + longest, np.uint64(run)
            lanes[end + _NODES] = np.uint64(run * n_states)
            lanes[end + _SNAPSHOT] = np.uint64(np.searchsorted(targets, counts[run, 0] + 1))
            episodes = counts[run, 0]
            _begin(
                lanes, end, head, keys[run], episodes, starts, greedy_start, n_actions, trail, nodes
            )
            end += _LANE
    while end > _ZERO:
        own = _ZERO
        while own < end:
            fresh = lanes[own + _STREAM] * _MULTIPLIER + _INCREMENT
            lanes[own + _STREAM] = fresh
            draw = np.uint32(fresh >> _DRAW_SHIFT)
            here = lanes[own + _AT] * width
            following = lanes[own + _NEXT]
            place = _ZERO
            for j in range(len(slots)):
                place += np.uint64(words[here + np.uint64(j)] <= draw)
            if place < n_slots:
                if following >= lanes[own + _STOP]:
                    return TOO_LONG
                state = np.uint64(words[here + n_slots + place])
                at = lanes[own + _NODES] + state
                node = nodes[at]
                pair = node & _LOW
                _prefetch(words, pair * width)
                _prefetch(facts, at * _FACTS)
                marked = pair | lanes[own + _STAMP]
                nodes[at] = marked
                repeated = _REPEATED if marked == node else _ZERO
                trail[following] = pair | state << _HIGH | repeated
                lanes[own + _AT], lanes[own + _NEXT] = pair, following + _ONE
                own += _LANE
                continue
            head, first_node = lanes[own + _STOP] - longest, lanes[own + _NODES]
            _learn(
                trail, (head, following), rewards, reward_place, rule,
                nodes, facts, first_node, cells, n_actions,
            )  # fmt: skip
            run, snapshot = int(lanes[own + _RUN]), lanes[own + _SNAPSHOT]
            length = following - head
            played += 1
            walked += length
            counts[run, 0] += 1
            counts[run, 1] += np.int64(length)
            episodes = counts[run, 0]
            if targets[snapshot] == episodes:
                steps[run, snapshot] = counts[run, 1]
                _take_snapshot(
                    nodes, facts, cells, run, values[run, snapshot], policies[run, snapshot]
                )
                lanes[own + _SNAPSHOT] = snapshot + _ONE
            if episodes < targets[-1] and walked < np.uint64(budget):
                _begin(
                    lanes,
                    own,
                    head,
                    keys[run],
                    episodes,
                    starts,
                    greedy_start,
                    n_actions,
                    trail,
                    nodes,
                )
                _prefetch(words, lanes[own + _AT] * width)
                _prefetch(cells, _TWO * (first_node * n_actions + lanes[own + _AT]))
                own += _LANE
            else:
                end -= _LANE
                lanes[own : own + _LANE] = lanes[end : end + _LANE]
    return played

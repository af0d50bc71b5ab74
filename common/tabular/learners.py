"""The inner loop of Monte-Carlo exploring starts, compiled by numba.

An episode is a chain of dependent operations, and a learner has to finish one before it knows
the policy of the next. So up to `LEARNERS` independent learners of one group advance in turn,
one environment step each, as the episodes of `lanes` do. Transitions are read from the packed
rows that are described there.
"""

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
)
from common.tabular.streams import DRAW_BITS

# Learners that one thread advances in turn; more would crowd one another out of the cache.
LEARNERS = 4

INITIAL, FIRST, EVERY = 0, 1, 2
TOO_LONG = -1

# Walker's table: column i holds pair i below the threshold, in units of 2^-31, and else `other`.
COLUMN = np.dtype([("threshold", np.uint32), ("other", np.uint32)])

_TWO = np.uint64(2)
_DRAW_BITS = np.uint64(DRAW_BITS)
_LOW, _HIGH = np.uint64(0xFFFFFFFF), np.uint64(32)
# Set in a step of the trail whose pair occurred before in the same episode.
_REPEATED = np.uint64(1 << 63)
_STATE = np.uint64((1 << 31) - 1)

# Where a lane keeps what, in words of 64 bits: the state of the episode's random stream, the
# pair it is at, the places in the trail of its first and next step, the pair it started with,
# its number from 1 (in the upper half), the learner and the learner's first node.
_STREAM, _AT, _HEAD, _NEXT, _START, _STAMP, _RUN, _NODES = (np.uint64(i) for i in range(8))
_LANE = np.uint64(8)
# Trails begin this many words after a multiple of 4096 bytes from one another, or the learners
# would compete for the same few places of the cache.
_STAGGER = 144

IntArray = NDArray[np.int64]
Longs = NDArray[np.uint64]
Records = NDArray[np.void]


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


@_njit
def _learn(
    trail: Longs,
    returns: FloatArray,
    head: np.uint64,
    stop: np.uint64,
    rule: tuple[int, float],
    nodes: Longs,
    node_base: np.uint64,
    cells: FloatArray,
    n_actions: np.uint64,
) -> None:
    """Walk back over an episode's steps in the trail, updating values and policy."""
    ignored = _REPEATED if rule[0] == FIRST else _ZERO
    initial = rule[0] == INITIAL
    cell_base = node_base * n_actions
    total = 0.0
    t = stop
    while t > head:
        t -= _TWO
        total += returns[t + _ONE]
        step = trail[t]
        if step & ignored or (initial and t > head):
            continue
        state = (step >> _HIGH) & _STATE
        cell = _TWO * (cell_base + (step & _LOW))
        visits = cells[cell + _ONE] + 1.0
        cells[cell + _ONE] = visits
        if rule[1] > 0.0:
            cells[cell] += rule[1] * (total - cells[cell])
        else:
            cells[cell] += (total - cells[cell]) / visits
        node = nodes[node_base + state]
        row = _TWO * (cell_base + state * n_actions)
        current = cells[_TWO * (cell_base + (node & _LOW))]
        best = current
        for a in range(n_actions):
            other = cells[row + _TWO * a]
            best = other if other > best else best
        if best > current:
            action = _ZERO
            while cells[row + _TWO * action] < best:
                action += _ONE
            nodes[node_base + state] = (node ^ (node & _LOW)) | (state * n_actions + action)


@_njit
def _take_snapshot(
    nodes: Longs, cells: FloatArray, run: int, values: FloatArray, policy: IntArray
) -> None:
    n_states, n_actions = values.shape
    for s in range(n_states):
        policy[s] = np.int64(nodes[run * n_states + s] & _LOW) - s * n_actions
        for a in range(n_actions):
            values[s, a] = cells[2 * ((run * n_states + s) * n_actions + a)]


@_njit
def _begin(
    lanes: Longs,
    own: np.uint64,
    key: np.uint64,
    episode: int,
    starts: Longs,
    n_actions: np.uint64,
    trail: Longs,
) -> None:
    """Draw the pair that starts the episode and note it as the first step of the trail."""
    column_draw = _derive(key, np.uint64(episode)) * _MULTIPLIER + _INCREMENT
    column = ((column_draw >> _DRAW_SHIFT) * np.uint64(len(starts))) >> _DRAW_BITS
    height_draw = column_draw * _MULTIPLIER + _INCREMENT
    threshold, other = starts[column] & _LOW, starts[column] >> _HIGH
    pair = column if height_draw >> _DRAW_SHIFT < threshold else other
    head = lanes[own + _HEAD]
    lanes[own + _STREAM], lanes[own + _AT], lanes[own + _START] = height_draw, pair, pair
    lanes[own + _NEXT], lanes[own + _STAMP] = head, np.uint64(episode + 1) << _HIGH
    trail[head] = (pair // n_actions) << _HIGH | pair


@_njit
def advance_group(
    words: Words,
    rewards: Longs,
    slots: tuple[int, ...],
    starts: Longs,
    keys: Longs,
    group: tuple[int, int],
    rule: tuple[int, float],
    limit: int,
    budget: int,
    nodes: Longs,
    cells: FloatArray,
    targets: IntArray,
    counts: IntArray,
    values: FloatArray,
    policies: IntArray,
    steps: IntArray,
) -> int:
    """Play whole episodes with the learners group[0] .. group[1] - 1, for about `budget` steps.

    words, rewards: uint32 and uint64 views of the packed rows of all pairs. slots: as for
    `lanes.simulate_batch`. starts: COLUMN[S * A] viewed as uint64. keys: uint64[runs]. rule:
    (INITIAL, FIRST or EVERY; constant step size, or 0 for running means). nodes: uint64[runs *
    S], the pair that the policy plays and, in the upper half, the number (from 1) of the last
    episode that came by. cells: float64[runs * S * A * 2], values and numbers of visits.
    targets: int64[snapshots], increasing numbers of episodes. counts: int64[runs, 2], episodes
    and steps played so far. values: float64[runs, snapshots, S, A], policies: int64[runs,
    snapshots, S] and steps: int64[runs, snapshots] receive the snapshots.

    Returns the number of episodes played, or `TOO_LONG` if one exceeded `limit` steps.
    """
    n_states, n_actions = values.shape[2], np.uint64(values.shape[3])
    n_slots = np.uint64(len(slots))
    width = np.uint64((2 * len(slots) + 2 + LINE_WORDS - 1) // LINE_WORDS * LINE_WORDS)
    reward_place = (width >> _ONE) - _ONE
    longest = _TWO * np.uint64(limit)
    # Memory that no episode reaches is never touched, and so is never really taken.
    room = -(-limit // 256) * 512 + _STAGGER
    trail = np.empty((group[1] - group[0]) * room, np.uint64)
    returns = trail.view(np.float64)
    lanes = np.empty((group[1] - group[0]) * _LANE, np.uint64)
    end, walked, played = _ZERO, _ZERO, 0
    for run in range(group[0], group[1]):
        if counts[run, 0] < targets[-1]:
            lanes[end + _HEAD] = np.uint64((run - group[0]) * room)
            lanes[end + _RUN], lanes[end + _NODES] = np.uint64(run), np.uint64(run * n_states)
            _begin(lanes, end, keys[run], counts[run, 0], starts, n_actions, trail)
            end += _LANE
    while end > _ZERO:
        own = _ZERO
        while own < end:
            fresh = lanes[own + _STREAM] * _MULTIPLIER + _INCREMENT
            lanes[own + _STREAM] = fresh
            draw = np.uint32(fresh >> _DRAW_SHIFT)
            here = lanes[own + _AT] * width
            following = lanes[own + _NEXT] + _TWO
            trail[following - _ONE] = rewards[(here >> _ONE) + reward_place]
            place = _ZERO
            for j in range(len(slots)):
                place += np.uint64(words[here + np.uint64(j)] <= draw)
            if place < n_slots:
                if following - lanes[own + _HEAD] >= longest:
                    return TOO_LONG
                state = np.uint64(words[here + n_slots + place])
                at = lanes[own + _NODES] + state
                node = nodes[at]
                pair = node & _LOW
                marked = pair | lanes[own + _STAMP]
                nodes[at] = marked
                repeated = (marked == node) | (pair == lanes[own + _START])
                trail[following] = pair | state << _HIGH | (_REPEATED if repeated else _ZERO)
                lanes[own + _AT], lanes[own + _NEXT] = pair, following
                own += _LANE
                continue
            head, base = lanes[own + _HEAD], lanes[own + _NODES]
            _learn(trail, returns, head, following, rule, nodes, base, cells, n_actions)
            run = int(lanes[own + _RUN])
            played += 1
            walked += (following - head) // _TWO
            counts[run, 0] += 1
            counts[run, 1] += np.int64((following - head) // _TWO)
            episodes = counts[run, 0]
            snapshot = np.searchsorted(targets, episodes)
            if targets[snapshot] == episodes:
                steps[run, snapshot] = counts[run, 1]
                _take_snapshot(nodes, cells, run, values[run, snapshot], policies[run, snapshot])
            if episodes < targets[-1] and walked < np.uint64(budget):
                _begin(lanes, own, keys[run], episodes, starts, n_actions, trail)
                own += _LANE
            else:
                end -= _LANE
                lanes[own : own + _LANE] = lanes[end : end + _LANE]
    return played

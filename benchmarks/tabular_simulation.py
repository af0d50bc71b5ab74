"""Episodes per second of the Monte-Carlo simulator, against the plain way, numpy and C.

Every way estimates the action values of one policy from every state-action pair of a random
problem. The ways take turns; rates and ratios are medians over these turns. The C program
(benchmarks/lanes.c) plays the same episodes and has to return the same sums.

    python -m benchmarks.tabular_simulation --states 100 10000 --growth
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import subprocess
import tempfile
import time
from bisect import bisect_right
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

import numpy as np

from common.tabular.environments import garnet
from common.tabular.lanes import slots_for
from common.tabular.simulate import SAFETY_LIMIT, Simulator
from common.tabular.ssp import SSP
from common.tabular.streams import stream_key

# Enough side by side to make numpy's overhead per call negligible, few enough for the cache.
LOCKSTEP_EPISODES = 10_000


Work = Callable[[int], int]  # from episodes per pair to what was done: episodes, or steps


def lasting(work: Work, seconds: float) -> int:
    """Episodes per pair for which `work` takes about `seconds`, found by trying it out."""
    work(1)  # compile
    episodes = 1
    while True:
        started = time.perf_counter()
        work(episodes)
        took = time.perf_counter() - started
        if took > seconds / 4:
            return max(1, round(episodes * seconds / took))
        episodes = max(episodes * 2, int(episodes * seconds / 3 / max(took, 1e-4)))


def rates(ways: list[Work], seconds: float, repeats: int) -> np.ndarray:
    """float64[repeats, ways]: what is done per second, the ways taking turns."""
    episodes = [lasting(work, seconds) for work in ways]
    measured = np.empty((repeats, len(ways)))
    for turn, way in np.ndindex(measured.shape):
        started = time.perf_counter()
        done = ways[way](episodes[way])
        measured[turn, way] = done / (time.perf_counter() - started)
    return measured


def plain_loop(ssp: SSP, policy: np.ndarray) -> Work:
    """The obvious way: one episode after another, on lists; at most 20,000 pairs are played."""
    edges = np.cumsum(ssp.probabilities, axis=2).tolist()
    successors, rewards, actions = ssp.successors.tolist(), ssp.rewards.tolist(), policy.tolist()
    pairs = [(s, a) for s in range(ssp.n_states) for a in range(ssp.n_actions)][:20_000]
    uniform = Random(0).random

    def work(episodes: int) -> int:
        for s, a in pairs:
            for _ in range(episodes):
                state, action, total = s, a, 0.0
                while True:
                    total += rewards[state][action]
                    place = bisect_right(edges[state][action], uniform())
                    if place == len(edges[state][action]):
                        break
                    state = successors[state][action][place]
                    action = actions[state]
        return len(pairs) * episodes

    return work


def lockstep(ssp: SSP, policy: np.ndarray) -> Work:
    """All episodes side by side in numpy; those that ended drop out."""
    edges = np.cumsum(ssp.probabilities, axis=2)
    pairs = np.indices(ssp.rewards.shape).reshape(2, -1)
    rng = np.random.default_rng(0)

    def work(episodes: int) -> int:
        at_once = max(1, LOCKSTEP_EPISODES // pairs.shape[1])
        for first in range(0, episodes, at_once):
            state, action = np.tile(pairs, min(at_once, episodes - first))
            total, alive = np.zeros(state.size), np.arange(state.size)
            while alive.size:
                total[alive] += ssp.rewards[state, action]
                draws = rng.random(alive.size)[:, None]
                place = (edges[state, action] <= draws).sum(axis=1)
                goes_on = place < ssp.branching
                alive = alive[goes_on]
                state = ssp.successors[state[goes_on], action[goes_on], place[goes_on]]
                action = policy[state]
        return pairs.shape[1] * episodes

    return work


def ours(ssp: SSP, policy: np.ndarray, threads: int, *, count_steps: bool = False) -> Work:
    """`common.tabular.simulate`."""
    simulator = Simulator(ssp, threads=threads)

    def work(episodes: int) -> int:
        estimates = simulator.action_values(policy[None], [stream_key(0)], episodes)
        return int(estimates.steps[0]) if count_steps else ssp.rewards.size * episodes

    return work


@cache
def c_library(slots: int) -> ctypes.CDLL | None:
    """benchmarks/lanes.c for rows with `slots` places, or None where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    source = Path(__file__).with_name("lanes.c")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "lanes.so"
        options = ["-O3", "-march=native", "-shared", "-fPIC", f"-DSLOTS={slots}"]
        subprocess.run([compiler, *options, "-o", str(target), str(source)], check=True)
        library = ctypes.CDLL(str(target))
    number, pointer = ctypes.c_int64, ctypes.c_void_p
    library.simulate.argtypes = [pointer, ctypes.c_uint64, *[number] * 3, pointer, pointer]
    library.simulate.restype = number
    return library


def in_c(ssp: SSP, policy: np.ndarray) -> Work | None:
    """The same in C on one thread, once it has returned the same as ours."""
    library = c_library(slots_for(ssp.branching))
    if library is None:
        return None
    simulator = Simulator(ssp, threads=1)
    rows = simulator._rows_for(policy[None])

    def simulate(episodes: int) -> tuple[np.ndarray, int]:
        sums, squares = np.zeros((2, ssp.rewards.size))
        steps = library.simulate(
            rows.ctypes.data, stream_key(0), ssp.rewards.size, episodes, SAFETY_LIMIT,
            sums.ctypes.data, squares.ctypes.data,
        )  # fmt: skip
        return ssp.rewards + (sums / episodes).reshape(ssp.rewards.shape), steps

    estimates = simulator.action_values(policy[None], [stream_key(0)], 7)
    values, steps = simulate(7)
    assert np.array_equal(values, estimates.values[0]), "C and ours disagree"
    assert steps == estimates.steps[0], "C and ours disagree about the steps"

    def work(episodes: int) -> int:
        simulate(episodes)
        return ssp.rewards.size * episodes

    return work


def compare(n_states: int, n_actions: int, length: float, seconds: float, repeats: int) -> None:
    """Print one row: the rates of all ways, and ratios of ours."""
    print(f"{n_states:7} ", end="", flush=True)
    ssp = garnet(n_states, n_actions, length, seed=0)
    policy = np.zeros(n_states, dtype=np.int64)
    compiled = in_c(ssp, policy)
    ways = [plain_loop(ssp, policy), lockstep(ssp, policy)]
    ways += [ours(ssp, policy, threads) for threads in (1, 2)]
    measured = rates(ways + ([compiled] if compiled else []), seconds, repeats)
    python, numpy, one, two = measured[:, :4].T
    c = measured[:, 4] if compiled else None
    shown = [f"{np.median(column):9.3g}" for column in (python, numpy)]
    shown += ["        -" if c is None else f"{np.median(c):9.3g}"]
    shown += [f"{np.median(column):9.3g}" for column in (one, two)]
    shown += [f"{np.median(two / other):8.0f}x" for other in (python, numpy)]
    shown += ["        -" if c is None else f"{np.median(one / c):8.2f}x"]
    print(" ".join(shown), flush=True)


def growth(seconds: float, repeats: int) -> None:
    """Print the cost of one step of our simulator, one property of the problem varied at a time."""
    threads = [n for n in (1, 2, 4) if n <= (os.cpu_count() or 1)]
    problems = [(n_states, 4, 20.0) for n_states in (100, 1000, 10_000, 100_000)]
    problems += [(1000, n_actions, 20.0) for n_actions in (2, 16, 64)]
    problems += [(1000, 4, length) for length in (2.0, 5.0, 100.0, 1000.0)]
    print("\nns per step  S       A       K" + "".join(f"{n:4} thread(s)" for n in threads))
    for n_states, n_actions, length in problems:
        print(f"{n_states:14} {n_actions:7} {length:7g}", end="", flush=True)
        ssp = garnet(n_states, n_actions, length, seed=0)
        policy = np.zeros(n_states, dtype=np.int64)
        ways = [ours(ssp, policy, n, count_steps=True) for n in threads]
        for cost in np.median(1e9 / rates(ways, seconds, repeats), axis=0):
            print(f"{cost:14.2f}", end="")
        print(flush=True)


def main() -> None:
    """Parse the command line and print one row per problem."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--states", type=int, nargs="+", default=[100, 1000, 10_000, 100_000])
    parser.add_argument("--actions", type=int, default=4)
    parser.add_argument("--length", type=float, default=20.0, help="mean episode length, steps")
    parser.add_argument("--seconds", type=float, default=0.4, help="of one turn")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each way")
    parser.add_argument("--growth", action="store_true", help="also how the cost of a step grows")
    arguments = parser.parse_args()
    columns = ["python", "numpy", "C", "ours", "2 threads", "2/python", "2/numpy", "ours/C"]
    print("episodes/s; ours and C on one thread\n states " + " ".join(f"{c:>9}" for c in columns))
    for n_states in arguments.states:
        compare(n_states, arguments.actions, arguments.length, arguments.seconds, arguments.repeats)
    if arguments.growth:
        growth(arguments.seconds / 4, arguments.repeats)


if __name__ == "__main__":
    main()

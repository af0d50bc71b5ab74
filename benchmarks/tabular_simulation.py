"""Episodes per second of the Monte-Carlo simulator, against the plain way and vectorised numpy.

Every way estimates the action values of one policy from every state-action pair of a random
problem with episodes of about 20 steps; rates are medians over repeats in one run.

    python -m benchmarks.tabular_simulation --states 100 1000 10000
"""

from __future__ import annotations

import argparse
import statistics
import time
from bisect import bisect_right
from collections.abc import Callable
from random import Random

import numpy as np

from common.tabular.environments import garnet
from common.tabular.simulate import Simulator
from common.tabular.ssp import SSP
from common.tabular.streams import stream_key

# Enough side by side to make numpy's overhead per call negligible, few enough for the cache.
LOCKSTEP_EPISODES = 10_000


def rate(work: Callable[[int], int], seconds: float, repeats: int) -> float:
    """Median episodes per second of `work(episodes per pair)`, each repeat about `seconds` long."""
    episodes = 1
    while True:  # find a size that lasts
        started = time.perf_counter()
        work(episodes)
        took = time.perf_counter() - started
        if took > seconds / 3:
            break
        episodes = max(episodes * 2, int(episodes * seconds / 3 / max(took, 1e-4)))
    rates = []
    for _ in range(repeats):
        started = time.perf_counter()
        done = work(episodes)
        rates.append(done / (time.perf_counter() - started))
    return statistics.median(rates)


def plain_loop(ssp: SSP, policy: np.ndarray) -> Callable[[int], int]:
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


def lockstep(ssp: SSP, policy: np.ndarray) -> Callable[[int], int]:
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


def ours(ssp: SSP, policy: np.ndarray, threads: int) -> Callable[[int], int]:
    """`common.tabular.simulate`."""
    simulator = Simulator(ssp, threads=threads)

    def work(episodes: int) -> int:
        simulator.action_values(policy[None], [stream_key(0)], episodes)
        return ssp.rewards.size * episodes

    return work


def main() -> None:
    """Parse the command line and print one row per problem size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--states", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--actions", type=int, default=4)
    parser.add_argument("--length", type=float, default=20.0, help="mean episode length, steps")
    parser.add_argument("--seconds", type=float, default=1.0, help="of one repeat")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    print("episodes/s  states  python   numpy  ours, 1 thread  2 threads  / python  / numpy")
    for n_states in arguments.states:
        ssp = garnet(n_states, arguments.actions, arguments.length, seed=0)
        policy = np.zeros(n_states, dtype=np.int64)
        ways = [plain_loop(ssp, policy), lockstep(ssp, policy)]
        ways += [ours(ssp, policy, threads) for threads in (1, 2)]
        ways[2](1)  # compile
        rates = [rate(way, arguments.seconds, arguments.repeats) for way in ways]
        print(
            f"{'':10} {n_states:7} {rates[0]:7.2g} {rates[1]:7.2g} {rates[2]:15.3g} "
            f"{rates[3]:10.3g} {rates[3] / rates[0]:8.0f}x {rates[3] / rates[1]:7.0f}x"
        )


if __name__ == "__main__":
    main()

"""Episodes per second of Monte-Carlo exploring starts, against a plain loop and the simulator.

First-visit learners with running means on a random problem with episodes of about 20 steps. The
simulator, which plays episodes of a fixed policy and learns nothing, shows what is left to gain.
Rates are medians over repeats in one run.

    python -m benchmarks.exploring_starts --states 100 1000 10000
"""

from __future__ import annotations

import argparse
from bisect import bisect_right
from collections.abc import Callable
from random import Random

import numpy as np

from benchmarks.tabular_simulation import ours as simulator
from benchmarks.tabular_simulation import rates
from common.tabular.environments import garnet
from common.tabular.exploring_starts import monte_carlo_es
from common.tabular.ssp import SSP


def plain_loop(ssp: SSP) -> Callable[[int], int]:
    """The obvious way: one learner on lists."""
    edges = np.cumsum(ssp.probabilities, axis=2).tolist()
    successors, rewards = ssp.successors.tolist(), ssp.rewards.tolist()
    random = Random(0)

    def work(episodes: int) -> int:
        values = [[0.0] * ssp.n_actions for _ in range(ssp.n_states)]
        visits = [[0] * ssp.n_actions for _ in range(ssp.n_states)]
        policy = [0] * ssp.n_states
        for _ in range(episodes):
            state, action = random.randrange(ssp.n_states), random.randrange(ssp.n_actions)
            path = []
            seen = set()
            while True:
                path.append((state, action, (state, action) not in seen))
                seen.add((state, action))
                place = bisect_right(edges[state][action], random.random())
                if place == ssp.branching:
                    break
                state = successors[state][action][place]
                action = policy[state]
            total = 0.0
            for state, action, first in reversed(path):
                total += rewards[state][action]
                if first:
                    row = values[state]
                    visits[state][action] += 1
                    row[action] += (total - row[action]) / visits[state][action]
                    best = max(row)
                    if row[policy[state]] < best:
                        policy[state] = row.index(best)
        return episodes

    return work


def learners(ssp: SSP, runs: int, threads: int) -> Callable[[int], int]:
    """`common.tabular.exploring_starts`."""

    def work(episodes: int) -> int:
        monte_carlo_es(ssp, [episodes], range(runs), threads=threads)
        return runs * episodes

    return work


def main() -> None:
    """Parse the command line and print one row per problem size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--states", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--actions", type=int, default=4)
    parser.add_argument("--length", type=float, default=20.0, help="mean episode length, steps")
    parser.add_argument("--seconds", type=float, default=0.5, help="of one repeat")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    small = garnet(5, arguments.actions, arguments.length, seed=0)
    learners(small, 1, 1)(1)  # compile
    simulator(small, np.zeros(5, dtype=np.int64), 1)(1)
    print("            python  1 learner  16 learners  32 learners     simulator    1 learner /")
    print("states              1 thread     1 thread    2 threads   1 thread  2       python")
    for n_states in arguments.states:
        ssp = garnet(n_states, arguments.actions, arguments.length, seed=0)
        policy = np.zeros(n_states, dtype=np.int64)
        ways = [plain_loop(ssp), *(learners(ssp, *size) for size in ((1, 1), (16, 1), (32, 2)))]
        ways += [simulator(ssp, policy, threads) for threads in (1, 2)]
        median = np.median(rates(ways, arguments.seconds, arguments.repeats), axis=0)
        print(
            f"{n_states:6} {median[0]:11.2g} {median[1]:10.3g} {median[2]:12.3g} {median[3]:12.3g} "
            f"{median[4]:10.3g} {median[5]:7.3g} {median[1] / median[0]:8.0f}x"
        )


if __name__ == "__main__":
    main()

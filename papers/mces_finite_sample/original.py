"""The original Monte-Carlo exploring starts on Blackjack and the cliff walk."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from common.tabular.classic import ClassicProblem, blackjack, cliff_walking
from common.tabular.exact import VALUE_TOLERANCE, policy_iteration, return_variance
from common.tabular.exploring_starts import MonteCarloEsResult, Visit, monte_carlo_es
from common.tabular.outcomes import decision_gaps
from common.tabular.ssp import FloatArray, IntArray

ENVIRONMENTS: dict[str, Callable[[], ClassicProblem]] = {
    "blackjack": blackjack,
    "cliff_walking": cliff_walking,
}


def snapshots(episodes: int) -> list[int]:
    """Numbers of episodes up to the last one, two to the octave over nine octaves."""
    return sorted({max(1, round(episodes * 2 ** (-k / 2))) for k in range(19)})


def clear_gap(problem: ClassicProblem, episodes: int) -> float:
    """The action gap that `episodes` uniform starts can be expected to resolve.

    Four standard errors of the difference of two means, each over the episodes that start with
    its pair, with the largest standard deviation of a return under an optimal policy.
    """
    best = policy_iteration(problem.ssp).policy
    deviation = math.sqrt(return_variance(problem.ssp, best)[: problem.n_decision_states].max())
    starts_per_pair = episodes / np.count_nonzero(problem.start)
    return 4 * deviation * math.sqrt(2 / starts_per_pair)


def error_curves(
    environment: str, visit: Visit, seeds: Iterable[int], episodes: int
) -> pd.DataFrame:
    """How far the learned values are from Q*, one row per seed and snapshot.

    `max_error` is over all pairs in which episodes start.
    """
    problem = ENVIRONMENTS[environment]()
    seeds = tuple(seeds)
    learned = _learned(environment, visit, seeds, episodes)
    error = np.abs(learned.action_values - policy_iteration(problem.ssp).action_values)
    error = error[:, :, problem.start > 0]
    rows = [
        {
            "seed": seed,
            "episodes": count,
            "max_error": error[run, place].max(),
        }
        for run, seed in enumerate(seeds)
        for place, count in enumerate(snapshots(episodes))
    ]
    return pd.DataFrame(rows).assign(environment=environment, visit=visit)


def greedy_actions(
    environment: str, visit: Visit, seeds: Iterable[int], episodes: int
) -> pd.DataFrame:
    """The greedy action of every state after the last episode, one row per seed and state.

    `loss` is v*(s) - Q*(s, action), `gap` what separates the two best actions of the state.
    `right` is 0 where the gap is clear (`clear_gap`) and the action is not optimal, else 1.
    """
    problem = ENVIRONMENTS[environment]()
    seeds = tuple(seeds)
    greedy = _learned(environment, visit, seeds, episodes).policies[:, -1]
    q = policy_iteration(problem.ssp).action_values
    started = np.flatnonzero(problem.start.any(axis=1))
    gap = decision_gaps(problem)[started]
    clear = gap > clear_gap(problem, episodes)
    parts = []
    for run, seed in enumerate(seeds):
        action = greedy[run, started]
        loss = q[started].max(axis=1) - q[started, action]
        right = ~clear | (loss <= VALUE_TOLERANCE)
        part = {"seed": seed, "state": started, "action": action, "gap": gap, "clear": clear}
        parts.append(pd.DataFrame(part | {"loss": loss, "right": right.astype(int)}))
    return pd.concat(parts).assign(environment=environment, visit=visit)


def areas(curves: pd.DataFrame) -> pd.DataFrame:
    """The area under max_error against episodes, over the last number of episodes."""

    def area(curve: pd.DataFrame) -> float:
        return np.trapezoid(curve.max_error, curve.episodes) / curve.episodes.max()

    keys = ["environment", "visit", "seed"]
    rows = {key: area(curve.sort_values("episodes")) for key, curve in curves.groupby(keys)}
    return pd.Series(rows, name="area").rename_axis(keys).reset_index()


def blackjack_map(greedy: pd.DataFrame, usable_ace: bool) -> tuple[FloatArray, IntArray]:
    """(share of seeds that hit, optimal action), [10, 10] each: sums 12..21 by dealer's card 1..10.

    A soft 21 is the natural, in which alone episodes start.
    """
    problem = blackjack()
    optimal = policy_iteration(problem.ssp).policy
    share, best = np.full((10, 10), np.nan), np.zeros((10, 10), dtype=np.int64)
    hits = greedy.groupby("state").action.mean()
    for state, hit in hits.items():
        label = problem.labels[int(state)]
        if label.usable_ace == usable_ace:
            share[label.player_sum - 12, label.dealer_card - 1] = hit
            best[label.player_sum - 12, label.dealer_card - 1] = optimal[int(state)]
    return share, best


@functools.lru_cache(maxsize=1)
def _learned(
    environment: str, visit: Visit, seeds: tuple[int, ...], episodes: int
) -> MonteCarloEsResult:
    problem = ENVIRONMENTS[environment]()
    return monte_carlo_es(problem.ssp, snapshots(episodes), seeds, visit=visit, start=problem.start)

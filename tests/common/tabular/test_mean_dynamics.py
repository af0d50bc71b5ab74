"""The mean dynamics is what exploring starts does on average, and what it does in the long run."""

import numpy as np
import pytest

from common.tabular.environments import chain, flat, garnet
from common.tabular.exact import action_values, deterministic_policies, policy_evaluation
from common.tabular.mces import is_optimal
from common.tabular.mean_dynamics import mean_orbit, update_frequencies
from common.tabular.ssp import SSP

VISITS = ("initial", "first", "every")
START = [[1, 2], [3, 1], [1, 4]]
# Of the chain with three states: exiting looks good, and worse once it is updated.
STALE = [[-2.0, -3.0], [-1.0, -3.0], [-2.0, -1.5]]


def played_frequencies(ssp: SSP, policy, weights, visit, episodes: int) -> np.ndarray:
    """Updates per episode, counted in episodes that are played one step at a time."""
    rng = np.random.default_rng(0)
    n_states, n_actions = ssp.rewards.shape
    counts = np.zeros((n_states, n_actions))
    weights = np.array(weights, dtype=float).ravel()
    starts = rng.choice(weights.size, size=episodes, p=weights / weights.sum())
    for start in starts:
        state, action = divmod(int(start), n_actions)
        path = []
        while state >= 0:
            path.append((state, action))
            ends = np.append(np.cumsum(ssp.probabilities[state, action]), 1.0)
            place = int(np.searchsorted(ends, rng.random(), side="right"))
            ended = place >= ssp.branching
            state = -1 if ended else int(ssp.successors[state, action, place])
            action = -1 if ended else int(policy[state])
        updated = {"initial": path[:1], "first": set(path), "every": path}[visit]
        for pair in updated:
            counts[pair] += 1
    return counts / episodes


@pytest.mark.parametrize("visit", VISITS)
def test_update_frequencies_are_those_of_played_episodes(visit) -> None:
    ssp = garnet(3, 2, 3.0, seed=4, branching=3)
    expected = update_frequencies(ssp, [1, 0, 1], visit, START)
    played = played_frequencies(ssp, [1, 0, 1], START, visit, episodes=12_000)
    np.testing.assert_allclose(played, expected, atol=0.04)  # some 4 standard errors


def test_update_frequencies_by_hand() -> None:
    # Both actions of the only state repeat it with probability 1/2; the policy plays action 1.
    ssp = SSP(np.zeros((1, 2, 1), int), np.full((1, 2, 1), 0.5), [[0.0, 0.0]])
    assert update_frequencies(ssp, [1], "initial").tolist() == [[0.5, 0.5]]
    np.testing.assert_allclose(update_frequencies(ssp, [1], "first"), [[0.5, 0.75]])
    np.testing.assert_allclose(update_frequencies(ssp, [1], "every"), [[0.5, 1.5]])
    np.testing.assert_allclose(update_frequencies(ssp, [1], "every", [[1, 3]]), [[0.25, 1.75]])


def test_the_greedy_action_starts_with_its_own_share() -> None:
    ssp = flat(2, 3, 2.0, 0.5, seed=0).ssp
    start = [[1, 1, 2], [3, 3, 6]]  # states 1 : 3
    shares = update_frequencies(ssp, [2, 0], "initial", start, greedy_start=0.2)
    np.testing.assert_allclose(shares, [[0.1, 0.1, 0.05], [0.15, 0.3, 0.3]])


@pytest.mark.parametrize("visit", VISITS)
def test_orbit_solves_the_differential_equation(visit) -> None:
    """Euler's method with another step size agrees, also after the policy has changed."""
    ssp = chain(3, exit_cost=4.0, slip=0.1).ssp
    orbit = mean_orbit(ssp, visit, STALE, 2.0, start=START, interval=2e-3)
    assert len(np.unique(orbit.policies, axis=0)) > 1
    targets, tables = {}, {}
    for policy in deterministic_policies(3, 2):
        key = policy.tobytes()
        targets[key] = action_values(ssp, policy_evaluation(ssp, policy))
        tables[key] = update_frequencies(ssp, policy, visit, START)
    small = 2.0 / 3000
    values = np.array(STALE)
    counts = tables[values.argmax(axis=1).tobytes()]
    for _ in range(3000):
        key = values.argmax(axis=1).tobytes()
        rates = tables[key] / counts
        counts = counts + small * (tables[key] - counts)
        values = values + small * rates * (targets[key] - values)
    assert orbit.times[-1] == pytest.approx(2.0)
    np.testing.assert_allclose(orbit.action_values[-1], values, atol=0.02)


@pytest.mark.parametrize("make", [lambda: flat(4, 3, 5.0, 0.5, seed=0), lambda: chain(4, 7.0, 0.2)])
@pytest.mark.parametrize("visit", VISITS)
def test_running_means_become_optimal_where_they_are_known_to(make, visit) -> None:
    env = make()
    worst = np.where(np.arange(env.ssp.n_actions) == env.initial_policy[:, None], 0.0, -99.0)
    orbit = mean_orbit(env.ssp, visit, worst, 20.0)
    assert not is_optimal(env.ssp, orbit.policies[0], env.optimal_values)
    assert is_optimal(env.ssp, orbit.policies[-1], env.optimal_values)


def test_equal_rates_shrink_the_bellman_residual_exponentially_through_all_changes() -> None:
    """max Q after the step, minus Q, is e^-t of what it was (derived here)."""
    env = chain(4, 7.0, 0.2)
    orbit = mean_orbit(env.ssp, "initial", 0.0, 5.0, interval=1e-3)
    assert len(np.unique(orbit.policies, axis=0)) > 2
    first, last = (action_values(env.ssp, q.max(axis=1)) - q for q in orbit.action_values[[0, -1]])
    np.testing.assert_allclose(last, np.exp(-5.0) * first, atol=0.01)


def test_invalid_arguments_are_refused() -> None:
    ssp = flat(2, 2, 2.0, 0.5, seed=0).ssp
    with pytest.raises(ValueError, match="visit"):
        update_frequencies(ssp, [0, 0], "last")  # type: ignore[arg-type]
    for bad in ([[1, 1]], [[1, 0], [1, 1]], [[1, np.inf], [1, 1]]):
        with pytest.raises(ValueError, match="start"):
            update_frequencies(ssp, [0, 0], "initial", bad)
    with pytest.raises(ValueError, match="positive"):
        mean_orbit(ssp, "first", 0.0, 0.0)

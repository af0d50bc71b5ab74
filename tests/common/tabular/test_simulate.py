"""The compiled simulator equals a plain loop over the same streams, and the exact values."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import chisquare

from common.tabular import simulate
from common.tabular.environments import chain, flat, garnet
from common.tabular.exact import action_values, policy_evaluation
from common.tabular.simulate import Simulator, draw_thresholds, mc_action_values, pack_rows
from common.tabular.ssp import SSP
from common.tabular.streams import stream_key

MASK = (1 << 64) - 1


def scramble(value: int) -> int:
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def child(key: int, index: int) -> int:
    return scramble((key + 0x9E3779B97F4A7C15 * (index + 1)) & MASK)


def play(ssp: SSP, policy, state: int, action: int, stream: int, horizon: float):
    """One episode, step by step: (return, steps, whether it was cut)."""
    total, steps = 0.0, 0
    while True:
        total += ssp.rewards[state, action]
        steps += 1
        stream = (stream * 6364136223846793005 + 1442695040888963407) & MASK
        draw = (stream >> 33) / 2**31
        edges = np.cumsum(ssp.probabilities[state, action])
        place = int(np.argmax(draw < edges))
        if draw >= edges[-1]:
            return total, steps, False
        if steps == horizon:
            return total, steps, True
        state = ssp.successors[state, action, place]
        action = policy[state]


def slow_estimates(ssp: SSP, policy, episodes: int, seed: int, stream: int, horizon=math.inf):
    returns = np.empty((ssp.n_states, ssp.n_actions, episodes))
    steps = cut = 0
    for s, a, e in np.ndindex(returns.shape):
        key = child(child(child(seed, 0), stream), s * ssp.n_actions + a)
        returns[s, a, e], length, truncated = play(ssp, policy, s, a, child(key, e), horizon)
        steps, cut = steps + length, cut + truncated
    return returns, steps, cut


def dyadic(ssp: SSP) -> SSP:
    """Round the rewards to multiples of 1/64, so that sums are exact in any order."""
    return SSP(ssp.successors, ssp.probabilities, np.rint(ssp.rewards * 64) / 64)


CASES = {
    "garnet": (lambda: garnet(6, 3, 8.0, seed=1), 40, None),
    "garnet cut": (lambda: garnet(6, 3, 8.0, seed=1), 40, 3),
    "one step only": (lambda: garnet(3, 2, 8.0, seed=1), 5, 1),
    "one successor": (lambda: garnet(4, 2, 3.0, seed=2, branching=1), 30, None),
    "nine successors": (lambda: garnet(10, 2, 5.0, seed=3, branching=9), 30, None),
    "chain, sure moves": (lambda: chain(5, 20.0, 0.2, n_actions=3).ssp, 30, None),
    "bandit": (lambda: flat(3, 2, 1.0, 0.5, seed=0).ssp, 3, None),
    "more than a batch": (lambda: garnet(1, 2, 2.0, seed=5), 4500, None),
    "one episode": (lambda: garnet(40, 3, 8.0, seed=4), 1, None),
}


@pytest.mark.parametrize("case", CASES)
def test_equals_the_slow_loop_exactly(case: str) -> None:
    make, episodes, horizon = CASES[case]
    ssp = dyadic(make())
    policy = np.random.default_rng(0).integers(ssp.n_actions, size=ssp.n_states)
    got = mc_action_values(ssp, policy, episodes, seed=9, stream=2, horizon=horizon)
    returns, steps, cut = slow_estimates(ssp, policy, episodes, 9, 2, horizon or math.inf)
    np.testing.assert_allclose(got.values, returns.mean(axis=2), rtol=1e-14)  # sums are exact
    if episodes > 1:
        np.testing.assert_allclose(got.variance, returns.var(axis=2, ddof=1), atol=1e-12)
    else:
        assert np.isnan(got.variance).all()
    assert (got.steps, got.truncated) == (steps, cut)


@pytest.mark.parametrize(("n_states", "episodes"), [(300, 3), (40, 700), (2, 150_000)])
def test_bit_identical_for_any_threads_and_chunks(n_states: int, episodes: int) -> None:
    """Several pairs per task; one pair per task; several tasks per pair."""
    ssp = garnet(n_states, 3, 6.0, seed=1)
    policies = np.zeros((2, n_states), dtype=np.int64)
    keys = [stream_key(1), stream_key(2)]
    reference = Simulator(ssp, threads=1).action_values(policies, keys, episodes)
    for threads, chunk in itertools.product((1, 2), (1, 5000, 1 << 30)):
        simulator = Simulator(ssp, threads=threads, chunk_episodes=chunk)
        got = simulator.action_values(policies, keys, episodes)
        for name in ("values", "variance", "steps", "truncated"):
            np.testing.assert_array_equal(getattr(got, name), getattr(reference, name))


def test_tasks_cover_every_episode_once() -> None:
    """Episodes take two steps, but one from the last state: the steps count the episodes."""
    moves = np.ones((7, 3, 1))
    moves[6] = 0.0
    ssp = SSP(np.full((7, 3, 1), 6), moves, np.full((7, 3), 0.5))
    for episodes in (1, 2, 1000, 4097, 150_001):
        got = mc_action_values(ssp, np.zeros(7, int), episodes, seed=0)
        assert got.steps == (2 * 18 + 3) * episodes
        assert (got.values == 0.5 + 0.5 * moves[:, :, 0]).all()


@pytest.mark.parametrize(("n_states", "episodes"), [(300, 3), (40, 700), (2, 150_000)])
def test_a_subset_of_pairs_has_the_same_bits(n_states: int, episodes: int) -> None:
    ssp = garnet(n_states, 3, 6.0, seed=1)
    policies, keys = np.zeros((2, n_states), dtype=np.int64), [stream_key(1), stream_key(2)]
    simulator = Simulator(ssp)
    whole = simulator.action_values(policies, keys, episodes)
    some = np.random.default_rng(0).permutation(ssp.rewards.size)[: 1 + n_states // 3]
    steps = np.zeros(2, dtype=np.int64)
    for pairs in (some, np.setdiff1d(np.arange(ssp.rewards.size), some)):
        part = simulator.action_values(policies, keys, episodes, pairs=pairs)
        for name in ("values", "variance"):
            expected = np.full((2, ssp.rewards.size), np.nan)
            expected[:, pairs] = getattr(whole, name).reshape(2, -1)[:, pairs]
            np.testing.assert_array_equal(getattr(part, name).reshape(2, -1), expected)
        steps += part.steps
    np.testing.assert_array_equal(steps, whole.steps)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], r"non-empty flat array, got shape \(0,\)"),
        ([[0, 1]], r"non-empty flat array, got shape \(1, 2\)"),
        ([0, 6], r"must lie in 0\.\.5, got 0\.\.6"),
        ([-1, 2], r"must lie in 0\.\.5, got -1\.\.2"),
        ([4, 1, 4], "pair 4 is listed 2 times"),
    ],
)
def test_wrong_pairs_are_refused(pairs: list, message: str) -> None:
    simulator = Simulator(garnet(3, 2, 4.0, seed=0))
    with pytest.raises(ValueError, match=message):
        simulator.action_values(np.zeros((1, 3), int), [1], 5, pairs=np.array(pairs, dtype=int))


def test_pairs_that_are_not_integers_are_refused() -> None:
    simulator = Simulator(garnet(3, 2, 4.0, seed=0))
    with pytest.raises(TypeError, match="flat indices"):
        simulator.action_values(np.zeros((1, 3), int), [1], 5, pairs=np.ones(6, dtype=bool))


@pytest.mark.parametrize("episodes", [1, 30, 5000])
@pytest.mark.parametrize("pairs", [None, np.array([0, 3, 7]), np.array([0])])
def test_sure_endings_are_not_played_but_count(episodes: int, pairs) -> None:
    ssp = chain(8, 20.0, 0.3).ssp
    policies, keys = np.ones((2, 8), dtype=np.int64), [3, 4]
    quick, slow = Simulator(ssp), Simulator(ssp)
    assert quick._ends_at_once.sum() == 9
    slow._ends_at_once = np.zeros(16, dtype=bool)
    expected = slow.action_values(policies, keys, episodes, pairs=pairs, horizon=20)
    got = quick.action_values(policies, keys, episodes, pairs=pairs, horizon=20)
    for name in ("values", "variance", "steps", "truncated"):
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name))


def test_a_pair_that_hardly_ever_goes_on_is_no_sure_ending() -> None:
    ssp = SSP([[[0], [0]]], [[[1e-9], [1e-10]]], [[-1.0, -2.0]])
    assert Simulator(ssp)._ends_at_once.tolist() == [False, True]  # 2^-31 is 4.7e-10


def test_runs_do_not_affect_one_another(monkeypatch) -> None:
    ssp = garnet(5, 2, 6.0, seed=1)
    policies = np.array([[0] * 5, [1] * 5, [0, 1, 0, 1, 0]])
    keys = [stream_key(7, run) for run in range(3)]
    together = Simulator(ssp).action_values(policies, keys, 5000)
    for run in range(3):
        alone = Simulator(ssp).action_values(policies[run : run + 1], keys[run : run + 1], 5000)
        np.testing.assert_array_equal(alone.values[0], together.values[run])
        assert alone.steps[0] == together.steps[run]
    monkeypatch.setattr(simulate, "_MAX_PARTIAL_SUMS", 1)  # one run at a time
    np.testing.assert_array_equal(
        Simulator(ssp).action_values(policies, keys, 5000).values, together.values
    )


@pytest.mark.parametrize(
    "make", [lambda: garnet(60, 4, 20.0, seed=8), lambda: garnet(30, 3, 5.0, seed=9, branching=9)]
)
def test_estimates_scatter_around_the_exact_values_as_they_should(make) -> None:
    ssp = make()
    policy = np.random.default_rng(1).integers(ssp.n_actions, size=ssp.n_states)
    episodes = 4000
    got = mc_action_values(ssp, policy, episodes, seed=3)
    exact = action_values(ssp, policy_evaluation(ssp, policy))
    z = (got.values - exact) / np.sqrt(got.variance / episodes)
    assert np.abs(z).max() < 5
    assert abs(z.mean()) < 5 / math.sqrt(z.size)
    assert abs(z.std() - 1) < 5 / math.sqrt(2 * z.size)


PROBABILITIES = (0.3, 0.05, 0.25, 0.1, 0.2)  # and 0.1 for the end


def test_successors_over_episodes_have_their_probabilities() -> None:
    """Paying 1 in one successor only makes the mean the share of episodes that went there."""
    n, counts = 60_000, []
    for target in range(1, 6):
        successors = np.zeros((6, 1, 5), dtype=int)
        successors[0, 0] = range(1, 6)
        probabilities = np.zeros((6, 1, 5))
        probabilities[0, 0] = PROBABILITIES
        rewards = (np.arange(6) == target).astype(float)[:, None]
        values = mc_action_values(
            SSP(successors, probabilities, rewards), [0] * 6, n, seed=1
        ).values
        counts.append(round(values[0, 0] * n))
    observed = [*counts, n - sum(counts)]
    assert chisquare(observed, np.array([*PROBABILITIES, 0.1]) * n).pvalue > 1e-4


def test_consecutive_draws_over_pairs_are_independent() -> None:
    """30,000 twin states start one episode each; the return spells the first two successors."""
    n, probabilities = 30_000, np.array(PROBABILITIES) / 0.9
    successors = np.zeros((n + 10, 1, 5), dtype=int)
    successors[:n] = np.arange(n, n + 5)
    successors[n : n + 5] = np.arange(n + 5, n + 10)
    chances = np.zeros((n + 10, 1, 5))
    chances[: n + 5] = probabilities
    rewards = np.zeros((n + 10, 1))
    rewards[n : n + 5, 0] = 5 * np.arange(5)
    rewards[n + 5 :, 0] = np.arange(5)
    values = mc_action_values(SSP(successors, chances, rewards), np.zeros(n + 10, int), 1, seed=5)
    observed = np.bincount(values.values[:n, 0].astype(int), minlength=25)
    assert chisquare(observed, np.outer(probabilities, probabilities).ravel() * n).pvalue > 1e-4


def test_streams_and_seeds_give_different_samples() -> None:
    ssp, policy = garnet(5, 2, 6.0, seed=1), np.zeros(5, int)
    samples = [
        mc_action_values(ssp, policy, 50, seed=seed, stream=stream).values
        for seed, stream in ((0, 0), (0, 1), (1, 0))
    ]
    for first, second in itertools.combinations(samples, 2):
        assert (first != second).all()


def test_truncation_is_counted_exactly() -> None:
    path = SSP([[[1]], [[2]], [[0]]], [[[1.0]], [[1.0]], [[0.0]]], [[1.0], [10.0], [100.0]])
    whole = mc_action_values(path, [0] * 3, 10, seed=0, horizon=3)
    assert (whole.values[:, 0].tolist(), whole.truncated) == ([111.0, 110.0, 100.0], 0)
    cut = mc_action_values(path, [0] * 3, 10, seed=0, horizon=2)
    assert (cut.values[:, 0].tolist(), cut.truncated) == ([11.0, 110.0, 100.0], 10)


def test_an_endless_episode_is_an_error_and_not_a_long_wait() -> None:
    nearly_endless = SSP([[[0]]], [[[1 - 1e-7]]], [[-1.0]])
    with pytest.raises(RuntimeError, match="exceeded 1000 steps"):
        mc_action_values(nearly_endless, [0], 10**6, seed=0, safety_limit=1000)
    got = mc_action_values(nearly_endless, [0], 100, seed=0, horizon=1000)
    assert got.truncated > 90


def test_progress_reaches_the_total_in_steps() -> None:
    calls: list[tuple[int, int]] = []
    mc_action_values(
        garnet(50, 4, 3.0, seed=1), np.zeros(50, int), 5000, 0,
        threads=2, progress=lambda *call: calls.append(call),
    )  # fmt: skip
    assert len(calls) > 2
    assert calls == sorted(calls)
    assert calls[-1] == (1_000_000, 1_000_000)


def test_progress_counts_sure_endings_and_runs(monkeypatch) -> None:
    monkeypatch.setattr(simulate, "_MAX_PARTIAL_SUMS", 1)  # one run at a time
    calls: list[tuple[int, int]] = []
    Simulator(chain(8, 20.0, 0.3).ssp, chunk_episodes=100).action_values(
        np.ones((3, 8), int), [1, 2, 3], 5000, progress=lambda *call: calls.append(call)
    )
    assert len(calls) == 3 * 7  # of the 16 pairs, 9 end at once
    assert calls == sorted(calls)
    assert calls[-1] == (3 * 16 * 5000, 3 * 16 * 5000)


def test_an_error_in_the_progress_report_stops_the_simulation() -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mc_action_values(
            garnet(50, 4, 3.0, seed=1), np.zeros(50, int), 5000, 0, threads=2, progress=interrupt
        )


def test_thresholds_of_sure_and_impossible_places() -> None:
    ssp = SSP([[[0, 1, 1]], [[0, 0, 0]]], [[[0.0, 0.5, 0.5]], [[0.0, 0.25, 0.0]]], [[0.0]] * 2)
    assert draw_thresholds(ssp)[:, 0].tolist() == [[0, 2**30, 2**31], [0, 2**29, 2**29]]


@pytest.mark.parametrize("branching", [1, 5, 6, 7, 8, 40])
def test_rows_are_aligned_and_hold_what_they_should(branching: int) -> None:
    ssp = garnet(3, 2, 4.0, seed=0, branching=branching)
    rows = pack_rows(ssp)
    assert rows.ctypes.data % 64 == 0
    assert rows.shape[1] * 4 % 64 == 0
    assert rows.shape[1] == 16 or branching > 7
    np.testing.assert_array_equal(rows.view(np.float64)[:, -1], ssp.rewards.ravel())
    assert (np.diff(rows[:, :branching].astype(np.int64), axis=1) >= 0).all()


def test_bad_arguments_are_refused() -> None:
    ssp = garnet(3, 2, 4.0, seed=0)
    for arguments in (
        {"episodes": 0},
        {"episodes": 1, "horizon": 0},
        {"episodes": 1, "threads": 0},
    ):
        with pytest.raises(ValueError, match="at least 1"):
            mc_action_values(ssp, [0, 0, 0], seed=0, **arguments)
    with pytest.raises(ValueError, match="1 policies but 2 keys"):
        Simulator(ssp).action_values(np.zeros((1, 3), int), [1, 2], 5)

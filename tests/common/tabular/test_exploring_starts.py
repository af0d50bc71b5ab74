"""The compiled learners equal a plain loop over the same draws, and learn what they should."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import chisquare

from common.tabular import exploring_starts
from common.tabular.environments import chain, flat, garnet
from common.tabular.exact import action_values, policy_evaluation
from common.tabular.exploring_starts import monte_carlo_es, start_table
from common.tabular.mces import is_optimal
from common.tabular.ssp import SSP
from common.tabular.streams import derive, stream_key

MASK = (1 << 64) - 1
MODES = list(itertools.product(("first", "every", "initial"), (None, 0.3)))


class Draws:
    """Integers in [0, 2^31): the stream of one episode."""

    def __init__(self, state: int) -> None:
        self.state = state

    def __call__(self) -> int:
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) & MASK
        return self.state >> 33


def draw_episode(ssp: SSP, policy, table, draws: Draws, greedy_start=None):
    """(pair, reward) of every step, the pairs as tuples."""
    column = draws() * len(table) >> 31
    start = column if draws() < table[column]["threshold"] else int(table[column]["other"])
    state, action = divmod(start, ssp.n_actions)
    if greedy_start is not None:
        action = policy[state]
        if draws() >= greedy_start * 2**31:
            others = [*range(action + 1, ssp.n_actions), *range(action)]
            action = others[draws() * len(others) >> 31]
    steps = []
    while True:
        steps.append(((state, action), float(ssp.rewards[state, action])))
        edges = np.cumsum(ssp.probabilities[state, action])
        draw = draws() / 2**31
        if draw >= edges[-1]:
            return steps
        state = int(ssp.successors[state, action, np.argmax(draw < edges)])
        action = policy[state]


def slow_learner(
    ssp: SSP, episodes, seed, visit, step_size, start=None, greedy_start=None, q=0.0, policy=None
):
    """The definition, one step at a time: (Q, policy, steps) for each snapshot, and N."""
    q = np.broadcast_to(np.array(q, dtype=float), ssp.rewards.shape).copy()
    policy = q.argmax(axis=1).tolist() if policy is None else list(policy)
    n, steps, snapshots = np.zeros(q.shape, dtype=int), 0, []
    table, key = start_table(ssp, start), stream_key(seed)
    for episode in range(episodes[-1]):
        path = draw_episode(ssp, policy, table, Draws(derive(key, episode)), greedy_start)
        steps += len(path)
        pairs = [pair for pair, _ in path]
        total = 0.0
        for t in reversed(range(len(path))):
            (state, action), reward = path[t]
            total = reward + total
            if visit == "first" and (state, action) in pairs[:t]:
                continue
            if visit == "initial" and t > 0:
                continue
            n[state, action] += 1
            rate = 1 / n[state, action] if step_size is None else step_size
            q[state, action] += rate * (total - q[state, action])
            best = [a for a in range(ssp.n_actions) if q[state, a] == max(q[state])]
            if policy[state] not in best:
                policy[state] = best[0]
        if episode + 1 in episodes:
            snapshots.append((q.copy(), list(policy), steps))
    return snapshots, n


def loops() -> SSP:
    """Three states that are visited again and again; also with actions other than the first."""
    successors = np.array([[[0, 1]] * 3, [[0, 2]] * 3, [[2, 1]] * 3])
    probabilities = np.full((3, 3, 2), 0.45)
    rewards = [[-1.0, -1.1, -0.9], [0.5, 0.4, 0.6], [-0.3, 0.2, 0.1]]
    return SSP(successors, probabilities, rewards)


CASES = {
    "garnet": (lambda: garnet(12, 3, 8.0, seed=1), {}),
    "loops": (loops, {}),
    "nine successors": (lambda: garnet(10, 2, 5.0, seed=3, branching=9), {}),
    "one action": (lambda: garnet(5, 1, 4.0, seed=2), {}),
    "one-step episodes": (lambda: flat(4, 3, 1.0, 0.5, seed=0).ssp, {}),
    "optimism and a bad start": (
        lambda: garnet(6, 3, 8.0, seed=1),
        {
            "q": np.arange(18.0).reshape(6, 3) % 4 / 2 - 1,
            "policy": [0, 1, 2, 0, 1, 2],
            "start": np.arange(18.0).reshape(6, 3) % 5,
        },
    ),
    "starts that avoid the greedy action": (loops, {"greedy_start": 0.1}),
    "starts that prefer it": (
        lambda: garnet(6, 2, 8.0, seed=1),
        {"greedy_start": 0.75, "start": np.arange(12.0).reshape(6, 2)},
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("visit", "step_size"), MODES)
def test_equals_the_slow_learner(case: str, visit, step_size) -> None:
    make, options = CASES[case]
    ssp, episodes, seeds = make(), [1, 7, 150], [3, 4]
    names = {"q": "initial_values", "policy": "initial_policy"}
    arguments = {names.get(name, name): option for name, option in options.items()}
    got = monte_carlo_es(ssp, episodes, seeds, visit=visit, step_size=step_size, **arguments)
    for run, seed in enumerate(seeds):
        snapshots, n = slow_learner(ssp, episodes, seed, visit, step_size, **options)
        for index, (q, policy, steps) in enumerate(snapshots):
            np.testing.assert_allclose(got.action_values[run, index], q, rtol=0, atol=1e-12)
            assert got.policies[run, index].tolist() == policy
            assert got.steps[run, index] == steps
        np.testing.assert_array_equal(got.visits[run], n)


def test_first_visits_are_those_of_a_pair_and_not_of_its_state() -> None:
    """The episode is (0, 1), (0, 0): the state comes twice, but each of its pairs once."""
    ssp = SSP([[[0], [0]]], [[[0.0], [0.999]]], [[-5.0, 1.0]])
    got = monte_carlo_es(ssp, [1], [0], start=[[0, 1]], initial_policy=[0])
    assert got.steps.item() == 2
    assert got.visits[0].tolist() == [[1, 1]]
    assert got.action_values[0, 0].tolist() == [[-5.0, -4.0]]


def test_modes_differ_where_pairs_come_again() -> None:
    """Every visit is a step, initial visits are episodes, and first ones lie in between."""
    counts = {}
    for visit in ("first", "every", "initial"):
        got = monte_carlo_es(loops(), [500], [0], visit=visit, step_size=1.0)
        counts[visit] = int(got.visits.sum()), int(got.steps[0, 0])
    assert counts["every"][0] == counts["every"][1]
    assert counts["initial"][0] == 500
    assert 500 < counts["first"][0] < counts["first"][1]


@pytest.mark.parametrize(("visit", "step_size"), MODES)
def test_without_a_choice_the_policy_is_evaluated(visit, step_size) -> None:
    """The learners are independent, so their scatter tells how far their mean may be off."""
    ssp = garnet(6, 1, 5.0, seed=4)
    got = monte_carlo_es(ssp, [4000], range(50), visit=visit, step_size=step_size)
    values = got.action_values[:, 0]
    exact = action_values(ssp, policy_evaluation(ssp, [0] * 6))
    z = (values.mean(axis=0) - exact) / (values.std(axis=0, ddof=1) / math.sqrt(50))
    assert np.abs(z).max() < 5
    assert values.std(axis=0).max() < (0.2 if step_size is None else 3.0)


@pytest.mark.parametrize("make", [lambda: chain(5, 8.0, 0.2), lambda: flat(8, 3, 4.0, 1.0, seed=0)])
@pytest.mark.parametrize("visit", ["first", "every", "initial"])
def test_becomes_optimal(make, visit) -> None:
    env = make()
    got = monte_carlo_es(
        env.ssp, [1, 50_000], range(4), visit=visit, initial_policy=env.initial_policy
    )
    for run in range(4):
        assert not is_optimal(env.ssp, got.policies[run, 0], env.optimal_values)
        assert is_optimal(env.ssp, got.policies[run, 1], env.optimal_values)


FIELDS = ("action_values", "policies", "visits", "steps")


def test_bit_identical_for_any_threads_chunks_and_neighbours() -> None:
    ssp, episodes, seeds = garnet(30, 3, 6.0, seed=1), [5, 10, 400], [7, 1, 7, *range(20)]
    reference = monte_carlo_es(ssp, episodes, seeds, threads=1)
    assert len(np.unique(reference.steps[:, -1])) > 15
    for threads, chunk in itertools.product((1, 2, 5), (1, 300, 1 << 40)):
        got = monte_carlo_es(ssp, episodes, seeds, threads=threads, chunk_steps=chunk)
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(got, name), getattr(reference, name))
    for run in (0, 2, 1, 22):
        alone = monte_carlo_es(ssp, episodes, [seeds[run]])
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(alone, name)[0], getattr(reference, name)[run])


def test_snapshots_do_not_disturb() -> None:
    ssp = garnet(10, 3, 6.0, seed=1)
    many = monte_carlo_es(ssp, [1, 10, 99, 100], [3])
    for index, episodes in enumerate((1, 10, 99, 100)):
        one = monte_carlo_es(ssp, [episodes], [3])
        for name in ("action_values", "policies", "steps"):
            np.testing.assert_array_equal(getattr(one, name)[0, 0], getattr(many, name)[0, index])


def test_ties_keep_the_current_action_or_take_the_lowest() -> None:
    same = SSP(np.zeros((1, 4, 1), int), np.zeros((1, 4, 1)), np.full((1, 4), -1.0))
    assert monte_carlo_es(same, [200], [0], initial_policy=[2], initial_values=-1.0).policies == 2
    # Actions 1 to 3 promise 0 and 2 is played: once it disappoints, 1 is the lowest of the rest.
    start, promise = [[0, 0, 1, 0]], [[-9.0, 0.0, 0.0, 0.0]]
    got = monte_carlo_es(same, [1], [0], start=start, initial_policy=[2], initial_values=promise)
    assert got.policies.item() == 1
    assert monte_carlo_es(same, [1], [0], start=start, initial_values=promise).policies == 1


def test_initial_values_decide_which_actions_are_tried() -> None:
    """Episodes start in state 0 and go on in state 1, where action 0 pays -1 and action 1 -0.5."""
    ssp = SSP(
        [[[1], [1]], [[0], [0]]], [[[1.0], [1.0]], [[0.0], [0.0]]], [[0.0, 0.0], [-1.0, -0.5]]
    )
    start = [[1.0, 0.0], [0.0, 0.0]]
    hopeful = monte_carlo_es(ssp, [20], [0], start=start, initial_values=0.0)
    # Each is tried once; of the disappointments action 1 is the lesser, and stays.
    assert hopeful.visits[0].tolist() == [[20, 0], [1, 19]]
    assert hopeful.policies[0, 0, 1] == 1
    wary = monte_carlo_es(ssp, [20], [0], start=start, initial_values=-9.0)
    assert wary.visits[0].tolist() == [[20, 0], [20, 0]]


WEIGHTS = {
    "uniform": np.ones((7, 3)),
    "uneven": np.arange(21.0).reshape(7, 3) ** 2,
    "one pair": np.eye(7, 3) * (np.arange(7) == 2)[:, None],
    "huge and tiny": np.array([[1e300, 1e300, 3e-300]] * 7),
    "thirds and nothing": np.array([[1.0, 0.0, 1 / 3]] * 7),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_start_table_holds_the_distribution(case: str) -> None:
    weights = WEIGHTS[case]
    table = start_table(garnet(7, 3, 6.0, seed=1), weights)
    kept = table["threshold"] / 2.0**31
    held = kept + np.bincount(table["other"], weights=1 - kept, minlength=21)
    scaled = weights.ravel() / weights.max()
    np.testing.assert_allclose(held / 21, scaled / scaled.sum(), rtol=0, atol=2.0**-31)
    assert (held[weights.ravel() == 0] == 0).all()


def test_starts_are_drawn_from_the_distribution() -> None:
    ssp, weights = flat(5, 3, 1.0, 0.5, seed=0).ssp, np.arange(15.0).reshape(5, 3)
    visits = monte_carlo_es(ssp, [60_000], [0], start=weights).visits[0]
    assert visits[0, 0] == 0
    expected = weights.ravel()[1:] / weights.sum() * 60_000
    assert chisquare(visits.ravel()[1:], expected).pvalue > 1e-4


def test_an_endless_episode_is_an_error_and_not_a_long_wait() -> None:
    nearly_endless = SSP([[[0]]], [[[1 - 1e-7]]], [[-1.0]])
    with pytest.raises(RuntimeError, match="exceeded 1000 steps"):
        monte_carlo_es(nearly_endless, [10**6], [0, 1], safety_limit=1000)
    path = SSP([[[1]], [[2]], [[0]]], [[[1.0]], [[1.0]], [[0.0]]], [[1.0], [10.0], [100.0]])
    assert monte_carlo_es(path, [50], [0], safety_limit=3).action_values[0, 0, 0, 0] == 111.0
    with pytest.raises(RuntimeError, match="exceeded 2 steps"):
        monte_carlo_es(path, [50], [0], safety_limit=2)


def test_progress_reaches_the_total_in_steps() -> None:
    calls: list[tuple[int, int]] = []
    monte_carlo_es(
        garnet(20, 2, 5.0, seed=1), [2000], range(20),
        threads=2, chunk_steps=5000, progress=lambda *call: calls.append(call),
    )  # fmt: skip
    assert len(calls) > 4
    assert calls == sorted(calls)
    assert calls[-1] == (40_000, 40_000)


def test_an_error_in_the_progress_report_stops_the_learners() -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        monte_carlo_es(
            garnet(20, 2, 5.0, seed=1), [10**9], range(20), threads=2, progress=interrupt
        )


def test_the_greedy_action_needs_a_rival_to_be_preferred_to() -> None:
    with pytest.raises(ValueError, match=r"needs 2 actions, got 0\.5 and 1"):
        monte_carlo_es(garnet(3, 1, 4.0, seed=0), [5], [0], greedy_start=0.5)


@pytest.mark.parametrize(("runs", "threads"), [(1, 2), (16, 1), (17, 2), (32, 2), (100, 3)])
def test_groups_cover_the_learners_evenly(runs: int, threads: int) -> None:
    groups = exploring_starts._groups(runs, threads)
    sizes = [stop - start for start, stop in groups]
    assert [run for group in groups for run in range(*group)] == list(range(runs))
    assert max(sizes) <= exploring_starts.LEARNERS
    assert max(sizes) - min(sizes) <= 1
    assert len(groups) >= min(runs, threads)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"episodes": []}, "non-empty sequence of integers"),
        ({"episodes": [1.5]}, "non-empty sequence of integers"),
        ({"episodes": [0, 3]}, "must increase"),
        ({"episodes": [3, 3]}, "must increase"),
        ({"episodes": [5, 3]}, "must increase"),
        ({"episodes": [1 << 32]}, "must increase and lie in"),
        ({"seeds": []}, "at least 1 seed"),
        ({"seeds": [-1]}, "seeds"),
        ({"threads": 0}, "at least 1"),
        ({"chunk_steps": 0}, "at least 1"),
        ({"safety_limit": 0}, "at least 1"),
        ({"visit": "last"}, "visit must be one of first, every, initial"),
        ({"step_size": 0.0}, "step_size"),
        ({"step_size": 1.5}, "step_size"),
        ({"step_size": math.nan}, "step_size"),
        ({"start": np.ones(6)}, "start has shape"),
        ({"start": np.zeros((3, 2))}, "start weights"),
        ({"start": [[1, 1], [1, -1], [1, 1]]}, "start weights"),
        ({"start": [[1, 1], [1, math.inf], [1, 1]]}, "start weights"),
        ({"greedy_start": -0.1}, "greedy_start must lie in"),
        ({"greedy_start": math.nan}, "greedy_start must lie in"),
        ({"initial_values": np.zeros(2)}, "initial_values have shape"),
        ({"initial_values": math.nan}, "initial_values must be finite"),
        ({"initial_policy": [0, 0]}, "policy has shape"),
        ({"initial_policy": [0, 2, 0]}, "policy actions"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict, message: str) -> None:
    ssp = garnet(3, 2, 4.0, seed=0)
    with pytest.raises(ValueError, match=message):
        monte_carlo_es(ssp, **({"episodes": [5], "seeds": [0]} | arguments))

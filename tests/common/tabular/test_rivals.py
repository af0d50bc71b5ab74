"""Q-learning and model-based sampling, which exploring starts is compared with."""

import numpy as np
import pytest

from common.tabular import streams
from common.tabular.environments import flat, garnet
from common.tabular.exact import policy_iteration
from common.tabular.mces import is_optimal
from common.tabular.model_based import empirical_ssp, model_based_policy
from common.tabular.q_learning import q_learning
from common.tabular.simulate import draw_thresholds
from common.tabular.ssp import SSP


def slow_q_learning(ssp: SSP, steps: int, seed: int, exponent: float, explore: float) -> np.ndarray:
    """The obvious loop on Python numbers, with the same draws."""
    state = streams.stream_key(seed)

    def draw() -> int:
        nonlocal state
        state = (state * streams.LCG_MULTIPLIER + streams.LCG_INCREMENT) % 2**64
        return state >> 33

    def below(n: int) -> int:
        return draw() * n >> 31

    thresholds = draw_thresholds(ssp).tolist()
    q, updates, over = np.zeros(ssp.rewards.shape), np.zeros(ssp.rewards.shape), True
    for _ in range(steps):
        if over:
            s, a = below(ssp.n_states), below(ssp.n_actions)
        elif draw() < round(explore * 2**31):
            a = below(ssp.n_actions)
        else:
            a = int(q[s].argmax())
        u = draw()
        place = sum(u >= threshold for threshold in thresholds[s][a])
        over = place == ssp.branching
        following = 0 if over else int(ssp.successors[s, a, place])
        target = ssp.rewards[s, a] + (0.0 if over else q[following].max())
        updates[s, a] += 1
        q[s, a] += (target - q[s, a]) * updates[s, a] ** -exponent
        s = following
    return q


def test_q_learning_is_the_obvious_loop() -> None:
    ssp = garnet(6, 3, 4.0, seed=0)
    ours = q_learning(ssp, [10, 3000], [5, 7], exponent=0.7, exploration=0.2)
    for run, seed in enumerate((5, 7)):
        for snapshot, steps in enumerate((10, 3000)):
            slow = slow_q_learning(ssp, steps, seed, 0.7, 0.2)
            assert ours.action_values[run, snapshot] == pytest.approx(slow, abs=1e-12)


def test_q_learning_approaches_the_optimal_values_whatever_the_threads() -> None:
    ssp = garnet(6, 3, 4.0, seed=0)
    one, two = (q_learning(ssp, [300_000], [0, 1, 2], threads=threads) for threads in (1, 2))
    assert (one.action_values == two.action_values).all()
    best = policy_iteration(ssp).action_values
    assert np.abs(one.action_values[:, 0] - best).max() < 0.2
    assert (one.policies == one.action_values.argmax(axis=3)).all()


@pytest.mark.parametrize(
    ("steps", "options"),
    [([], {}), ([0], {}), ([5, 5], {}), ([5], {"exponent": 0.5}), ([5], {"exploration": 1.5})],
)
def test_bad_arguments_are_errors(steps: list[int], options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must be positive and increase|out of range"):
        q_learning(garnet(2, 2, 2.0, seed=0), steps, [0], **options)


def test_the_empirical_problem_has_the_observed_frequencies_and_always_ends() -> None:
    ssp = garnet(5, 2, 4.0, seed=1)
    estimate = empirical_ssp(ssp, 20_000, np.random.default_rng(0))
    assert np.abs(estimate.probabilities - ssp.probabilities).max() < 0.02
    assert (estimate.rewards == ssp.rewards).all()
    one = empirical_ssp(ssp, 1, np.random.default_rng(0))
    assert (one.termination_probabilities >= 0.5 - 1e-12).all()
    with pytest.raises(ValueError, match="at least 1"):
        empirical_ssp(ssp, 0, np.random.default_rng(0))


def test_with_enough_samples_the_model_based_policy_is_optimal() -> None:
    known = flat(10, 3, 5.0, 0.5, seed=0)
    assert is_optimal(known.ssp, model_based_policy(known.ssp, 3000, seed=0))
    assert not is_optimal(known.ssp, known.initial_policy)

"""The softmax bandit: exact gradients, unbiased updates, seeds that do not touch each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from common.grpo.analysis import closed_forms
from common.grpo.analysis.bandit import SoftmaxBandit, separate_bandits, shared_bandit
from common.grpo.analysis.surrogate import advantage_table


def small(seeds: tuple[int, ...] = (0, 1)) -> SoftmaxBandit:
    return shared_bandit(seeds, prompts=3, features=2, answers=5)


def some_theta(bandit: SoftmaxBandit, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(bandit.start.shape)


def test_rates_at_the_start_are_those_asked_for() -> None:
    bandit = shared_bandit([0, 1, 2], prompts=200, features=4, answers=8, rates=(0.02, 0.5))
    rates = bandit.success_rates(bandit.start)
    assert rates.min() >= 0.02 - 1e-12 and rates.max() <= 0.5 + 1e-12
    assert np.median(rates) == pytest.approx(0.1, rel=0.3)
    assert bandit.policy(bandit.start).sum(-1) == pytest.approx(np.ones((3, 200)))
    assert set(bandit.correct.sum(-1).ravel()) == {1, 2, 3}


def test_gradients_by_finite_differences() -> None:
    bandit = small()
    theta = some_theta(bandit)
    found = bandit.rate_gradients(theta)
    for axis in range(2):
        step = np.zeros_like(theta)
        step[:, axis] = 1e-6
        after, before = bandit.success_rates(theta + step), bandit.success_rates(theta - step)
        assert found[..., axis] == pytest.approx((after - before) / 2e-6, rel=1e-5, abs=1e-9)


def test_ascent_is_the_gradient_of_the_surrogate() -> None:
    bandit, limit = small(), closed_forms.passk_arcsine(4)
    theta = some_theta(bandit)
    found = bandit.ascent(theta, limit.derivative(bandit.success_rates(theta)))
    for axis in range(2):
        step = np.zeros_like(theta)
        step[:, axis] = 1e-6
        means = [limit.value(bandit.success_rates(t)).mean(1) for t in (theta + step, theta - step)]
        assert found[:, axis] == pytest.approx((means[0] - means[1]) / 2e-6, rel=1e-5)


def test_update_against_a_loop() -> None:
    bandit = small()
    theta, rng = some_theta(bandit), np.random.default_rng(1)
    answers = rng.integers(0, 5, (2, 3, 4))
    advantages = rng.standard_normal((2, 3, 4))
    expected = np.zeros((2, 2))
    policy = bandit.policy(theta)
    for s, x, i in np.ndindex(2, 3, 4):
        phi = bandit.features[s, x]
        score = phi[answers[s, x, i]] - policy[s, x] @ phi
        expected[s] += advantages[s, x, i] * score / 4 / 3
    assert bandit.update(theta, answers, advantages) == pytest.approx(expected)


def test_sampled_updates_agree_with_the_exact_surrogate() -> None:
    bandit = small((3,))
    theta = some_theta(bandit)
    table = advantage_table("grpo", 6)
    exact = bandit.ascent(theta, table.derivative(bandit.success_rates(theta)))[0]
    rng, found = np.random.default_rng(0), []
    for _ in range(4000):
        answers = bandit.sample(theta, rng.random((1, 3, 6)))
        right = bandit.is_correct(answers)
        count = right.sum(-1, keepdims=True)
        advantages = np.where(right, table.positive[count], table.negative[count])
        found.append(bandit.update(theta, answers, advantages)[0])
    mean, error = np.mean(found, 0), np.std(found, 0) / np.sqrt(len(found))
    assert (np.abs(mean - exact) < 4.5 * error).all()
    # The population's surrogate is another one: six samples are few.
    limit = bandit.ascent(theta, closed_forms.arcsine().derivative(bandit.success_rates(theta)))[0]
    assert (np.abs(mean - limit) > 4.5 * error).any()


def test_sampling_follows_the_policy() -> None:
    bandit = small((5,))
    theta = some_theta(bandit)
    uniforms = np.broadcast_to((np.arange(20_000) + 0.5) / 20_000, (1, 3, 20_000))
    answers = bandit.sample(theta, uniforms)
    shares = np.stack([(answers == a).mean(-1) for a in range(5)], -1)
    assert shares == pytest.approx(bandit.policy(theta), abs=1e-4)
    assert bandit.sample(theta, np.full((1, 3, 1), np.nextafter(1.0, 0.0))).max() <= 4


def test_a_seed_does_not_depend_on_its_neighbours() -> None:
    both, alone = small((7, 8)), small((8,))
    assert np.array_equal(both.features[1:], alone.features)
    assert np.array_equal(both.offsets[1:], alone.offsets)
    theta = some_theta(both)
    assert np.array_equal(both.success_rates(theta)[1:], alone.success_rates(theta[1:]))
    answers = np.random.default_rng(0).integers(0, 5, (2, 3, 4))
    weights = np.ones((2, 3, 4))
    found = both.update(theta, answers, weights)[1:]
    assert np.array_equal(found, alone.update(theta[1:], answers[1:], weights[1:]))


def test_separate_bandits_keep_the_rates_and_do_not_compete() -> None:
    bandit = small()
    lanes = separate_bandits(bandit)
    assert lanes.start.shape == (6, 5)
    rates = bandit.success_rates(bandit.start)
    assert lanes.success_rates(lanes.start) == pytest.approx(rates.reshape(6, 1))
    theta = lanes.start
    for _ in range(200):
        theta = theta + lanes.ascent(theta, np.ones((6, 1)))
    assert (lanes.success_rates(theta) > 0.97).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: shared_bandit([0], prompts=0, features=2, answers=5), "prompts"),
        (lambda: shared_bandit([0], prompts=2, features=2, answers=3), "answers: "),
        (
            lambda: shared_bandit([0], prompts=2, features=2, answers=5, rates=(0.5, 1.0)),
            "rates: ",
        ),
        (
            lambda: SoftmaxBandit(np.ones((1, 2, 3)), np.ones((1, 2, 3)), np.ones((1, 2, 3), bool)),
            "features",
        ),
    ],
)
def test_bad_input(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()

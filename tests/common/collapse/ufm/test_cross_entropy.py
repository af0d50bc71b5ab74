"""The unconstrained feature model: closed form, objective, and what they refuse."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from common.collapse.ufm.cross_entropy import (
    balanced_labels,
    cross_entropy_minimiser,
    cross_entropy_objective,
    random_start,
)
from common.collapse.ufm.lbfgs import minimise

CIFAR10 = {"weight_decay": 1e-3, "feature_decay": 1e-6}
SETTINGS = [
    (4, 5, 8, 5e-3, 1e-3),
    (10, 3, 9, 2e-3, 5e-4),
    (6, 4, 7, 0.075, 0.075),
    (2, 1, 1, 1e-2, 2e-2),
]


def slow_objective(
    weight: np.ndarray, features: np.ndarray, labels: list[int], delta: float, decays: list[float]
) -> float:
    """The definition, sample by sample (the oracle)."""
    K, total = len(weight), 0.0
    for feature, label in zip(features, labels, strict=True):
        logits = [float(row @ feature) for row in weight]
        log_sum = math.log(sum(math.exp(logit) for logit in logits))
        for k in range(K):
            target = delta / K + (1 - delta if k == label else 0)
            total -= target * (logits[k] - log_sum) / len(labels)
    penalties = decays[0] / 2 * (weight**2).sum() + decays[1] / 2 * (features**2).sum()
    return float(total + penalties)


@pytest.mark.parametrize(
    ("delta", "weight_norm", "feature_norm"),
    [(0, 3.49874, 1.56469), (0.05, 3.12782, 1.39880), (0.1, 2.93714, 1.31353)],
)
def test_the_norms_of_the_cifar10_setting(
    delta: float, weight_norm: float, feature_norm: float
) -> None:
    found = cross_entropy_minimiser(10, 5_000, 512, smoothing=delta, **CIFAR10)
    assert found.weight_norm == pytest.approx(weight_norm, abs=5.1e-6)
    assert found.feature_norm == pytest.approx(feature_norm, abs=5.1e-6)
    assert found.features.shape == (50_000, 512)


@pytest.mark.parametrize("delta", [0, 0.05, 0.2])
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_the_minimiser_agrees_with_a_numerical_minimum(
    setting: tuple[Any, ...], delta: float
) -> None:
    K, n, d, weight_decay, feature_decay = setting
    exact = cross_entropy_minimiser(
        K, n, d, weight_decay=weight_decay, feature_decay=feature_decay, smoothing=delta
    )
    objective = partial(
        cross_entropy_objective,
        labels=balanced_labels(K, n),
        smoothing=delta,
        decays={"weight": weight_decay, "features": feature_decay, "bias": 1e-2},
    )
    found = minimise(objective, random_start(K, n, d, seed=1))
    assert found.objective == pytest.approx(exact.objective, rel=1e-10)
    assert objective(exact.parameters).item() == pytest.approx(exact.objective, rel=1e-12)
    close = partial(pytest.approx, rel=1e-5, abs=1e-6)
    assert found.parameters["weight"].norm(dim=1).tolist() == close([exact.weight_norm] * K)
    assert found.parameters["features"].norm(dim=1).tolist() == close(
        [exact.feature_norm] * (K * n)
    )
    assert found.parameters["bias"].abs().max() < 1e-6


weights = st.floats(1e-4, 0.5)


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 12), st.integers(1, 9), weights, weights, st.floats(0, 0.95))
def test_the_tensors_are_what_the_scalars_say(
    K: int, n: int, weight_decay: float, feature_decay: float, delta: float
) -> None:
    decays = {"weight_decay": weight_decay, "feature_decay": feature_decay}
    found = cross_entropy_minimiser(K, n, K + 1, smoothing=delta, **decays)
    logits = found.class_features @ found.weight.T
    centred = torch.eye(K, dtype=torch.float64) - 1 / K
    assert torch.allclose(logits, found.logit_gap * centred, rtol=0, atol=1e-10)
    norms = torch.tensor([found.weight_norm] * K, dtype=torch.float64)
    assert torch.allclose(found.weight.norm(dim=1), norms, rtol=1e-10, atol=1e-10)
    parameters = {"weight": found.weight, "features": found.features}
    value = cross_entropy_objective(
        parameters,
        balanced_labels(K, n),
        smoothing=delta,
        decays={"weight": weight_decay, "features": feature_decay},
    )
    assert value.item() == pytest.approx(found.objective, rel=1e-10)
    assert torch.softmax(logits, 1).diagonal().tolist() == pytest.approx(
        [found.true_probability] * K, rel=1e-10
    )


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 12), st.integers(1, 9), weights, weights, st.floats(0, 0.95))
def test_the_gap_minimises_the_scalar_problem(
    K: int, n: int, weight_decay: float, feature_decay: float, delta: float
) -> None:
    s = math.sqrt(n * weight_decay * feature_decay)

    def scalar(a: float) -> float:
        return math.log(math.exp(a) + K - 1) - (1 - delta + delta / K) * a + s * (K - 1) * a

    best = minimize_scalar(scalar, bounds=(0, 30), method="bounded", options={"xatol": 1e-10})
    decays = {"weight_decay": weight_decay, "feature_decay": feature_decay}
    found = cross_entropy_minimiser(K, n, K - 1, smoothing=delta, **decays)
    assert found.objective == pytest.approx(best.fun, rel=1e-8)
    assert found.logit_gap == pytest.approx(best.x, abs=1e-3)


@pytest.mark.parametrize("delta", [0.1, 0.100001, 0.5])
def test_strong_penalties_end_at_zero(delta: float) -> None:
    found = cross_entropy_minimiser(
        6, 4, 7, weight_decay=0.075, feature_decay=0.075, smoothing=delta + 1e-12
    )
    assert found.collapsed
    assert found.logit_gap == found.weight_norm == found.feature_norm == 0
    assert found.objective == pytest.approx(math.log(6), rel=1e-14)
    assert not found.weight.any()
    assert not found.features.any()


def test_the_gap_reaches_zero_without_a_jump() -> None:
    below = cross_entropy_minimiser(
        6, 4, 7, weight_decay=0.075, feature_decay=0.075, smoothing=0.1 - 1e-6
    )
    assert not below.collapsed
    assert 0 < below.logit_gap < 1e-4
    assert below.objective == pytest.approx(math.log(6), rel=1e-10)


@pytest.mark.parametrize("delta", [0.0, 0.3])
def test_the_objective_is_its_definition(delta: float) -> None:
    start, labels = random_start(5, 3, 4, seed=2), balanced_labels(5, 3)
    expected = slow_objective(
        start["weight"].numpy(), start["features"].numpy(), labels.tolist(), delta, [0.3, 0.7]
    )
    del start["bias"]
    found = cross_entropy_objective(
        start, labels, smoothing=delta, decays={"weight": 0.3, "features": 0.7}
    )
    assert found.item() == pytest.approx(expected, rel=1e-13)


def test_the_bias_counts_in_the_logits_and_in_its_penalty() -> None:
    start, labels = random_start(5, 3, 4, seed=2), balanced_labels(5, 3)
    zero = start | {"bias": torch.zeros(5, dtype=torch.float64)}
    shifted = start | {"bias": torch.full((5,), 2.0, dtype=torch.float64)}
    plain = cross_entropy_objective(zero, labels)
    assert cross_entropy_objective(shifted, labels).item() == pytest.approx(plain.item())
    penalised = cross_entropy_objective(shifted, labels, decays={"bias": 0.1})
    assert (penalised - plain).item() == pytest.approx(0.1 / 2 * 5 * 4)
    logits = start["features"] @ start["weight"].T + start["bias"]
    expected = torch.nn.functional.cross_entropy(logits, labels)
    assert cross_entropy_objective(start, labels).item() == pytest.approx(expected.item())


def test_copies_along_leading_dimensions_are_independent() -> None:
    starts = [random_start(4, 3, 5, seed=seed) for seed in range(6)]
    labels = balanced_labels(4, 3)
    options: dict[str, Any] = {
        "smoothing": 0.1,
        "decays": {"weight": 0.1, "features": 0.2, "bias": 0.3},
    }
    stacked = {
        name: torch.stack([start[name] for start in starts]).unflatten(0, (2, 3))
        for name in starts[0]
    }
    together = cross_entropy_objective(stacked, labels, **options)
    alone = torch.stack([cross_entropy_objective(start, labels, **options) for start in starts])
    assert together.shape == (2, 3)
    assert torch.allclose(together.flatten(), alone, rtol=1e-13)


def test_starts_depend_on_the_seed_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    once, again, other = (random_start(3, 2, 4, seed=seed, scale=2.0) for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(once[name], again[name]) for name in once)
    assert not torch.equal(once["weight"], other["weight"])
    assert torch.equal(once["weight"], 2 * random_start(3, 2, 4, seed=5)["weight"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_classes": 1}, "num_classes: 1 is fewer than 2"),
        ({"per_class": 0}, "per_class: 0 is fewer than 1"),
        ({"num_features": 2}, "num_features: 2 is fewer than K - 1 = 3"),
        ({"weight_decay": 0.0}, "weight_decay: 0.0 is not positive"),
        ({"feature_decay": -1.0}, "feature_decay: -1.0 is not positive"),
        ({"feature_decay": math.nan}, "feature_decay: nan is not positive"),
        ({"smoothing": 1.0}, r"smoothing: 1.0 is outside \[0, 1\)"),
        ({"smoothing": -0.1}, "smoothing: -0.1 is outside"),
        ({"smoothing": math.nan}, "smoothing: nan is outside"),
    ],
)
def test_the_minimiser_refuses_bad_input(change: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {
        "num_classes": 4,
        "per_class": 2,
        "num_features": 3,
        "weight_decay": 0.1,
        "feature_decay": 0.1,
    }
    with pytest.raises(ValueError, match=message):
        cross_entropy_minimiser(**good | change)


def test_the_objective_refuses_bad_input() -> None:
    start, labels = random_start(3, 2, 4, seed=0), balanced_labels(3, 2)
    with pytest.raises(ValueError, match="smoothing: 1 is outside"):
        cross_entropy_objective(start, labels, smoothing=1)
    with pytest.raises(ValueError, match=r"parameters: \['weight'\] are missing"):
        cross_entropy_objective({"features": start["features"]}, labels)
    with pytest.raises(ValueError, match=r"labels: shape \(5,\) for 6 features"):
        cross_entropy_objective(start, labels[1:])
    with pytest.raises(ValueError, match="labels: values outside 0 to 2"):
        cross_entropy_objective(start, labels + 1)
    with pytest.raises(ValueError, match=r"decays: \['wieght'\] are no parameters"):
        cross_entropy_objective(start, labels, decays={"wieght": 0.1})
    with pytest.raises(ValueError, match=r"decays: \['bias'\] are negative"):
        cross_entropy_objective(start, labels, decays={"bias": -0.1})

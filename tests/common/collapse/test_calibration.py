"""Calibration error and temperature scaling against obvious ways."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import softmax

from common.collapse.calibration import (
    LOWEST_TEMPERATURE,
    expected_calibration_error,
    fit_temperature,
    reliability,
)

Floats = NDArray[np.float64]


def predictions(seed: int, temperature: float = 1.0, n: int = 500) -> tuple[Floats, Floats]:
    """Logits, and labels drawn from softmax(logits/temperature)."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.standard_normal((n, 4))
    below = softmax(logits / temperature, axis=1).cumsum(axis=1) < rng.random(n)[:, None]
    return logits, below.sum(axis=1).clip(max=3)


def error_by_loop(probabilities: Floats, labels: Floats, bins: int) -> float:
    """Bin by bin, with the bins written as in the paper."""
    confidence, predicted = probabilities.max(axis=1), probabilities.argmax(axis=1)
    error = 0.0
    for i in range(bins):
        inside = (confidence > i / bins) & (confidence <= (i + 1) / bins)
        if inside.any():
            accuracy = (predicted[inside] == labels[inside]).mean()
            error += inside.mean() * abs(accuracy - confidence[inside].mean())
    return error


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), bins=st.sampled_from([1, 10, 15, 20, 25]))
def test_the_error_bin_by_bin(seed: int, bins: int) -> None:
    logits, labels = predictions(seed, n=60)
    probabilities = softmax(logits, axis=1)
    error = expected_calibration_error(probabilities, labels, bins)
    assert error == pytest.approx(error_by_loop(probabilities, labels, bins))
    assert 0 <= error <= 1
    order = np.random.default_rng(seed).permutation(60)
    assert expected_calibration_error(probabilities[order], labels[order], bins) == pytest.approx(
        error
    )
    classes = np.random.default_rng(seed).permutation(4)
    renamed = expected_calibration_error(
        probabilities[:, classes], np.argsort(classes)[labels], bins
    )
    assert renamed == pytest.approx(error)


def test_bins_are_closed_on_the_right() -> None:
    # 0.6 = 3/5 belongs to (2/5, 3/5]; 1 to the last bin.
    probabilities = np.array([[0.6, 0.4], [0.55, 0.45], [0.7, 0.3], [1.0, 0.0], [0.9, 0.1]])
    table = reliability(probabilities, np.array([0, 1, 0, 0, 1]), bins=5)
    assert table["count"].tolist() == [0, 0, 2, 1, 2]
    assert table["accuracy"].tolist()[2:] == [0.5, 1, 0.5]
    np.testing.assert_allclose(table["confidence"][2:], [0.575, 0.7, 0.95])
    assert table.loc[:1, ["confidence", "accuracy"]].isna().all().all()
    np.testing.assert_allclose(table["low"], [0, 0.2, 0.4, 0.6, 0.8])
    np.testing.assert_allclose(table["high"], [0.2, 0.4, 0.6, 0.8, 1])
    error = expected_calibration_error(probabilities, np.array([0, 1, 0, 0, 1]), bins=5)
    assert error == pytest.approx((2 * 0.075 + 0.3 + 2 * 0.45) / 5)


@pytest.mark.parametrize("bins", [5, 10, 15, 20, 25])
def test_every_edge_falls_into_the_bin_below(bins: int) -> None:
    edges = np.array([i / bins for i in range(1, bins + 1)])
    others = np.repeat((1 - edges[:, None]) / 39, 39, axis=1)
    table = reliability(np.column_stack([edges, others]), np.zeros(bins, int), bins)
    assert table["count"].tolist() == [1] * bins


def test_certain_and_right_is_calibrated() -> None:
    probabilities = np.eye(3)
    assert expected_calibration_error(probabilities, np.arange(3)) == 0
    assert expected_calibration_error(probabilities, np.array([1, 2, 0])) == 1


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_likelihood_finds_the_temperature_of_the_labels(temperature: float) -> None:
    logits, labels = predictions(0, temperature, n=20_000)
    assert fit_temperature(logits, labels, "nll") == pytest.approx(temperature, rel=0.05)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10_000), factor=st.floats(0.1, 10))
def test_the_likelihood_has_no_slope_at_its_temperature(seed: int, factor: float) -> None:
    logits, labels = predictions(seed, n=200)

    def slope(inverse: float) -> float:
        p = softmax(logits * inverse, axis=1)
        return float(((p * logits).sum(axis=1) - logits[np.arange(200), labels]).mean())

    expected = 1 / brentq(slope, 1e-3, 50, xtol=1e-12)
    assert fit_temperature(logits, labels, "nll") == pytest.approx(expected, rel=1e-5)
    # Scaled and shifted logits are undone by the temperature.
    moved = factor * logits + 1e3
    assert fit_temperature(moved, labels, "nll") == pytest.approx(factor * expected, rel=1e-5)


def test_separable_data_end_at_the_lowest_temperature() -> None:
    logits = 5 * np.eye(3)[[0, 1, 2, 0]]
    assert fit_temperature(logits, np.array([0, 1, 2, 0]), "nll") == LOWEST_TEMPERATURE


def test_huge_logits_do_not_overflow() -> None:
    logits, labels = predictions(1)
    fitted = fit_temperature(1e6 * logits - 1e9, labels, "nll")
    assert np.isfinite(fitted)
    assert np.isfinite(fit_temperature(1e3 * logits, labels, "ece"))


@pytest.mark.parametrize("temperature", [0.3, 2.5])
def test_the_search_by_calibration_error(temperature: float) -> None:
    logits, labels = predictions(2, temperature, n=2000)

    def error(temperature: float) -> float:
        return error_by_loop(softmax(logits / temperature, axis=1), labels, 20)

    best = None
    for grid in ([0.1 + 0.5 * i for i in range(20)], 0.5, 0.1):
        points = grid if isinstance(grid, list) else [
            best + grid * (2 * i / 9 - 1) for i in range(10)]  # fmt: skip
        for point in points:
            if point > 0 and (best is None or error(point) < error(best) - 1e-12):
                best = point
    fitted = fit_temperature(logits, labels, "ece")
    assert fitted == pytest.approx(best)
    assert fitted == pytest.approx(temperature, abs=0.5)
    assert error(fitted) < error(1.0) / 3


def test_tensors_are_arrays_too() -> None:
    logits, labels = predictions(3)
    probabilities = torch.from_numpy(softmax(logits, axis=1)).float()
    ours = expected_calibration_error(probabilities, torch.from_numpy(labels))
    assert ours == pytest.approx(error_by_loop(softmax(logits, axis=1), labels, 20), abs=1e-5)


P, Y = np.array([[0.5, 0.5], [0.9, 0.1]]), np.array([0, 1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: reliability(P, Y, 0), "bins"),
        (lambda: reliability(P, np.array([0, 2])), r"labels: must lie in 0…1"),
        (lambda: reliability(P, np.array([0, -1])), r"labels: must lie in 0…1"),
        (lambda: reliability(P, np.array([0.0, 1.0])), "labels: needs integers"),
        (lambda: reliability(P, Y[:1]), "labels: needs one for each of 2 rows"),
        (lambda: reliability(P[:, 0], Y), "probabilities: needs shape"),
        (lambda: reliability(2 * P, Y), "probabilities: rows must be"),
        (lambda: reliability(np.array([[1.5, -0.5]]), Y[:1]), "probabilities: rows must be"),
        (lambda: expected_calibration_error(P * np.nan, Y), "probabilities: an entry is NaN"),
        (lambda: fit_temperature(P * np.inf, Y, "nll"), "logits: an entry is NaN or infinite"),
        (lambda: fit_temperature(P, Y, "brier"), "criterion"),  # type: ignore[arg-type]
    ],
)
def test_bad_input_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()

"""The closed forms of the regression model, against minimisation and worked instances."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from common.collapse.target_preprocessing import ZCA, Standardize, TargetTransform
from common.collapse.ufm import regression as ufm
from common.collapse.ufm.lbfgs import minimise

WORKED = torch.tensor([[1, 0.6, 0.1], [0.6, 0.8, 0.2], [0.1, 0.2, 0.3]], dtype=torch.float64)
"""An instance with eigenvalues 0.1911, 0.3665 and 1.5425."""


def targets_with(covariance: Tensor, samples: int = 20, seed: int = 0) -> Tensor:
    """(samples, n) normal targets with exactly this covariance (divisor M) and another mean."""
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(samples, len(covariance), generator=generator, dtype=torch.float64)
    white = ZCA().fit(raw).transform(raw)
    eigenvalues, directions = torch.linalg.eigh(covariance)
    return white @ ((directions * eigenvalues.clamp(min=0).sqrt()) @ directions.T) + 0.7


def minimum_found(targets: Tensor, lam_h: float, lam_w: float, seed: int = 0, **options: Any):
    samples, n = targets.shape
    generator = torch.Generator().manual_seed(seed)
    shapes = {"weight": (n, 4), "features": (samples, 4), "bias": (n,)}
    start = {
        name: torch.randn(shape, generator=generator, dtype=torch.float64)
        for name, shape in shapes.items()
    }
    return minimise(ufm.regression_objective(targets, lam_h, lam_w, **options), start)


def error_of(parameters: dict[str, Tensor], targets: Tensor) -> float:
    residuals = parameters["features"] @ parameters["weight"].T + parameters["bias"] - targets
    return (residuals.square().sum() / len(targets)).item()


@pytest.mark.parametrize(
    ("c", "multi", "single"),
    [
        (0.01, 0.03, 0.03),
        (0.09, 0.27, 0.27),
        (0.25, 0.6911, 0.75),
        (0.5, 1.0575, 1.3),
        (0.9, 1.4575, 2.0),
    ],
)
def test_worked_instance_of_multi_and_single_task(c: float, multi: float, single: float) -> None:
    assert ufm.training_error(WORKED, c) == pytest.approx(multi, abs=1e-4)
    assert ufm.single_task_error(WORKED, c) == pytest.approx(single, abs=1e-4)


@pytest.mark.parametrize(
    ("c", "zca", "standardised"),
    [(0.25, 0.525, 0.525), (0.5, 1.05, 0.8693), (0.9, 1.89, 1.3429)],
)
def test_worked_instance_of_preprocessing(c: float, zca: float, standardised: float) -> None:
    assert ufm.whitened_error(WORKED, c) == pytest.approx(zca, abs=1e-4)
    assert ufm.standardised_error(WORKED, c) == pytest.approx(standardised, abs=1e-4)


PENALTIES = [(0.1, 0.1), (0.5, 0.08), (0.2, 1.5), (2.0, 0.6), (1.5, 1.5)]
"""c = 0.01, 0.04 (below all eigenvalues), 0.3 and 1.2 (between), 2.25 (above all)."""


@pytest.mark.parametrize(("lam_h", "lam_w"), PENALTIES)
def test_closed_form_is_the_minimum(lam_h: float, lam_w: float) -> None:
    targets = targets_with(WORKED)
    exact = ufm.regression_minimum(targets, lam_h, lam_w, width=4)
    parameters = {"weight": exact.weight, "features": exact.features, "bias": exact.bias}
    found = minimum_found(targets, lam_h, lam_w)
    value = ufm.regression_objective(targets, lam_h, lam_w)(parameters).item()

    assert value == pytest.approx(exact.objective, rel=1e-12)
    assert found.objective == pytest.approx(exact.objective, rel=1e-10)
    assert error_of(parameters, targets) == pytest.approx(exact.training_error, rel=1e-10)
    assert error_of(found.parameters, targets) == pytest.approx(exact.training_error, rel=1e-6)
    weight = found.parameters["weight"]
    torch.testing.assert_close(weight @ weight.T, exact.weight @ exact.weight.T, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.parameters["bias"], exact.bias, atol=1e-6, rtol=0)
    residuals = exact.features @ exact.weight.T + exact.bias - targets
    torch.testing.assert_close(residuals.T @ residuals / 20, exact.residual_covariance)


def test_residuals_are_white_below_the_smallest_eigenvalue() -> None:
    exact = ufm.regression_minimum(targets_with(WORKED), 0.5, 0.08, width=4)
    torch.testing.assert_close(exact.residual_covariance, 0.04 * torch.eye(3).double())
    assert exact.active_directions == 3


def test_directions_disappear_one_by_one() -> None:
    targets = targets_with(WORKED)
    active = [
        ufm.regression_minimum(targets, c, 1.0, width=3).active_directions
        for c in (0.19, 0.2, 0.37, 1.55)
    ]
    assert active == [3, 2, 1, 0]
    nothing = ufm.regression_minimum(targets, 1.55, 1.0, width=3)
    assert not nothing.weight.any() and not nothing.features.any()


def test_one_output() -> None:
    targets = targets_with(torch.tensor([[0.64]], dtype=torch.float64))
    exact = ufm.regression_minimum(targets, 0.3, 0.1, width=4)
    expected = math.sqrt(0.3 / 0.1) * (0.8 - math.sqrt(0.03))
    assert exact.weight.square().sum().item() == pytest.approx(expected)


def test_a_direction_without_variance_is_not_learned() -> None:
    targets = targets_with(torch.diag(torch.tensor([1.0, 0.0], dtype=torch.float64)))
    exact = ufm.regression_minimum(targets, 0.1, 0.1, width=4)
    assert exact.active_directions == 1
    assert exact.features.isfinite().all()
    assert exact.training_error == pytest.approx(0.01)


@pytest.mark.parametrize("c", [0.02, 0.25, 0.9])
@pytest.mark.parametrize(
    ("transform", "error"), [(ZCA(), ufm.whitened_error), (Standardize(), ufm.standardised_error)]
)
def test_preprocessing_against_minimisation(c: float, transform: TargetTransform, error) -> None:
    targets = targets_with(WORKED)
    root = math.sqrt(c)
    mapped = transform.fit(targets).transform(targets)
    found = minimum_found(mapped, root, root).parameters
    predictions = found["features"] @ found["weight"].T + found["bias"]
    residuals = transform.inverse_transform(predictions) - targets
    measured = (residuals.square().sum() / len(targets)).item()
    assert measured == pytest.approx(error(WORKED, c), rel=1e-6)


def test_averaging_over_outputs_multiplies_both_penalties() -> None:
    targets = targets_with(WORKED)
    found = minimum_found(targets, 0.1, 0.1, reduce_outputs="mean").parameters
    c = ufm.effective_decay_product(0.01, 3, "mean")
    assert c == pytest.approx(0.09)
    assert error_of(found, targets) == pytest.approx(0.27, rel=1e-6)
    assert ufm.effective_decay_product(0.01, 3) == 0.01


def random_covariance(seed: int, n: int) -> Tensor:
    factor = torch.from_numpy(np.random.default_rng(seed).normal(size=(n, n + 1)))
    return factor @ factor.T / n


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 5), c=st.floats(0, 5))
def test_orderings_that_hold_for_every_covariance(seed: int, n: int, c: float) -> None:
    covariance = random_covariance(seed, n)
    multi, single = ufm.training_error(covariance, c), ufm.single_task_error(covariance, c)
    trace = covariance.trace().item()
    assert multi <= single + 1e-9 <= trace + 2e-9
    assert single <= ufm.single_task_error(covariance, [c * (1 + j) for j in range(n)]) + 1e-12
    assert ufm.standardised_error(covariance, c) <= trace + 1e-9
    assert ufm.minimal_objective(covariance, c) <= trace / 2 + 1e-9
    root = math.sqrt(c)
    alone = sum(ufm.minimal_objective(v.view(1, 1), c) for v in covariance.diagonal())
    assert ufm.minimal_objective(covariance, c) <= alone + 1e-9, root


def test_when_everything_has_collapsed_all_models_predict_the_mean() -> None:
    for error in (ufm.training_error, ufm.single_task_error, ufm.whitened_error,
                  ufm.standardised_error):  # fmt: skip
        assert error(WORKED, 2.5) == pytest.approx(2.1)
    assert ufm.minimal_objective(WORKED, 2.5) == pytest.approx(1.05)


def test_without_decay_nothing_is_left() -> None:
    assert ufm.training_error(WORKED, 0) == 0
    assert ufm.minimal_objective(WORKED, 0) == 0
    assert ufm.whitened_error(WORKED, 0) == ufm.standardised_error(WORKED, 0) == 0


@pytest.mark.parametrize(
    ("covariance", "message"),
    [
        (torch.eye(3)[:2], "needs square matrices"),
        (torch.tensor([[1.0, 0.5], [0.4, 1.0]]), "not symmetric"),
        (torch.tensor([[1.0, 2.0], [2.0, 1.0]]), "negative eigenvalue"),
        (torch.tensor([[1.0, math.nan], [math.nan, 1.0]]), "NaN"),
        (torch.eye(2).expand(3, 2, 2), "no single matrix"),
    ],
)
def test_what_is_no_covariance_is_refused(covariance: Tensor, message: str) -> None:
    for error in (ufm.training_error, ufm.single_task_error, ufm.whitened_error,
                  ufm.standardised_error, ufm.minimal_objective):  # fmt: skip
        with pytest.raises(ValueError, match=f"covariance: .*{message}"):
            error(covariance, 0.1)


def test_other_arguments_that_are_refused() -> None:
    targets = targets_with(WORKED)
    with pytest.raises(ValueError, match="c: -1 is negative"):
        ufm.training_error(WORKED, -1)
    with pytest.raises(ValueError, match="c: 2 values for 3 outputs"):
        ufm.single_task_error(WORKED, [0.1, 0.2])
    with pytest.raises(ValueError, match="width: 2 is less than the 3 outputs"):
        ufm.regression_minimum(targets, 0.1, 0.1, width=2)
    with pytest.raises(ValueError, match="feature_decay: 0 is not positive"):
        ufm.regression_minimum(targets, 0, 0.1, width=3)
    with pytest.raises(ValueError, match="weight_decay: nan"):
        ufm.regression_minimum(targets, 0.1, math.nan, width=3)
    with pytest.raises(ValueError, match=r"feature_decay: -0\.1 is negative"):
        ufm.regression_objective(targets, -0.1, 0.1)
    with pytest.raises(ValueError, match="targets: an entry is NaN"):
        ufm.regression_minimum(targets * math.nan, 0.1, 0.1, width=3)
    with pytest.raises(ValueError, match="targets: shape"):
        ufm.regression_objective(targets[:, 0], 0.1, 0.1)
    with pytest.raises(ValueError, match="without variance"):
        ufm.standardised_error(torch.diag(torch.tensor([1.0, 0.0])), 0.1)

"""Spectra of the unconstrained feature model against closed forms and finite differences."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from common.collapse.ufm.cross_entropy import (
    balanced_labels,
    cross_entropy_minimiser,
    cross_entropy_objective,
    random_start,
)
from common.collapse.ufm.hessian import (
    condition_number,
    data_fit_condition_number,
    hessian_spectrum,
    regularised_condition_number,
)

EXAMPLE = (4, 5, 8, 5e-3, 1e-3)
SETTINGS = [EXAMPLE, (10, 3, 12, 2e-3, 5e-4), (6, 4, 7, 0.05, 0.075)]


def spectra(setting: tuple[Any, ...], delta: float, blocks: list[str]) -> list[torch.Tensor]:
    """At the minimiser: the spectrum without the L2 terms, and with them."""
    K, n, d, weight_decay, feature_decay = setting
    point = cross_entropy_minimiser(
        K, n, d, weight_decay=weight_decay, feature_decay=feature_decay, smoothing=delta
    ).parameters
    both = {"weight": weight_decay, "features": feature_decay}
    fit = partial(cross_entropy_objective, labels=balanced_labels(K, n), smoothing=delta)
    return [hessian_spectrum(partial(fit, decays=d), point, blocks) for d in ({}, both)]


@pytest.mark.parametrize(
    ("delta", "without", "regularised", "joint"),
    [(0, 3.94, 6.20, 34), (0.05, 3.79, 14.24, 82), (0.2, 3.34, 25.98, 153)],
)
def test_the_worked_example(delta: float, without: float, regularised: float, joint: int) -> None:
    for block in ("weight", "features"):
        found = [condition_number(one) for one in spectra(EXAMPLE, delta, [block])]
        assert found == [pytest.approx(without, abs=0.005), pytest.approx(regularised, abs=0.005)]
    bare, penalised = spectra(EXAMPLE, delta, ["weight", "features"])
    assert condition_number(penalised) == pytest.approx(joint, abs=0.5)
    with pytest.raises(ValueError, match="indefinite"):
        condition_number(bare)


@pytest.mark.parametrize("delta", [0, 0.05])
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_closed_forms(setting: tuple[Any, ...], delta: float) -> None:
    K, n, _, weight_decay, feature_decay = setting
    options = {"weight_decay": weight_decay, "feature_decay": feature_decay, "smoothing": delta}
    for block in ("weight", "features"):
        bare, penalised = spectra(setting, delta, [block])
        assert condition_number(bare) == pytest.approx(
            data_fit_condition_number(K, n, **options), rel=1e-9
        )
        assert condition_number(penalised) == pytest.approx(
            regularised_condition_number(K, n, **options), rel=1e-9
        )


@pytest.mark.parametrize(
    ("delta", "expected"), [(0.0, 9.799), (0.05, 9.349), (0.1, 8.899)], ids=str
)
def test_the_cifar10_setting(delta: float, expected: float) -> None:
    found = data_fit_condition_number(
        10, 5_000, weight_decay=1e-3, feature_decay=1e-6, smoothing=delta
    )
    assert found == pytest.approx(expected, abs=5e-4)
    formula = 10 - 9 * (delta + (10 * 50_000 * 1e-3 * 1e-6) ** 0.5)
    assert found == pytest.approx(formula, rel=1e-12)


def test_directions_on_which_only_the_penalty_acts() -> None:
    K, n, d, weight_decay, _ = EXAMPLE
    bare, penalised = spectra(EXAMPLE, 0.05, ["weight"])
    assert torch.allclose(penalised, bare + weight_decay, rtol=0, atol=1e-12)
    assert (bare > 1e-9 * bare[-1]).sum() == (K - 1) ** 2
    bare, _ = spectra(EXAMPLE, 0.05, ["features"])
    assert (bare > 1e-9 * bare[-1]).sum() == K * n * (K - 1)
    _, joint = spectra(EXAMPLE, 0.05, ["weight", "features"])
    rotations = d * (d - 1) // 2 - (d - K + 1) * (d - K) // 2
    assert (joint < 1e-9 * joint[-1]).sum() == rotations == 18


def test_the_spectrum_is_that_of_finite_differences() -> None:
    labels, point = balanced_labels(3, 1), random_start(3, 1, 2, seed=4)
    objective = partial(cross_entropy_objective, labels=labels, smoothing=0.1)
    flat, step, size = point["weight"].reshape(-1), 1e-4, 6

    def value(entries: torch.Tensor) -> float:
        return objective({**point, "weight": entries.view(3, 2)}).item()

    steps = step * torch.eye(size, dtype=torch.float64)
    second = torch.empty(size, size, dtype=torch.float64)
    for i in range(size):
        for j in range(size):
            signs = [
                a * b * value(flat + a * steps[i] + b * steps[j]) for a in (1, -1) for b in (1, -1)
            ]
            second[i, j] = sum(signs) / (4 * step**2)
    expected = torch.linalg.eigvalsh(second)
    found = hessian_spectrum(objective, point, ["weight"])
    assert torch.allclose(found, expected, rtol=0, atol=1e-6)


def test_a_condition_number_leaves_null_directions_out() -> None:
    assert condition_number(torch.tensor([-1e-15, 0.0, 0.5, 2.0]).double()) == 4
    with pytest.raises(ValueError, match=r"eigenvalues: -0\.1 is negative"):
        condition_number(torch.tensor([-0.1, 1.0]))
    with pytest.raises(ValueError, match="eigenvalues: all are 0"):
        condition_number(torch.zeros(3))


def test_bad_input_is_refused() -> None:
    point = random_start(3, 1, 2, seed=0)
    objective = partial(cross_entropy_objective, labels=balanced_labels(3, 1))
    with pytest.raises(ValueError, match=r"blocks: \['wieght'\] given; there are weight"):
        hessian_spectrum(objective, point, ["wieght"])
    with pytest.raises(ValueError, match="blocks: none given"):
        hessian_spectrum(objective, point, [])
    with pytest.raises(ValueError, match="num_classes: 2 is fewer than 3"):
        data_fit_condition_number(2, 5, weight_decay=0.1, feature_decay=0.1)
    for formula in (data_fit_condition_number, regularised_condition_number):
        with pytest.raises(ValueError, match="so large that the minimiser is 0"):
            formula(6, 4, weight_decay=1.0, feature_decay=1.0)
        with pytest.raises(ValueError, match="smoothing: 1 is outside"):
            formula(6, 4, weight_decay=0.1, feature_decay=0.1, smoothing=1)

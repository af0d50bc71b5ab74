"""Metrics of neural collapse in regression, each computed in a second way."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from sklearn.metrics import r2_score
from torch import Tensor

from common.collapse.regression_metrics import (
    Normalize,
    best_gamma,
    explained_variance_ratio,
    gram_matrix_error,
    principal_component_residual,
    r_squared,
    row_space_residual,
    sqrtm_psd,
    target_covariance,
    zero_feature_count,
)

VERSIONS: tuple[Normalize, ...] = ("unit", "none", "centered_unit")


def normal(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def covariance(seed: int, n: int) -> Tensor:
    return target_covariance(normal(seed, 50, n) @ normal(seed + 1, n, n))


def collapsed(n: int = 2, d: int = 7, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """The collapsed solution of the paper's theorem for λ_H = λ_W = √0.01: features, W and Σ."""
    targets = normal(seed, 60, n) @ torch.diag(torch.arange(1, n + 1).double())
    sigma = target_covariance(targets)
    assert torch.linalg.eigvalsh(sigma)[0] > 0.01
    weight_gram = sqrtm_psd(sigma) - 0.1 * torch.eye(n, dtype=torch.float64)
    orthonormal = torch.linalg.qr(normal(seed + 1, d, n))[0].T
    weight = sqrtm_psd(weight_gram) @ orthonormal
    centred = targets - targets.mean(0)
    return centred @ torch.linalg.inv(sqrtm_psd(sigma)) @ weight, weight, sigma


def residual_by_loop(features: Tensor, basis: Tensor, normalize: Normalize) -> float:
    """Mean squared distance from the span of the rows of `basis`, by least squares."""
    centre = features.mean(0) if normalize == "centered_unit" else 0
    distances = []
    for row in features - centre:
        vector = row if normalize == "none" else row / row.norm()
        fit = torch.linalg.lstsq(basis.T, vector[:, None]).solution
        distances.append(float((vector - (basis.T @ fit)[:, 0]).square().sum()))
    return float(np.mean(distances))


@pytest.mark.parametrize("normalize", VERSIONS)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_residuals_by_least_squares(normalize: Normalize, n: int) -> None:
    features = normal(0, 40, 6) @ normal(1, 6, 6) + 0.7
    weight = normal(2, n, 6)
    components = torch.from_numpy(PCA(n).fit(features.numpy()).components_)
    assert principal_component_residual(features, n, normalize).item() == pytest.approx(
        residual_by_loop(features, components, normalize)
    )
    assert row_space_residual(features, weight, normalize).item() == pytest.approx(
        residual_by_loop(features, weight, normalize)
    )


def test_a_mean_off_the_plane_counts_as_no_collapse() -> None:
    # All variance lies along the first axis, and the mean along the second.
    features = torch.tensor([[1.0, 1.0], [-1.0, 1.0]])
    assert principal_component_residual(features, 1).item() == pytest.approx(0.5)
    assert principal_component_residual(features, 1, "none").item() == pytest.approx(1)
    assert principal_component_residual(features, 1, "centered_unit").item() == pytest.approx(0)
    weight = torch.tensor([[0.0, 3.0]])
    assert row_space_residual(features, weight).item() == pytest.approx(0.5)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_perfect_collapse_gives_zeros(n: int) -> None:
    features, weight, sigma = collapsed(n)
    for normalize in VERSIONS:
        assert principal_component_residual(features, n, normalize).item() < 1e-28
        assert row_space_residual(features, weight, normalize).item() < 1e-28
    assert explained_variance_ratio(features, n).sum().item() == pytest.approx(1)
    if n > 1:
        gram = weight @ weight.T
        assert gram_matrix_error(gram, sigma, 0.01).item() < 1e-24
        assert best_gamma(gram, sigma).item() == pytest.approx(0.01)
        assert gram_matrix_error(gram, sigma, 0.0).item() > 1e-6


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 10_000), scale=st.floats(1e-3, 1e3))
def test_rotation_and_scale(seed: int, scale: float) -> None:
    features, weight = normal(seed, 30, 5) + 0.5, normal(seed + 1, 2, 5)
    turn = torch.linalg.qr(normal(seed + 2, 5, 5))[0]
    for normalize in VERSIONS:
        factor = scale**2 if normalize == "none" else 1
        for measure in (
            lambda h, w, norm: principal_component_residual(h, 2, norm),
            row_space_residual,
        ):
            before = measure(features, weight, normalize)
            after = measure(scale * features @ turn, 3 * weight @ turn, normalize)
            torch.testing.assert_close(after, factor * before, rtol=1e-6, atol=1e-12)
            assert before >= 0
            assert normalize == "none" or before <= 1 + 1e-12
    gram, sigma = weight @ weight.T, covariance(seed, 2)
    for gamma in (0.0, float(torch.linalg.eigvalsh(sigma)[0]) / 2):
        error = gram_matrix_error(gram, sigma, gamma)
        assert 0 <= error <= 4
        torch.testing.assert_close(gram_matrix_error(scale * gram, sigma, gamma), error)
    # The rows of a mixed W span the same space.
    mixed = row_space_residual(features, normal(seed, 2, 2) @ weight)
    torch.testing.assert_close(mixed, row_space_residual(features, weight), rtol=1e-6, atol=1e-9)


def test_zero_features_are_left_out_and_counted() -> None:
    features, weight = normal(0, 20, 5), normal(1, 2, 5)
    dead = torch.cat([features, torch.zeros(3, 5)])
    assert zero_feature_count(dead).item() == 3
    assert zero_feature_count(features).item() == 0
    assert zero_feature_count(dead, "none").item() == 0
    torch.testing.assert_close(
        row_space_residual(dead, weight), row_space_residual(features, weight)
    )
    with_mean = torch.tensor([[1.0, 2.0], [3.0, 4.0], [2.0, 3.0]])
    assert zero_feature_count(with_mean, "centered_unit").item() == 1
    assert row_space_residual(torch.zeros(4, 5), weight).isnan()
    assert row_space_residual(torch.zeros(4, 5), weight, "none").item() == 0


def test_zero_and_singular_weights() -> None:
    features = normal(0, 20, 5)
    assert row_space_residual(features, torch.zeros(2, 5)).isnan()
    assert row_space_residual(features, 1e-14 * normal(1, 2, 5)).isnan()
    row = normal(1, 1, 5)
    singular = torch.cat([row, -2 * row])
    torch.testing.assert_close(
        row_space_residual(features, singular), row_space_residual(features, row)
    )
    sigma = covariance(0, 2)
    assert gram_matrix_error(torch.zeros(2, 2), sigma, 0.0).isnan()
    assert best_gamma(torch.zeros(2, 2), sigma).isnan()


def test_directions_without_variance_are_left_out() -> None:
    line = normal(0, 20, 1) @ normal(1, 1, 5)
    offset = line + normal(2, 5)
    torch.testing.assert_close(
        principal_component_residual(offset, 3), principal_component_residual(offset, 1)
    )
    assert principal_component_residual(line, 3).item() < 1e-20
    assert principal_component_residual(torch.ones(6, 5), 2).item() == pytest.approx(1)


def grid_error(gram: Tensor, sigma: Tensor, points: int = 1000) -> float:
    """The smallest error on the paper's grid, by scipy's matrix square root."""
    from scipy.linalg import sqrtm

    root, lowest = sqrtm(sigma.numpy()), np.linalg.eigvalsh(sigma.numpy())[0]
    a = gram.numpy() / np.linalg.norm(gram.numpy())
    errors = []
    for gamma in np.linspace(0, lowest * (1 - 1e-9), points):
        s = root - sqrt(gamma) * np.eye(len(root))
        errors.append(np.linalg.norm(a - s / np.linalg.norm(s)) ** 2)
    return float(min(errors))


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10_000), n=st.sampled_from([2, 3, 4]))
def test_the_best_gamma_is_no_worse_than_the_grid(seed: int, n: int) -> None:
    sigma = covariance(seed, n)
    noise = 0.2 * normal(seed + 3, n, n)
    for gram in (
        (noise @ noise.T) + sqrtm_psd(sigma),
        normal(seed + 4, n, n + 2) @ normal(seed + 4, n, n + 2).T,
        sqrtm_psd(sigma) - 0.9 * torch.linalg.eigvalsh(sigma)[0].sqrt() * torch.eye(n).double(),
    ):
        gamma = best_gamma(gram, sigma)
        error = gram_matrix_error(gram, sigma, gamma).item()
        grid = grid_error(gram, sigma)
        assert error <= grid + 1e-9
        assert error >= grid - 1e-2


def test_the_ends_of_the_range_of_gamma() -> None:
    sigma = torch.diag(torch.tensor([1.0, 4.0]))
    # W Wᵀ spread more evenly than Σ^½ = diag(1, 2): nothing to subtract.
    assert best_gamma(torch.diag(torch.tensor([2.0, 2.1])), sigma).item() == 0
    # W Wᵀ in the second direction alone: everything is subtracted.
    alone = torch.diag(torch.tensor([0.0, 5.0]))
    assert best_gamma(alone, sigma).item() == pytest.approx(1)
    assert gram_matrix_error(alone, sigma, 1.0).item() == pytest.approx(0)
    # γ = 1/4: diag(1, 2) − ½ = diag(½, 1½).
    inside = torch.diag(torch.tensor([1.0, 3.0]))
    assert best_gamma(inside, sigma).item() == pytest.approx(0.25)


def test_where_the_target_vanishes() -> None:
    sigma = 2 * torch.eye(3)
    gram = torch.diag(torch.tensor([1.0, 2.0, 3.0]))
    assert gram_matrix_error(gram, sigma, 2.0).isnan()
    # λ_min is met up to rounding only.
    rounded = 0.3 * torch.eye(3, dtype=torch.float64)
    assert gram_matrix_error(gram, rounded, 0.3 * (1 - 1e-14)).isnan()
    gamma = best_gamma(gram, sigma).item()
    assert 0 <= gamma < 2
    assert gram_matrix_error(gram, sigma, gamma).item() == pytest.approx(2 - 2 * 6 / sqrt(14 * 3))


def test_one_target_has_no_gram_matrix_error() -> None:
    one = torch.ones(1, 1)
    assert gram_matrix_error(2 * one, 3 * one, 1.0).isnan()
    assert best_gamma(2 * one, 3 * one).isnan()


def test_a_curve_over_gamma() -> None:
    gram, sigma = normal(0, 2, 4) @ normal(0, 2, 4).T, covariance(0, 2)
    gammas = torch.linspace(0, float(torch.linalg.eigvalsh(sigma)[0]), 5, dtype=torch.float64)
    curve = gram_matrix_error(gram, sigma, gammas)
    assert curve.shape == (5,)
    single = [gram_matrix_error(gram, sigma, float(gamma)) for gamma in gammas]
    torch.testing.assert_close(curve, torch.stack(single))


def test_many_models_are_measured_as_one_by_one() -> None:
    features, weight, sigma = normal(0, 3, 2, 30, 5), normal(1, 3, 2, 2, 5), covariance(0, 2)
    features[1, 0, :4] = 0
    gram = weight @ weight.mT
    gamma = best_gamma(gram, sigma)
    for i, j in np.ndindex(3, 2):
        assert zero_feature_count(features)[i, j] == (4 if (i, j) == (1, 0) else 0)
        pairs: list[tuple[Tensor, Tensor]] = [
            (gamma, best_gamma(gram[i, j], sigma)),
            (gram_matrix_error(gram, sigma, gamma),
             gram_matrix_error(gram[i, j], sigma, gamma[i, j])),
            (explained_variance_ratio(features, 3), explained_variance_ratio(features[i, j], 3)),
        ]  # fmt: skip
        for version in VERSIONS:
            pairs += [
                (principal_component_residual(features, 2, version),
                 principal_component_residual(features[i, j], 2, version)),
                (row_space_residual(features, weight, version),
                 row_space_residual(features[i, j], weight[i, j], version)),
            ]  # fmt: skip
        for together, alone in pairs:
            torch.testing.assert_close(together[i, j], alone)


def test_moments_by_libraries() -> None:
    targets, guesses, features = normal(0, 30, 3), normal(1, 30, 3), normal(2, 30, 6)
    expected = torch.from_numpy(np.cov(targets.numpy().T, bias=True))
    torch.testing.assert_close(target_covariance(targets), expected)
    torch.testing.assert_close(
        sqrtm_psd(expected) @ sqrtm_psd(expected), expected, rtol=1e-12, atol=1e-13
    )
    assert sqrtm_psd(torch.diag(torch.tensor([4.0, 0.0]))).tolist() == [[2, 0], [0, 0]]
    ratios = PCA(4).fit(features.numpy()).explained_variance_ratio_
    np.testing.assert_allclose(explained_variance_ratio(features, 4).numpy(), ratios)
    assert r_squared(guesses, targets).item() == pytest.approx(
        r2_score(targets.numpy(), guesses.numpy(), multioutput="variance_weighted")
    )
    assert r_squared(targets, targets).item() == 1
    assert r_squared(targets.mean(0).expand(30, 3), targets).item() == pytest.approx(0)
    assert explained_variance_ratio(torch.ones(4, 2), 1).isnan().all()


SIGMA = torch.diag(torch.tensor([1.0, 4.0]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: principal_component_residual(torch.ones(3, 2), 3), r"n: must lie in 1…2"),
        (lambda: principal_component_residual(torch.ones(3, 2), 0), r"n: must lie in 1…2"),
        (lambda: principal_component_residual(torch.ones(3, 2), 1, "max"), "normalize"),  # type: ignore[arg-type]
        (lambda: principal_component_residual(torch.full((3, 2), torch.nan), 1), "features: an"),
        (lambda: row_space_residual(torch.ones(3, 2), torch.ones(1, 3)), r"features\.shape\[-1\]"),
        (lambda: explained_variance_ratio(torch.ones(3, 2), 3), r"k: must lie in 1…2"),
        (lambda: r_squared(torch.ones(3, 2), torch.ones(3, 1)), r"predictions\.shape\[-1\] is 2"),
        (lambda: gram_matrix_error(torch.eye(2), SIGMA, 1.01), "gamma: must lie between"),
        (lambda: gram_matrix_error(torch.eye(2), SIGMA, -0.1), "gamma: must lie between"),
        (lambda: gram_matrix_error(torch.eye(3), SIGMA, 0.1), r"gram\.shape\[-1\] is 3"),
        (lambda: gram_matrix_error(torch.ones(2, 3), SIGMA, 0.1), "gram: needs square"),
        (lambda: sqrtm_psd(torch.diag(torch.tensor([1.0, -0.1]))), "negative eigenvalue, -0.1"),
        (lambda: sqrtm_psd(torch.tensor([[1.0, 0.5], [0.0, 1.0]])), "not symmetric"),
        (lambda: target_covariance(torch.ones(3)), "targets: needs at least 2"),
    ],
)
def test_bad_input_is_refused(call: Callable[[], Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()

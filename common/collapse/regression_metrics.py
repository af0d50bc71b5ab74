"""Metrics of neural collapse in regression with n targets (arXiv 2409.04180, section 3).

| function | the paper's name | what it says when it is zero |
|---|---|---|
| `principal_component_residual` | NRC1 | features lie in the span of their first n components |
| `row_space_residual` | NRC2 | features lie in the row space of the last layer's weights |
| `gram_matrix_error` | NRC3 | W Wᵀ is proportional to Σ^½ − √γ I, Σ the target covariance |

Leading dimensions `…` are many models at a time. Results are float64, without gradients.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from common.collapse.checks import finite_float64, same_size, square_matrices

Normalize = Literal["unit", "none", "centered_unit"]

# A weight matrix of this Frobenius norm or less spans nothing that is worth a number.
NEGLIGIBLE_NORM = 1e-12
# Rounding that is forgiven in the eigenvalues of covariances and in γ ≤ λ_min, relative to λ_max.
ROUNDING = 1e-10
# Below this share of the largest, a variance is the rounding of features in float32.
VARIANCE_TOLERANCE = 1e-13


def target_covariance(targets: Tensor) -> Tensor:
    """(…, n, n): covariance of targets (…, M, n), with divisor M.

    Raises:
        ValueError: an entry is not finite.
    """
    return _covariance(finite_float64("targets", targets))


def sqrtm_psd(matrix: Tensor) -> Tensor:
    """(…, n, n): the symmetric square root of symmetric positive semi-definite matrices.

    Raises:
        ValueError: a matrix is not square, not finite, not symmetric, or has an eigenvalue below
            zero by more than rounding.
    """
    values, vectors = _eigen("matrix", matrix)
    return (vectors * values.sqrt()[..., None, :]) @ vectors.mT


def principal_component_residual(features: Tensor, n: int, normalize: Normalize = "unit") -> Tensor:
    """(…): NRC1, mean_i ‖h̃_i − proj(h̃_i | first n principal directions)‖².

    The directions are those of the centred features, but what is projected is not centred, nor
    are the features normalised before the directions are found: with "unit" a mean of the features
    off the plane counts as no collapse. Directions without variance (1e-13 of the largest, or less)
    are left out.

    Args:
        features: (…, M, d), inputs of the last layer.
        n: number of directions: of targets, in the paper.
        normalize: h̃ is h/‖h‖ ("unit", the published definition, value in [0, 1]), h ("none"), or
            (h − h̄)/‖h − h̄‖ ("centered_unit"). Zero vectors have no direction and are left out
            (`zero_feature_count`); the value is NaN where none is left.

    Raises:
        ValueError: n is not in 1…d, unknown `normalize`, or an entry is not finite.
    """
    h = finite_float64("features", features)
    if not 1 <= n <= h.shape[-1]:
        raise ValueError(f"n: must lie in 1…{h.shape[-1]}, the number of features, got {n}")
    values, vectors = torch.linalg.eigh(_covariance(h))
    values, vectors = values[..., -n:], vectors[..., -n:]
    varies = values > VARIANCE_TOLERANCE * values[..., -1:]
    return _mean_residual(h, vectors * varies[..., None, :], normalize)


def row_space_residual(features: Tensor, weight: Tensor, normalize: Normalize = "unit") -> Tensor:
    """(…): NRC2, mean_i ‖h̃_i − proj(h̃_i | row space of W)‖².

    Args:
        features: (…, M, d), inputs of the last layer.
        weight: (…, n, d), W. Of a singular W, the row space has fewer than n dimensions. NaN
            where ‖W‖_F is 1e-12 or less.
        normalize: as for `principal_component_residual`.

    Raises:
        ValueError: shapes do not fit, unknown `normalize`, or an entry is not finite.
    """
    h, w = finite_float64("features", features), finite_float64("weight", weight)
    same_size("features.shape[-1]", h.shape[-1], "weight.shape[-1]", w.shape[-1])
    _, values, directions = torch.linalg.svd(w, full_matrices=False)
    smallest = torch.finfo(torch.float64).eps * max(w.shape[-2:]) * values[..., :1]
    basis = (directions * (values > smallest)[..., None]).mT
    residual = _mean_residual(h, basis, normalize)
    return residual.where(torch.linalg.matrix_norm(w) > NEGLIGIBLE_NORM, torch.nan)


def zero_feature_count(features: Tensor, normalize: Normalize = "unit") -> Tensor:
    """(…), int64: features (…, M, d) without direction, which the residuals leave out.

    Zero vectors as dead ReLU units make them; with "centered_unit" those that equal the mean; none
    with "none", where nothing is divided by a norm.

    Raises:
        ValueError: unknown `normalize`, or an entry is not finite.
    """
    h, kept = _normalized(finite_float64("features", features), normalize)
    return h.shape[-2] - kept.sum(-1)


def gram_matrix_error(gram: Tensor, covariance: Tensor, gamma: Tensor | float) -> Tensor:
    """(…): NRC3, ‖A/‖A‖_F − S/‖S‖_F‖_F² with A = W Wᵀ and S = Σ^½ − √γ I; in [0, 4].

    NaN where it says nothing: for n = 1, where both quotients are 1; where ‖A‖_F ≤ 1e-24; and
    where S vanishes (all eigenvalues of Σ equal γ).

    Args:
        gram: (…, n, n), W Wᵀ.
        covariance: (…, n, n), Σ, of the targets.
        gamma: (…) or a number, in [0, λ_min(Σ)]. All leading dimensions are broadcast: one Gram
            matrix and many γ give the curve of the error over γ.

    Raises:
        ValueError: shapes do not fit, matrices as `sqrtm_psd` refuses, or γ is out of range.
    """
    a, values, root = _gram_and_root(gram, covariance)
    g = torch.as_tensor(gamma, dtype=torch.float64, device=a.device)
    if not ((g >= 0) & (g <= values[..., 0] + ROUNDING * values[..., -1])).all():
        raise ValueError("gamma: must lie between 0 and the smallest eigenvalue of covariance")
    return _error_at(a, root, g.sqrt())


def best_gamma(gram: Tensor, covariance: Tensor) -> Tensor:
    """(…): the γ in [0, λ_min(Σ)] with the smallest `gram_matrix_error`; exact.

    The error has one stationary point in √γ (derived here; the paper searches a grid): with
    a = tr A, b = tr(A Σ^½), p = tr Σ^½ and q = tr Σ it is √γ = (p b − a q)/(n b − a p). The answer
    is this point, where it lies inside, or the better end. The end λ_min is left out where S
    vanishes there. NaN where the error is NaN whatever γ.

    Args:
        gram: (…, n, n), W Wᵀ.
        covariance: (…, n, n), Σ, of the targets.

    Raises:
        ValueError: shapes do not fit, or matrices as `sqrtm_psd` refuses.
    """
    a, values, root = _gram_and_root(gram, covariance)
    highest = values[..., 0].sqrt()
    tr_a, tr_root, tr_covariance = _trace(a), _trace(root), values.sum(-1)
    b, n = _trace(a @ root), a.shape[-1]
    stationary = (tr_root * b - tr_a * tr_covariance) / (n * b - tr_a * tr_root)
    inside = (stationary > 0) & (stationary < highest)
    candidates = torch.stack(
        torch.broadcast_tensors(
            torch.zeros_like(stationary), highest, stationary.where(inside, 0.0)
        )
    )
    errors = _error_at(a, root, candidates)
    best = errors.nan_to_num(torch.inf).argmin(0, keepdim=True)
    gamma = candidates.gather(0, best)[0].square()
    return gamma.where(~errors.isnan().all(0), torch.nan)


def explained_variance_ratio(features: Tensor, k: int) -> Tensor:
    """(…, k): shares of the variance of features (…, M, d) along their first k components.

    NaN where the features do not vary.

    Raises:
        ValueError: k is not in 1…d, or an entry is not finite.
    """
    h = finite_float64("features", features)
    if not 1 <= k <= h.shape[-1]:
        raise ValueError(f"k: must lie in 1…{h.shape[-1]}, the number of features, got {k}")
    values = torch.linalg.eigvalsh(_covariance(h)).clamp(min=0)
    return values.flip(-1)[..., :k] / values.sum(-1, keepdim=True)


def r_squared(predictions: Tensor, targets: Tensor) -> Tensor:
    """(…): 1 − Σ(y − ŷ)²/Σ(y − ȳ)², both sums over all samples and outputs of (…, M, n).

    ȳ is the mean of each output. Constant targets give −∞, or NaN if they are met exactly.

    Raises:
        ValueError: shapes do not fit or an entry is not finite.
    """
    y = finite_float64("targets", targets)
    guess = finite_float64("predictions", predictions)
    for axis in (-2, -1):
        name = f".shape[{axis}]"
        same_size(f"predictions{name}", guess.shape[axis], f"targets{name}", y.shape[axis])
    unexplained = (y - guess).square().sum((-2, -1))
    return 1 - unexplained / (y - y.mean(-2, keepdim=True)).square().sum((-2, -1))


def _covariance(rows: Tensor) -> Tensor:
    centred = rows - rows.mean(-2, keepdim=True)
    return centred.mT @ centred / rows.shape[-2]


def _trace(matrices: Tensor) -> Tensor:
    return matrices.diagonal(dim1=-2, dim2=-1).sum(-1)


def _eigen(name: str, matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending and not below zero, and eigenvectors."""
    square = square_matrices(name, matrix)
    size = torch.linalg.matrix_norm(square)[..., None, None]
    if ((square - square.mT).abs() > ROUNDING * size).any():
        raise ValueError(f"{name}: is not symmetric")
    values, vectors = torch.linalg.eigh(square)
    if (values < -ROUNDING * values[..., -1:].abs()).any():
        raise ValueError(f"{name}: has a negative eigenvalue, {values.min():.3g}")
    return values.clamp(min=0), vectors


def _gram_and_root(gram: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """W Wᵀ, the eigenvalues of Σ and its square root."""
    a = square_matrices("gram", gram)
    values, vectors = _eigen("covariance", covariance)
    same_size("gram.shape[-1]", a.shape[-1], "covariance.shape[-1]", values.shape[-1])
    return a, values, (vectors * values.sqrt()[..., None, :]) @ vectors.mT


def _error_at(a: Tensor, root: Tensor, gamma_root: Tensor) -> Tensor:
    """`gram_matrix_error` from Σ^½ and √γ."""
    n = a.shape[-1]
    target = root - gamma_root[..., None, None] * torch.eye(n, dtype=a.dtype, device=a.device)
    size, target_size = (torch.linalg.matrix_norm(m, keepdim=True) for m in (a, target))
    error = (a / size - target / target_size).square().sum((-2, -1))
    vanishes = target_size <= ROUNDING * torch.linalg.matrix_norm(root, keepdim=True)
    void = vanishes | (size <= NEGLIGIBLE_NORM**2) | (n == 1)
    return error.masked_fill(void[..., 0, 0], torch.nan)


def _normalized(features: Tensor, normalize: Normalize) -> tuple[Tensor, Tensor]:
    """h̃ (…, M, d), and which of them count, bool (…, M)."""
    if normalize not in ("unit", "none", "centered_unit"):
        raise ValueError(f"normalize: 'unit', 'none' or 'centered_unit', got {normalize!r}")
    if normalize == "none":
        return features, torch.ones_like(features[..., 0], dtype=torch.bool)
    if normalize == "centered_unit":
        features = features - features.mean(-2, keepdim=True)
    norms = torch.linalg.vector_norm(features, dim=-1, keepdim=True)
    kept = norms > 0
    return features / norms.where(kept, 1.0), kept[..., 0]


def _mean_residual(features: Tensor, basis: Tensor, normalize: Normalize) -> Tensor:
    """(…): mean squared distance of h̃ from the span of the orthonormal columns (…, d, n)."""
    h, kept = _normalized(features, normalize)
    # The vector itself, not 1 − ‖projection‖²: collapsed features are below 1e-16 away.
    distances = (h - (h @ basis) @ basis.mT).square().sum(-1)
    return (distances * kept).sum(-1) / kept.sum(-1)

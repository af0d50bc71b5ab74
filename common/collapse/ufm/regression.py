"""The unconstrained feature model of multivariate regression, and its minimum in closed form.

Features H and the last layer W, b are free; M samples have n-dimensional targets Y:

    min  1/(2M) ‖H Wᵀ + 1bᵀ − Y‖² + λ_H/(2M) ‖H‖² + λ_W/2 ‖W‖²

Everything below follows from a singular value threshold (arXiv 2409.04180, section 4). With
c = λ_H λ_W and the eigenvalues λ_j of the targets' covariance Σ (population divisor), a direction
with λ_j ≤ c is not learned at all, and every other one leaves an error of c.

Errors are sums over the n outputs and means over the M samples. `reduce_outputs="mean"` is the
convention of PyTorch's `mse_loss`, which averages over outputs, too: the same model with both
penalties multiplied by n.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from common.collapse.checks import finite_float64, square_matrices
from common.collapse.regression_metrics import target_covariance
from common.collapse.ufm.lbfgs import Parameters

OutputReduction = Literal["sum", "mean"]


@dataclass(frozen=True)
class RegressionMinimum:
    """A global minimiser; any other one differs by a rotation of the feature space.

    Attributes:
        weight: W, (n, d).
        features: H, (M, d).
        bias: b, (n,), the mean target.
        objective: the regularised loss.
        training_error: ‖H Wᵀ + 1bᵀ − Y‖²/M, summed over outputs.
        residual_covariance: EᵀE/M of the residuals E, (n, n).
        active_directions: how many eigenvectors of Σ are learned.
    """

    weight: Tensor
    features: Tensor
    bias: Tensor
    objective: float
    training_error: float
    residual_covariance: Tensor
    active_directions: int


def regression_minimum(
    targets: Tensor, feature_decay: float, weight_decay: float, width: int
) -> RegressionMinimum:
    """The minimiser of the model in closed form (arXiv 2409.04180, section 4).

    Args:
        targets: Y, (M, n).
        feature_decay: λ_H, positive.
        weight_decay: λ_W, positive.
        width: d, at least n.

    Raises:
        ValueError: targets that are no finite matrix, a width below n, or a decay that is not
            positive. Without decay the minimiser is not unique, with only one it does not exist.
    """
    exact = _targets(targets)
    n = exact.shape[1]
    if width < n:
        raise ValueError(f"width: {width} is less than the {n} outputs")
    for name, decay in (("feature_decay", feature_decay), ("weight_decay", weight_decay)):
        if not (math.isfinite(decay) and decay > 0):
            raise ValueError(f"{name}: {decay} is not positive, so there is no unique minimiser")
    bias, covariance = exact.mean(0), target_covariance(exact)
    centred = exact - bias
    eigenvalues, directions = torch.linalg.eigh(covariance)
    c = feature_decay * weight_decay
    # Clamped: rounding makes eigenvalues of a singular covariance slightly negative.
    scales = eigenvalues.clamp(min=0).sqrt()
    gains = (scales - math.sqrt(c)).clamp(min=0)
    balance = (feature_decay / weight_decay) ** 0.25
    coordinates = centred @ directions * torch.where(gains > 0, gains.sqrt() / scales, 0.0)
    weight, features = centred.new_zeros(n, width), centred.new_zeros(len(centred), width)
    weight[:, :n] = balance * directions * gains.sqrt()
    features[:, :n] = coordinates / balance
    residual_covariance = (directions * eigenvalues.clamp(min=0, max=c)) @ directions.T
    return RegressionMinimum(
        weight,
        features,
        bias,
        minimal_objective(covariance, c),
        training_error(covariance, c),
        residual_covariance,
        int((gains > 0).sum()),
    )


def regression_objective(
    targets: Tensor,
    feature_decay: float,
    weight_decay: float,
    *,
    reduce_outputs: OutputReduction = "sum",
) -> Callable[[Parameters], Tensor]:
    """The regularised loss as a function of `weight` (n, d), `features` (M, d), `bias` (n,).

    Args:
        targets: Y, (M, n), float64.
        feature_decay: λ_H, at least 0.
        weight_decay: λ_W, at least 0.
        reduce_outputs: "sum" as in the papers, or "mean" over outputs as in `mse_loss`.

    Raises:
        ValueError: targets that are no finite matrix, or a negative decay.
    """
    samples, outputs = _targets(targets).shape
    _check_decay_product(feature_decay, "feature_decay")
    _check_decay_product(weight_decay, "weight_decay")
    divisor = samples * (outputs if reduce_outputs == "mean" else 1)

    def objective(parameters: Parameters) -> Tensor:
        weight, features = parameters["weight"], parameters["features"]
        residuals = features @ weight.T + parameters["bias"] - targets
        penalty = feature_decay / samples * features.square().sum()
        return (
            residuals.square().sum() / divisor + penalty + weight_decay * weight.square().sum()
        ) / 2

    return objective


def effective_decay_product(
    c: float, outputs: int, reduce_outputs: OutputReduction = "sum"
) -> float:
    """The c that counts in all formulas here: n²c where the loss averages over n outputs.

    Dividing the data term by n is the same as multiplying λ_H and λ_W by n (derived here).
    """
    _check_decay_product(c)
    return c * outputs**2 if reduce_outputs == "mean" else c


def training_error(covariance: Tensor, c: float) -> float:
    """Σ_j min(λ_j, c): the training error at the minimum (arXiv 2505.09308, the UFM section).

    Args:
        covariance: Σ of the targets, (n, n), population divisor.
        c: λ_H λ_W, at least 0; at 0 the error is 0.

    Raises:
        ValueError: a covariance that is not symmetric and positive semidefinite, or a negative c.
    """
    _check_decay_product(c)
    return _eigenvalues(covariance).clamp(max=c).sum().item()


def minimal_objective(covariance: Tensor, c: float) -> float:
    """½ Σ_j min(λ_j, c) + √c Σ_j [√λ_j − √c]₊: the regularised loss at the minimum.

    Arguments and errors as for `training_error`. In arXiv 2505.09308 the printed form is said, in
    a public review, to be off by a factor 2; this one is tested against minimisation.
    """
    _check_decay_product(c)
    scales = _eigenvalues(covariance).sqrt()
    root = math.sqrt(c)
    return (
        scales.square().clamp(max=c).sum() / 2 + root * (scales - root).clamp(min=0).sum()
    ).item()


def single_task_error(covariance: Tensor, c: float | Sequence[float]) -> float:
    """Σ_j min(Σ_jj, c_j): the summed training error of n models with one output each.

    Args:
        covariance: Σ of the targets, (n, n), population divisor.
        c: λ_H λ_W of all models, or of each of the n.

    Raises:
        ValueError: as `training_error`, or a number of penalties that is not n.
    """
    variances = _checked(covariance).diagonal()
    products = [c] * len(variances) if isinstance(c, (int, float)) else list(c)
    if len(products) != len(variances):
        raise ValueError(f"c: {len(products)} values for {len(variances)} outputs")
    for product in products:
        _check_decay_product(product)
    return torch.minimum(variances, variances.new_tensor(products)).sum().item()


def whitened_error(covariance: Tensor, c: float) -> float:
    """min(c, 1) tr Σ: the error, in the targets' own units, of a model of ZCA-whitened targets.

    The covariance of whitened targets is the identity (arXiv 2505.09308, whitening theorem; the
    form beyond c = 1 is derived here). Arguments and errors as for `training_error`.
    """
    _check_decay_product(c)
    return min(c, 1.0) * _checked(covariance).trace().item()


def standardised_error(covariance: Tensor, c: float) -> float:
    """The error, in the targets' own units, of a model of standardised targets.

    tr(V^½ Q diag(min(γ_j, c)) Qᵀ V^½) with V = diag Σ and the correlation matrix QΓQᵀ, which is
    c tr Σ up to the smallest γ_j (arXiv 2505.09308, normalisation theorem; beyond derived here).
    Arguments and errors as for `training_error`; every output needs a positive variance.
    """
    _check_decay_product(c)
    variances = _checked(covariance).diagonal()
    if (variances <= 0).any():
        raise ValueError("covariance: an output without variance cannot be standardised")
    scales = variances.sqrt()
    eigenvalues, directions = torch.linalg.eigh(covariance.double() / scales.outer(scales))
    residuals = scales[:, None] * directions * eigenvalues.clamp(min=0, max=c).sqrt()
    return residuals.square().sum().item()


def _eigenvalues(covariance: Tensor) -> Tensor:
    return torch.linalg.eigvalsh(_checked(covariance)).clamp(min=0)


def _checked(covariance: Tensor) -> Tensor:
    matrix = square_matrices("covariance", covariance)
    if matrix.ndim != 2:
        raise ValueError(f"covariance: shape {tuple(matrix.shape)} is no single matrix")
    size = matrix.abs().max()
    if (matrix - matrix.T).abs().max() > 1e-8 * size:
        raise ValueError("covariance: is not symmetric")
    if torch.linalg.eigvalsh(matrix)[0] < -1e-8 * size:
        raise ValueError("covariance: has a negative eigenvalue")
    return matrix


def _targets(targets: Tensor) -> Tensor:
    if targets.ndim != 2:
        raise ValueError(f"targets: shape {tuple(targets.shape)} is no (samples, outputs)")
    return finite_float64("targets", targets)


def _check_decay_product(value: float, name: str = "c") -> None:
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name}: {value} is negative or not finite")

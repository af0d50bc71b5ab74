"""Whitening and standardising regression targets, and mapping predictions back.

Both are affine maps whose statistics come from the training targets (arXiv 2505.09308): predictions
are mapped back with them, and every error is measured in the targets' own units. The divisor of
the covariance is M, as in the theory, and statistics are taken in float64.

The maps work on tensors with any leading dimensions, so that predictions of many networks are
mapped back at once. On one matrix scikit-learn's `StandardScaler` gives the same numbers; its
`PCA(whiten=True)` does not: it rotates to principal components and divides by M − 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor

from common.collapse.checks import finite_float64
from common.collapse.regression_metrics import target_covariance


class TargetTransform(ABC):
    """An affine map of targets: fit on the training set, then applied to anything.

    Attributes:
        mean: (n,), what is subtracted.
        forward: (n, n), symmetric: what centred targets are multiplied with.
        backward: (n, n), its inverse.
    """

    mean: Tensor
    forward: Tensor
    backward: Tensor

    def fit(self, targets: Tensor) -> Self:
        """Take mean and covariance of the training targets (M, n).

        Raises:
            ValueError: targets that are no finite matrix, or outputs that do not vary enough.
        """
        if targets.ndim != 2:
            raise ValueError(f"targets: shape {tuple(targets.shape)} is no (samples, outputs)")
        exact = finite_float64("targets", targets)
        mean = exact.mean(0)
        # What rounding may leave of the standard deviation of a constant output.
        rounding = 10 * torch.finfo(targets.dtype).eps * mean.abs()
        maps = self._maps(target_covariance(exact), rounding)
        self.mean, self.forward, self.backward = (one.to(targets) for one in (mean, *maps))
        return self

    @abstractmethod
    def _maps(self, covariance: Tensor, rounding: Tensor) -> tuple[Tensor, Tensor]:
        """The map of centred targets and its inverse, from their covariance (n, n).

        `rounding` (n,) is the standard deviation up to which an output counts as constant.
        """

    def transform(self, targets: Tensor) -> Tensor:
        """The targets (…, n) as the network shall see them."""
        self._check_fitted()
        return (targets - self.mean) @ self.forward

    def inverse_transform(self, predictions: Tensor) -> Tensor:
        """Predictions (…, n) in the targets' own units."""
        self._check_fitted()
        return predictions @ self.backward + self.mean

    def _check_fitted(self) -> None:
        if not hasattr(self, "mean"):
            raise ValueError(f"{type(self).__name__}: call fit before transforming")


class ZCA(TargetTransform):
    """Σ^{-1/2}(y − ȳ): whitening without rotation, so that the covariance becomes the identity.

    Args:
        eigenvalue_floor: eigenvalues of Σ below it are raised to it, in the unit of squared
            targets; those directions then stay below unit variance. Without a floor (0) a
            covariance of deficient rank is refused, because its inverse root explodes.
    """

    def __init__(self, eigenvalue_floor: float = 0.0) -> None:
        if not eigenvalue_floor >= 0:
            raise ValueError(f"eigenvalue_floor: {eigenvalue_floor} is negative or NaN")
        self.eigenvalue_floor = eigenvalue_floor

    def _maps(self, covariance: Tensor, rounding: Tensor) -> tuple[Tensor, Tensor]:
        eigenvalues, directions = torch.linalg.eigh(covariance)
        smallest = max(1e-12 * eigenvalues[-1].item(), rounding.max().item() ** 2)
        if max(eigenvalues[0].item(), self.eigenvalue_floor) <= smallest:
            raise ValueError(
                "targets: their covariance has deficient rank; give an eigenvalue_floor"
            )
        scales = eigenvalues.clamp(min=self.eigenvalue_floor).sqrt()
        return (directions / scales) @ directions.T, (directions * scales) @ directions.T


class Standardize(TargetTransform):
    """(y_j − ȳ_j)/σ_j for each output: unit variances, correlations unchanged."""

    def _maps(self, covariance: Tensor, rounding: Tensor) -> tuple[Tensor, Tensor]:
        scales = covariance.diagonal().sqrt()
        if (scales <= rounding).any():
            raise ValueError("targets: an output does not vary, so it cannot be standardised")
        return (1 / scales).diag(), scales.diag()

"""Class means and covariances of last-layer features, in one pass over the data.

Every batch is centred at the class means known so far; Welford's correction then moves its scatter
to the new means. So features with a large common mean, as ReLU layers make them, lose no digits,
and memory does not grow with the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from scipy.linalg.blas import dsyrk
from torch import Tensor

from common.collapse.checks import require_finite, same_size

GlobalMean = Literal["class_balanced", "sample"]

# Rows of a batch that are centred and multiplied at a time: few enough for the cache.
BLOCK = 512


@dataclass(frozen=True)
class ClassStatistics:
    """First and second moments of features by class, float64, with any leading batch shape `…`.

    Attributes:
        counts: (…, K), samples of each class, n_k.
        class_weights: (…, K), sum to 1: 1/K, or n_k/N where the global mean is the sample mean.
        class_means: (…, K, d), μ_k.
        global_mean: (…, d), μ_G = Σ_k weight_k μ_k.
        within_class_covariance: (…, d, d), Σ_W = (1/N) Σ_i (h_i − μ_{y_i})(h_i − μ_{y_i})ᵀ.
        between_class_covariance: (…, d, d), Σ_B = Σ_k weight_k (μ_k − μ_G)(μ_k − μ_G)ᵀ.
    """

    counts: Tensor
    class_weights: Tensor
    class_means: Tensor
    global_mean: Tensor
    within_class_covariance: Tensor
    between_class_covariance: Tensor

    @property
    def centred_means(self) -> Tensor:
        """(…, K, d): μ_k − μ_G, the transpose of the matrix that the literature calls M̄."""
        return self.class_means - self.global_mean[..., None, :]


class ClassStatisticsAccumulator:
    """Class statistics of features that come in batches; float64 whatever the features are.

    Memory is O(d² + Kd) for each model, besides a few hundred rows at a time. Updates cost least
    with about a thousand rows per batch.

    Args:
        num_classes: K, at least 2.
        num_features: d.
        global_mean: which mean of the features Σ_B is centred at. "class_balanced" is the mean of
            the class means, Σ_B = (1/K) Σ_k (…) (arXiv 2402.03979). "sample" is the mean over all
            samples; Σ_B then weighs class k by n_k/N, because only so Σ_W + Σ_B is the total
            covariance and the rank of Σ_B stays below K. For balanced classes both are the same.
        batch_shape: leading dimensions of the features, one entry for each of many models that
            are measured together.
        device: where the sums are kept; batches are moved there.
    """

    def __init__(
        self,
        num_classes: int,
        num_features: int,
        *,
        global_mean: GlobalMean = "class_balanced",
        batch_shape: tuple[int, ...] = (),
        device: torch.device | str | None = None,
    ) -> None:
        if num_classes < 2:
            raise ValueError(f"num_classes: at least 2 classes are needed, got {num_classes}")
        if num_features < 1:
            raise ValueError(f"num_features: must be positive, got {num_features}")
        if global_mean not in ("class_balanced", "sample"):
            raise ValueError(f"global_mean: 'class_balanced' or 'sample', got {global_mean!r}")
        self.num_classes, self.num_features = num_classes, num_features
        self.global_mean, self.batch_shape = global_mean, tuple(batch_shape)
        models, double = prod(self.batch_shape), torch.float64
        self._counts = torch.zeros(models, num_classes, dtype=double, device=device)
        self._means = torch.zeros(models, num_classes, num_features, dtype=double, device=device)
        # Only the lower triangle is kept up to date.
        self._scatter = torch.zeros(models, num_features, num_features, dtype=double, device=device)

    def update(self, features: Tensor, labels: Tensor) -> None:
        """Add a batch; a refused batch changes nothing.

        Args:
            features: (*batch_shape, B, d), finite.
            labels: (B,), the same for all models, or (*batch_shape, B); integers in 0…K−1.

        Raises:
            ValueError: shapes do not fit, a label is no class, a feature is NaN or infinite.
        """
        x, y = self._checked(features, labels)
        if y.numel() == 0:
            return
        models, classes = len(x), self.num_classes
        places = y + classes * torch.arange(models, device=y.device)[:, None]
        counts = places.flatten().bincount(minlength=models * classes).view(models, classes)
        centres = self._centres(x, y)
        sums = torch.zeros_like(centres)
        rows = BLOCK if x.device.type == "cpu" else x.shape[1]
        for block, chosen in zip(x.split(rows, 1), places.split(rows, 1), strict=True):
            centred = _centred(block, chosen, centres)
            _add_sums(sums, centred, chosen)
            _add_products(self._scatter, centred, 1.0)
        self._counts = self._counts + counts
        seen = self._counts.clamp(min=1)[..., None]
        self._means = centres + sums / seen
        _add_products(self._scatter, sums / seen.sqrt(), -1.0)

    def merge(self, other: ClassStatisticsAccumulator) -> None:
        """Add what another accumulator has seen (Chan's pairwise update).

        Raises:
            ValueError: the other one has other classes, features, models or another global mean.
        """
        for name in ("num_classes", "num_features", "global_mean", "batch_shape"):
            ours, theirs = getattr(self, name), getattr(other, name)
            if ours != theirs:
                raise ValueError(f"other: its {name} is {theirs}, ours is {ours}")
        device = self._means.device
        added = other._counts.to(device)
        counts = self._counts + added
        share = added / counts.clamp(min=1)
        step = other._means.to(device) - self._means
        moved = step * (self._counts * share).sqrt()[..., None]
        self._scatter += other._scatter.to(device)
        _add_products(self._scatter, moved, 1.0)
        self._means = self._means + step * share[..., None]
        self._counts = counts

    def compute(self) -> ClassStatistics:
        """The statistics of everything seen so far.

        Raises:
            ValueError: a class has no samples.
        """
        empty = (self._counts == 0).any(dim=0).nonzero().flatten().tolist()
        if empty:
            raise ValueError(f"labels: no samples of the classes {empty[:10]}")
        samples = self._counts.sum(dim=-1, keepdim=True)
        equal = torch.full_like(self._counts, 1 / self.num_classes)
        weights = equal if self.global_mean == "class_balanced" else self._counts / samples
        mean = (weights[:, None] @ self._means)[:, 0]
        factor = (self._means - mean[:, None]) * weights.sqrt()[..., None]
        scatter = self._scatter.tril() + self._scatter.tril(-1).mT
        parts = (
            self._counts,
            weights,
            self._means,
            mean,
            scatter / samples[..., None],
            factor.mT @ factor,
        )
        return ClassStatistics(
            *(part.reshape(*self.batch_shape, *part.shape[1:]) for part in parts)
        )

    def _checked(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """((models, B, d), (models, B)) views of a batch."""
        shape, d = self.batch_shape, self.num_features
        if features.ndim != len(shape) + 2 or features.shape[:-2] != shape:
            raise ValueError(f"features: needs shape ({shape}, B, {d}), got {features.shape}")
        same_size("features.shape[-1]", features.shape[-1], "num_features", d)
        rows = features.shape[-2]
        if labels.shape not in ((rows,), (*shape, rows)):
            raise ValueError(f"labels: needs one label for each of {rows} rows, got {labels.shape}")
        if labels.dtype.is_floating_point or labels.dtype == torch.bool:
            raise ValueError(f"labels: needs integers, got {labels.dtype}")
        if rows and not (labels.min() >= 0 and labels.max() < self.num_classes):
            raise ValueError(f"labels: must lie in 0…{self.num_classes - 1}")
        if rows:
            require_finite("features", features)
        device, models = self._means.device, len(self._means)
        x = features.detach().to(device).reshape(models, rows, d)
        return x, labels.to(device).long().expand(*shape, rows).reshape(models, rows)

    def _centres(self, x: Tensor, y: Tensor) -> Tensor:
        """(models, K, d): the class means; of a class not seen before, its first sample."""
        unseen = self._counts == 0
        if not unseen.any():
            return self._means
        rows = y.shape[1]
        places = torch.arange(rows, device=y.device).expand_as(y)
        first = torch.full_like(self._counts, rows, dtype=torch.long)
        first.scatter_reduce_(1, y, places, "amin")
        samples = x.gather(1, first.clamp(max=rows - 1)[..., None].expand(-1, -1, x.shape[2]))
        new = (unseen & (first < rows))[..., None]
        return torch.where(new, samples.to(torch.float64), self._means)


def _centred(x: Tensor, places: Tensor, centres: Tensor) -> Tensor:
    """(models, B, d): features minus the centres of their classes."""
    own = centres.flatten(0, 1).index_select(0, places.flatten()).view(x.shape)
    # In this order, and not in one mixed subtraction, the conversion is vectorised.
    return torch.sub(x.to(torch.float64), own, out=own)


def _add_sums(sums: Tensor, rows: Tensor, places: Tensor) -> None:
    """Add rows (models, B, d) to the sums (models, K, d) of their classes."""
    if rows.device.type == "cpu":
        sums.flatten(0, 1).index_add_(0, places.flatten(), rows.flatten(0, 1))
    else:  # where adding by index would not give equal bits each time
        _add_sums_by_matmul(sums, rows, places)


def _add_sums_by_matmul(sums: Tensor, rows: Tensor, places: Tensor) -> None:
    classes = sums.shape[1]
    one_hot = torch.zeros(*places.shape, classes, dtype=rows.dtype, device=rows.device)
    one_hot.scatter_(2, (places % classes)[..., None], 1.0)
    sums.baddbmm_(one_hot.mT, rows)


def _add_products(total: Tensor, rows: Tensor, sign: float) -> None:
    """Add ± rowsᵀ rows to the lower triangle of `total` (models, d, d)."""
    if rows.device.type != "cpu":
        total.baddbmm_(rows.mT, rows, alpha=sign)
        return
    # BLAS multiplies half as much for a symmetric product; torch does not offer it.
    for one, factor in zip(total.numpy(), rows.numpy(), strict=True):
        dsyrk(sign, factor.T, beta=1.0, c=one.T, overwrite_c=1)  # in place


def class_statistics(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    *,
    global_mean: GlobalMean = "class_balanced",
) -> ClassStatistics:
    """The class statistics of features that are all at hand.

    Args:
        features: (…, N, d), finite.
        labels: (N,) or (…, N), integers in 0…K−1.
        num_classes: K.
        global_mean: as for `ClassStatisticsAccumulator`.

    Raises:
        ValueError: as `ClassStatisticsAccumulator.update` and `compute`.
    """
    if features.ndim < 2:
        raise ValueError(f"features: needs shape (…, N, d), got {tuple(features.shape)}")
    accumulator = ClassStatisticsAccumulator(
        num_classes,
        features.shape[-1],
        global_mean=global_mean,
        batch_shape=tuple(features.shape[:-2]),
        device=features.device,
    )
    accumulator.update(features, labels)
    return accumulator.compute()

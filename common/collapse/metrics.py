"""Metrics of neural collapse in classification, named by their formulas.

The papers number them differently (W: classifier, M̄: class means minus the global mean,
Σ_W, Σ_B: within- and between-class covariance, ETF: `common.collapse.etf.simplex_etf`):

| function | formula | 2402.03979 | Zhu et al. 2021 | Papyan et al. 2020 |
|---|---|---|---|---|
| `within_between_ratio` | tr(Σ_W Σ_B^†), or /K | NC1 (not /K) | NC1 (/K) | NC1 (/K) |
| `logits_to_etf` | ‖W M̄/‖W M̄‖ − ETF‖ | NC2 | NC3 | – |
| `weights_to_etf` | ‖W Wᵀ/‖W Wᵀ‖ − ETF‖ | – | NC2 | NC2 by norms and cosines |
| `means_to_etf` | ‖M̄ᵀM̄/‖M̄ᵀM̄‖ − ETF‖ | – | – | NC2 by norms and cosines |
| `self_duality` | ‖W/‖W‖ − M̄ᵀ/‖M̄‖‖², squared | NC3 | – | NC3 |

All norms are Frobenius norms. The division of NC1 and the numbering of 2402.03979 follow its
public code. The training features are meant, with the network in evaluation mode: batch
normalisation in training mode changes the ratio by orders of magnitude.

Leading dimensions `…` are many models at a time. Results are float64, without gradients. A
normalised metric of a zero matrix is NaN.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from common.collapse.checks import finite_float64, same_size
from common.collapse.class_statistics import ClassStatistics
from common.collapse.etf import etf_error, require_etf_dimension

RatioMethod = Literal["top_eigenvalues", "trace_quotient"]

# Singular values of the centred means below this share of the largest are rounding of features
# in float32; the pseudo-inverse leaves their directions out.
RANK_TOLERANCE = 1e-6
# Class means that differ by less than this share of their length do so by rounding in float64.
MEAN_TOLERANCE = 1e-13


def within_between_ratio(
    statistics: ClassStatistics,
    *,
    divide_by_classes: bool = True,
    method: RatioMethod = "top_eigenvalues",
) -> Tensor:
    """(…): how far samples spread within classes, against the distance of the class means.

    The pseudo-inverse comes from the singular values of the K × d centred means, of which at most
    min(K−1, d) differ from zero: noise in the other eigenvalues of Σ_B is never inverted. With
    d < K−1 these are all dimensions. Where the means span fewer (two classes have one mean, say),
    directions below 1e-6 of the largest singular value are left out, as a pseudo-inverse does: the
    ratio then says nothing about classes that are not separated at all. Where no direction is
    left, the ratio is infinite, or NaN if there is no spread within classes either.

    Args:
        statistics: of the training features.
        divide_by_classes: divide by K, as most public code does.
        method: "top_eigenvalues" is tr(Σ_W Σ_B^†); "trace_quotient" is tr Σ_W/tr Σ_B (Tirer et
            al. 2023).

    Raises:
        ValueError: unknown method.
    """
    if method not in ("top_eigenvalues", "trace_quotient"):
        raise ValueError(f"method: 'top_eigenvalues' or 'trace_quotient', got {method!r}")
    within = statistics.within_class_covariance
    # Σ_B = factorᵀ factor
    factor = statistics.centred_means * statistics.class_weights.sqrt()[..., None]
    separated = _norm(factor) > MEAN_TOLERANCE * _norm(statistics.class_means)
    spread = within.diagonal(dim1=-2, dim2=-1).sum(-1)
    if method == "trace_quotient":
        ratio = spread / _norm(factor).square()
    else:
        ratio = _trace_with_pseudo_inverse(within, factor)
    ratio = torch.where(separated, ratio, spread / torch.zeros_like(spread))
    return ratio / factor.shape[-2] if divide_by_classes else ratio


def logits_to_etf(weight: Tensor, statistics: ClassStatistics) -> Tensor:
    """(…): the distance of W M̄, the logits of the class means without bias, from the ETF.

    In [0, 2].

    Args:
        weight: (…, K, d), one row for each class.
        statistics: of the training features.

    Raises:
        ValueError: shapes do not fit, an entry is not finite, or d < K−1.
    """
    rows = _classifier(weight, statistics)
    require_etf_dimension(*rows.shape[-2:])
    return etf_error(rows @ statistics.centred_means.mT)


def weights_to_etf(weight: Tensor) -> Tensor:
    """(…): the distance of W Wᵀ from the ETF, in [0, 2].

    Args:
        weight: (…, K, d), one row for each class.

    Raises:
        ValueError: an entry is not finite, K < 2, or d < K−1.
    """
    rows = finite_float64("weight", weight)
    require_etf_dimension(*rows.shape[-2:])
    return etf_error(rows @ rows.mT)


def means_to_etf(statistics: ClassStatistics) -> Tensor:
    """(…): the distance of M̄ᵀM̄, the inner products of the centred means, from the ETF.

    Raises:
        ValueError: d < K−1.
    """
    means = statistics.centred_means
    require_etf_dimension(*means.shape[-2:])
    return etf_error(means @ means.mT)


def self_duality(weight: Tensor, statistics: ClassStatistics) -> Tensor:
    """(…): ‖W/‖W‖ − M̄ᵀ/‖M̄‖‖², squared, in [0, 4].

    Unlike `logits_to_etf` it counts the part of W outside the span of M̄, which features with a
    large common mean keep alive for long.

    Args:
        weight: (…, K, d), one row for each class.
        statistics: of the training features.

    Raises:
        ValueError: shapes do not fit or an entry is not finite.
    """
    rows, means = _classifier(weight, statistics), statistics.centred_means
    difference = rows / _norm(rows)[..., None, None] - means / _norm(means)[..., None, None]
    return difference.square().sum((-2, -1))


def nearest_class_mean_accuracy(features: Tensor, labels: Tensor, class_means: Tensor) -> Tensor:
    """(…): the share of samples whose nearest class mean is that of their label.

    Of equally near means the one with the lowest number counts.

    Args:
        features: (…, N, d).
        labels: (N,) or (…, N), integers in 0…K−1.
        class_means: (…, K, d), of the training features.

    Raises:
        ValueError: shapes do not fit or an entry is not finite.
    """
    x, means = finite_float64("features", features), finite_float64("class_means", class_means)
    same_size("features.shape[-1]", x.shape[-1], "class_means.shape[-1]", means.shape[-1])
    same_size("features.shape[-2]", x.shape[-2], "labels.shape[-1]", labels.shape[-1])
    centre = means.mean(-2, keepdim=True)
    x, means = x - centre, means - centre
    # ‖x − μ‖² = ‖x‖² − 2 (x·μ − ‖μ‖²/2)
    scores = x @ means.mT - means.square().sum(-1)[..., None, :] / 2
    return (scores.argmax(-1) == labels).double().mean(-1)


def weight_norm(weight: Tensor) -> Tensor:
    """(…): mean_k ‖w_k‖ of the rows of weight (…, K, d).

    Raises:
        ValueError: an entry is not finite.
    """
    return torch.linalg.vector_norm(finite_float64("weight", weight), dim=-1).mean(-1)


def mean_norm(statistics: ClassStatistics) -> Tensor:
    """(…): mean_k ‖μ_k − μ_G‖."""
    return torch.linalg.vector_norm(statistics.centred_means, dim=-1).mean(-1)


def collapse_metrics(weight: Tensor, statistics: ClassStatistics) -> dict[str, Tensor]:
    """Every metric of a classifier and its features, each (…), named as its function.

    The ratio is divided by K.

    Args:
        weight: (…, K, d), one row for each class.
        statistics: of the training features.

    Raises:
        ValueError: shapes do not fit, an entry is not finite, or d < K−1.
    """
    return {
        "within_between_ratio": within_between_ratio(statistics),
        "logits_to_etf": logits_to_etf(weight, statistics),
        "weights_to_etf": weights_to_etf(weight),
        "means_to_etf": means_to_etf(statistics),
        "self_duality": self_duality(weight, statistics),
        "weight_norm": weight_norm(weight),
        "mean_norm": mean_norm(statistics),
    }


def _norm(matrices: Tensor) -> Tensor:
    return torch.linalg.matrix_norm(matrices)


def _classifier(weight: Tensor, statistics: ClassStatistics) -> Tensor:
    """The rows of `weight` in float64, one for each class."""
    rows, shape = finite_float64("weight", weight), statistics.class_means.shape
    same_size("weight.shape[-2]", rows.shape[-2], "the number of classes", shape[-2])
    same_size("weight.shape[-1]", rows.shape[-1], "the number of features", shape[-1])
    return rows


def _trace_with_pseudo_inverse(within: Tensor, factor: Tensor) -> Tensor:
    """(…): tr(Σ_W (factorᵀ factor)^†) for factor (…, K, d) of rank K−1 at most."""
    num_classes, num_features = factor.shape[-2:]
    rank = min(num_classes - 1, num_features)
    _, values, directions = torch.linalg.svd(factor, full_matrices=False)
    values, directions = values[..., :rank], directions[..., :rank, :]
    spread = ((directions @ within) * directions).sum(-1)
    kept = values > RANK_TOLERANCE * values[..., :1]
    return torch.where(kept, spread / values.square(), 0.0).sum(-1)

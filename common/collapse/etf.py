"""The simplex equiangular tight frame (ETF), the geometry that neural collapse ends in.

K vectors of equal length at equal, widest possible angles, cosine −1/(K−1); they sum to zero and
span K−1 dimensions.
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor

from common.collapse.checks import square_matrices


def simplex_etf(num_classes: int) -> Tensor:
    """(K, K), float64: (I − 11ᵀ/K)/√(K−1), the Gram matrix of a simplex ETF in unit Frobenius norm.

    Source: arXiv 2402.03979, definition of NC2.

    Raises:
        ValueError: fewer than two classes.
    """
    if num_classes < 2:
        raise ValueError(f"num_classes: at least 2 classes are needed, got {num_classes}")
    centring = torch.eye(num_classes, dtype=torch.float64) - 1 / num_classes
    return centring / sqrt(num_classes - 1)


def etf_error(gram: Tensor) -> Tensor:
    """(…): ‖A/‖A‖_F − ETF‖_F of matrices A (…, K, K), in [0, 2]; NaN where A = 0.

    Source: arXiv 2402.03979, definition of NC2.

    Raises:
        ValueError: the matrices are not square, smaller than 2 × 2, or not finite.
    """
    matrices = square_matrices("gram", gram)
    target = simplex_etf(matrices.shape[-1]).to(matrices.device)
    norm = torch.linalg.matrix_norm(matrices, keepdim=True)
    return torch.linalg.matrix_norm(matrices / norm - target)


def etf_frame(num_classes: int, num_features: int, generator: torch.Generator) -> Tensor:
    """(K, d), float64: K unit vectors in R^d that form a simplex ETF, in a random orientation.

    Raises:
        ValueError: fewer than two classes, or d < K−1, where no such vectors exist.
    """
    if num_classes < 2:
        raise ValueError(f"num_classes: at least 2 classes are needed, got {num_classes}")
    require_etf_dimension(num_classes, num_features)
    from scipy.linalg import helmert

    # The columns of Helmert's matrix are K vectors of norm √((K−1)/K) with the right angles.
    vertices = torch.from_numpy(helmert(num_classes)).mT * sqrt(num_classes / (num_classes - 1))
    shape = (num_features, num_classes - 1)
    normal = torch.randn(shape, generator=generator, dtype=torch.float64, device=generator.device)
    basis, triangle = torch.linalg.qr(normal)
    rotation = basis * triangle.diagonal().sign()  # uniform: QR fixes signs by the algorithm
    return vertices.to(rotation.device) @ rotation.mT


def require_etf_dimension(num_classes: int, num_features: int) -> None:
    """Raise ValueError where K vectors in R^d cannot form a simplex ETF, for d < K−1."""
    if num_features < num_classes - 1:
        raise ValueError(
            f"num_features: {num_classes} classes form a simplex ETF in {num_classes - 1} or more "
            f"dimensions, got {num_features}"
        )

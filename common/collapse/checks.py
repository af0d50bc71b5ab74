"""What the metrics of this package ask of their tensors."""

from __future__ import annotations

import torch
from torch import Tensor


def require_finite(name: str, tensor: Tensor) -> None:
    """Raise ValueError if an entry of a non-empty tensor is NaN or infinite."""
    # Ten times as fast as asking every entry; both ends are NaN if an entry is.
    if not torch.stack(torch.aminmax(tensor.detach())).isfinite().all():
        raise ValueError(f"{name}: an entry is NaN or infinite")


def finite_float64(name: str, tensor: Tensor, dimensions: int = 2) -> Tensor:
    """The tensor in float64, without its gradient.

    Args:
        name: the argument's name, for the message.
        tensor: floating-point numbers of any shape with at least `dimensions` dimensions.
        dimensions: how many dimensions one item has; those before are batch dimensions.

    Raises:
        ValueError: too few dimensions, an empty tensor, or an entry is NaN or infinite.
    """
    if tensor.ndim < dimensions or tensor.numel() == 0:
        shape = tuple(tensor.shape)
        raise ValueError(f"{name}: needs at least {dimensions} non-empty dimensions, got {shape}")
    require_finite(name, tensor)
    return tensor.detach().to(torch.float64)


def square_matrices(name: str, tensor: Tensor) -> Tensor:
    """`finite_float64` for matrices that have to be square, (…, n, n)."""
    matrices = finite_float64(name, tensor)
    if matrices.shape[-1] != matrices.shape[-2]:
        raise ValueError(f"{name}: needs square matrices, got {tuple(tensor.shape)}")
    return matrices


def same_size(name: str, size: int, other: str, other_size: int) -> None:
    """Raise ValueError unless two sizes, each named by what it counts, agree."""
    if size != other_size:
        raise ValueError(f"{name} is {size}, but {other} is {other_size}")

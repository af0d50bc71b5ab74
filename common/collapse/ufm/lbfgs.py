"""Minimising smooth objectives in float64, far below the noise of stochastic training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Parameters = Mapping[str, Tensor]
"""Named float64 tensors of any shapes."""


@dataclass(frozen=True)
class Minimum:
    """Where a minimisation ended.

    Attributes:
        parameters: the minimiser, named and shaped like the start.
        objective: its value there.
        gradient_norm: the largest absolute entry of the gradient there.
        iterations: how many steps were taken.
    """

    parameters: dict[str, Tensor]
    objective: float
    gradient_norm: float
    iterations: int


def minimise(
    objective: Callable[[Parameters], Tensor],
    start: Parameters,
    *,
    gradient_tolerance: float = 1e-11,
    max_iterations: int = 20_000,
) -> Minimum:
    """Minimise a smooth function of named tensors by L-BFGS (scipy's L-BFGS-B, no bounds).

    Args:
        objective: maps named float64 tensors to a scalar; differentiated by autograd.
        start: where to begin; left as it is.
        gradient_tolerance: largest absolute entry of the gradient at which to stop. Rounding
            may stop the search earlier; `Minimum.gradient_norm` tells.
        max_iterations: steps after which to give up.

    Raises:
        ValueError: the start is empty, not float64 or not finite, the objective is not finite
            where the search ended, or the search ran out of steps.
    """
    from scipy.optimize import minimize

    _check_start(start)

    def split(flat: NDArray[np.float64]) -> dict[str, Tensor]:
        pieces = torch.from_numpy(flat.copy()).split([t.numel() for t in start.values()])
        return {
            name: piece.view(tensor.shape)
            for (name, tensor), piece in zip(start.items(), pieces, strict=True)
        }

    def value_and_gradient(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        parameters = {name: piece.requires_grad_() for name, piece in split(flat).items()}
        value = objective(parameters)
        gradients = torch.autograd.grad(value, list(parameters.values()))
        return value.item(), torch.cat([g.reshape(-1) for g in gradients]).numpy()

    with _one_thread():
        found = minimize(
            value_and_gradient,
            torch.cat([tensor.detach().reshape(-1) for tensor in start.values()]).numpy(),
            jac=True,
            method="L-BFGS-B",
            options={
                "maxcor": 50,
                "ftol": 0.0,  # stop at the gradient only: the value is flat to 1e-16 long before
                "gtol": gradient_tolerance,
                "maxiter": max_iterations,
                "maxfun": 10 * max_iterations,
            },
        )
    if not np.isfinite(found.fun):
        raise ValueError(f"objective: {found.fun} after {found.nit} steps")
    if found.status == 1:  # scipy's code for too many steps or evaluations
        raise ValueError(f"max_iterations: no minimum within {max_iterations} steps")
    return Minimum(split(found.x), float(found.fun), float(np.abs(found.jac).max()), int(found.nit))


@contextmanager
def _one_thread() -> Iterator[None]:
    """On problems this small, the threads of torch and of BLAS only wait for one another."""
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(threads)


def _check_start(start: Parameters) -> None:
    if not start:
        raise ValueError("start: no parameters")
    if wrong := [name for name, tensor in start.items() if tensor.dtype != torch.float64]:
        raise ValueError(f"start: {wrong} must be float64")
    if wrong := [name for name, tensor in start.items() if not tensor.isfinite().all()]:
        raise ValueError(f"start: {wrong} hold values that are not finite")

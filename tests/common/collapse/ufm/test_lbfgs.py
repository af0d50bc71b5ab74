"""L-BFGS in float64: known minima, determinism, and what it refuses."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from common.collapse.ufm.lbfgs import Parameters, minimise


def rosenbrock(parameters: Parameters) -> Tensor:
    x, y = parameters["x"], parameters["y"]
    return ((1 - x) ** 2 + 100 * (y - x**2) ** 2).sum()


def start(*values: float) -> dict[str, Tensor]:
    return {
        "x": torch.tensor(values, dtype=torch.float64),
        "y": torch.zeros(len(values), dtype=torch.float64),
    }


def test_the_rosenbrock_minimum_is_found_to_many_digits() -> None:
    found = minimise(rosenbrock, start(-1.2, 2.0))
    assert found.parameters["x"] == pytest.approx([1.0, 1.0], abs=1e-9)
    assert found.parameters["y"] == pytest.approx([1.0, 1.0], abs=1e-9)
    assert found.objective < 1e-18
    assert found.gradient_norm < 1e-8
    assert found.iterations > 10


def test_a_linear_system_is_solved_and_shapes_are_kept() -> None:
    generator = torch.Generator().manual_seed(0)
    half = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    A, b = half @ half.T + torch.eye(6), torch.randn(6, generator=generator, dtype=torch.float64)

    def quadratic(parameters: Parameters) -> Tensor:
        v = torch.cat([parameters["left"].reshape(-1), parameters["right"]])
        return v @ A @ v / 2 - b @ v

    begin = {"left": torch.zeros(2, 2, dtype=torch.float64), "right": torch.zeros(2).double()}
    found = minimise(quadratic, begin)
    assert found.parameters["left"].shape == (2, 2)
    solution = torch.cat([found.parameters["left"].reshape(-1), found.parameters["right"]])
    assert torch.allclose(solution, torch.linalg.solve(A, b), rtol=0, atol=1e-9)
    assert torch.equal(begin["left"], torch.zeros(2, 2)), "the start is left as it was"


def test_equal_starts_give_equal_bits() -> None:
    once, again = minimise(rosenbrock, start(-1.2)), minimise(rosenbrock, start(-1.2))
    assert torch.equal(once.parameters["x"], again.parameters["x"])
    assert once.objective == again.objective


def test_what_is_reported_belongs_to_the_point() -> None:
    found = minimise(rosenbrock, start(-1.2), gradient_tolerance=1e-2)
    point = {name: tensor.clone().requires_grad_() for name, tensor in found.parameters.items()}
    value = rosenbrock(point)
    gradients = torch.autograd.grad(value, list(point.values()))
    assert value.item() == found.objective
    assert max(g.abs().max().item() for g in gradients) == found.gradient_norm <= 1e-2


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="start: no parameters"):
        minimise(rosenbrock, {})
    with pytest.raises(ValueError, match=r"start: \['y'\] must be float64"):
        minimise(rosenbrock, start(1.0) | {"y": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"start: \['x'\] hold values that are not finite"):
        minimise(rosenbrock, start(math.nan))
    with pytest.raises(ValueError, match="max_iterations: no minimum within 3 steps"):
        minimise(rosenbrock, start(-1.2), max_iterations=3)
    with pytest.raises(ValueError, match="objective: inf after"):
        minimise(lambda p: rosenbrock(p) + math.inf, start(-1.2))

"""Whitening and standardising targets."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from common.collapse.target_preprocessing import ZCA, Standardize, TargetTransform


def some_targets(seed: int = 0, samples: int = 50, n: int = 3) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(samples, n)) @ rng.normal(size=(n, n)) + 5)


def covariance(targets: Tensor) -> Tensor:
    return torch.cov(targets.T, correction=0)


def test_standardize_is_that_of_scikit_learn() -> None:
    targets, later = some_targets(), some_targets(seed=1)
    rival = StandardScaler().fit(targets.numpy())
    ours = Standardize().fit(targets)
    np.testing.assert_allclose(ours.transform(later), rival.transform(later.numpy()), rtol=1e-12)
    back = rival.inverse_transform(later.numpy())
    np.testing.assert_allclose(ours.inverse_transform(later), back, rtol=1e-12)


def test_zca_whitens_and_is_the_nearest_whitening() -> None:
    """The one whose covariance with the targets, Σ^{1/2}, is symmetric and positive."""
    targets = some_targets()
    white = ZCA().fit(targets).transform(targets)
    torch.testing.assert_close(covariance(white), torch.eye(3).double())
    torch.testing.assert_close(white.mean(0), torch.zeros(3).double(), atol=1e-12, rtol=0)
    root = (targets - targets.mean(0)).T @ white / len(targets)
    torch.testing.assert_close(root, root.T)
    torch.testing.assert_close(root @ root, covariance(targets))
    assert torch.linalg.eigvalsh(root).min() > 0


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3))
@pytest.mark.parametrize("transform", [ZCA(), Standardize(), ZCA(eigenvalue_floor=0.3)])
def test_there_and_back(transform: TargetTransform, seed: int, scale: float) -> None:
    targets = scale * some_targets(seed)
    stack = torch.stack([targets, 2 * targets])  # predictions of two networks
    transform.fit(targets)
    back = transform.inverse_transform(transform.transform(stack))
    torch.testing.assert_close(back, stack, rtol=1e-8, atol=1e-8 * scale)


def test_the_scale_of_targets_does_not_matter_to_whitened_ones() -> None:
    targets = some_targets()
    for transform in (ZCA(), Standardize()):
        once = transform.fit(targets).transform(targets)
        torch.testing.assert_close(transform.fit(7 * targets).transform(7 * targets), once)


def test_deficient_rank_is_refused_unless_floored() -> None:
    targets = some_targets(n=2)
    dependent = torch.column_stack([targets, targets.sum(1)])
    with pytest.raises(ValueError, match="deficient rank; give an eigenvalue_floor"):
        ZCA().fit(dependent)
    white = ZCA(eigenvalue_floor=0.5).fit(dependent).transform(dependent)
    raised = torch.linalg.eigvalsh(covariance(white))
    assert raised[0] < 1e-8
    assert raised[-1].item() == pytest.approx(1.0)
    constant = torch.column_stack([targets, torch.full((50,), 0.1)])
    floored = ZCA(eigenvalue_floor=0.5).fit(constant)
    torch.testing.assert_close(floored.inverse_transform(floored.transform(constant)), constant)


@pytest.mark.parametrize("transform", [ZCA(), Standardize()])
def test_bad_targets_are_refused(transform: TargetTransform) -> None:
    with pytest.raises(ValueError, match="targets: an entry is NaN"):
        transform.fit(some_targets() * math.nan)
    with pytest.raises(ValueError, match="targets: shape"):
        transform.fit(some_targets()[:, 0])
    with pytest.raises(ValueError, match="targets: "):
        transform.fit(torch.full((7, 2), 0.1, dtype=torch.float64))


def test_the_order_of_calls_and_the_floor_are_checked() -> None:
    for method in ("transform", "inverse_transform"):
        with pytest.raises(ValueError, match="ZCA: call fit before"):
            getattr(ZCA(), method)(some_targets())
    for floor in (-1.0, math.nan):
        with pytest.raises(ValueError, match="eigenvalue_floor"):
            ZCA(eigenvalue_floor=floor)

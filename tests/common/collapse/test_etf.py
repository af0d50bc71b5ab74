"""The simplex ETF and the distance from it."""

from __future__ import annotations

from math import sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.collapse.etf import etf_error, etf_frame, simplex_etf


def test_two_and_three_classes_by_hand() -> None:
    half = torch.tensor([[0.5, -0.5], [-0.5, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(simplex_etf(2), half)
    three = torch.full((3, 3), -1 / 3, dtype=torch.float64) + torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(simplex_etf(3), three / sqrt(2))


@pytest.mark.parametrize("num_classes", [2, 3, 10, 100])
def test_it_has_unit_norm_and_rank_one_less_than_classes(num_classes: int) -> None:
    etf = simplex_etf(num_classes)
    assert torch.linalg.matrix_norm(etf).item() == pytest.approx(1)
    values = torch.linalg.eigvalsh(etf)
    assert values[0].item() == pytest.approx(0, abs=1e-14)
    torch.testing.assert_close(values[1:], torch.full_like(values[1:], 1 / sqrt(num_classes - 1)))


def test_errors_of_known_matrices() -> None:
    assert etf_error(7 * simplex_etf(4)).item() == pytest.approx(0, abs=1e-15)
    assert etf_error(-simplex_etf(4)).item() == pytest.approx(2)
    # ⟨I/√K, ETF⟩ = tr ETF/√K = (K−1)/√((K−1) K), and ‖A − B‖² = 2 − 2⟨A, B⟩ of unit matrices.
    expected = sqrt(2 - 2 * sqrt(3 / 4))
    assert etf_error(torch.eye(4)).item() == pytest.approx(expected)
    assert etf_error(torch.ones(4, 4)).item() == pytest.approx(sqrt(2))
    assert etf_error(torch.zeros(4, 4)).isnan()


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), scale=st.floats(1e-6, 1e6))
def test_the_error_ignores_scale_and_the_order_of_classes(seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    gram = torch.randn(3, 4, 4, generator=generator)
    order = torch.randperm(4, generator=generator)
    error = etf_error(gram)
    assert ((error >= 0) & (error <= 2)).all()
    torch.testing.assert_close(etf_error(gram.double() * scale), error)
    torch.testing.assert_close(etf_error(gram[:, order][:, :, order]), error)
    torch.testing.assert_close(etf_error(gram[1]), error[1])


@pytest.mark.parametrize(("num_classes", "d"), [(2, 1), (4, 3), (4, 9), (10, 64)])
def test_frames_are_equiangular(num_classes: int, d: int) -> None:
    frame = etf_frame(num_classes, d, torch.Generator().manual_seed(0))
    assert frame.shape == (num_classes, d)
    gram = frame @ frame.T
    cosine = torch.full_like(gram, -1 / (num_classes - 1)).fill_diagonal_(1)
    torch.testing.assert_close(gram, cosine, atol=1e-14, rtol=0)
    assert torch.equal(frame, etf_frame(num_classes, d, torch.Generator().manual_seed(0)))
    if d > 1:
        other = etf_frame(num_classes, d, torch.Generator().manual_seed(1))
        assert not torch.allclose(frame, other)


def test_orientations_are_uniform() -> None:
    generator = torch.Generator().manual_seed(0)
    lines = torch.stack([etf_frame(2, 1, generator) for _ in range(200)])
    assert lines.mean(0).abs().max() < 4 / sqrt(200)
    planes = torch.stack([etf_frame(3, 2, generator) for _ in range(200)])
    # Entries of a uniform unit vector in the plane: mean 0, variance 1/2.
    assert planes.mean(0).abs().max() < 4 * sqrt(0.5 / 200)
    assert (planes.square().mean(0) - 0.5).abs().max() < 4 * sqrt(0.125 / 200)


def test_bad_input_is_refused() -> None:
    generator = torch.Generator()
    with pytest.raises(ValueError, match=r"num_features: 5 classes .* in 4 or more dimensions"):
        etf_frame(5, 3, generator)
    with pytest.raises(ValueError, match="num_classes"):
        etf_frame(1, 3, generator)
    with pytest.raises(ValueError, match="num_classes"):
        simplex_etf(1)
    with pytest.raises(ValueError, match="gram: needs square matrices"):
        etf_error(torch.ones(3, 4))
    with pytest.raises(ValueError, match="gram: an entry is NaN"):
        etf_error(torch.full((3, 3), torch.nan))
    with pytest.raises(ValueError, match="gram: needs at least 2"):
        etf_error(torch.ones(3))

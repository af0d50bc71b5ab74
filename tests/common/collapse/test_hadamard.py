"""The softmax in the basis of group characters, against slow and obvious references."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax

from common.collapse import hadamard
from common.collapse.hadamard import Floats
from common.collapse.lyapunov import am_gm, am_gm_rate

ORDERS = [(2,), (2, 2), (2, 2, 2), (3,), (5,), (6,), (2, 3), (2, 6), (4, 2)]


def spectra(K: int, high: float = 50.0) -> st.SearchStrategy[Floats]:
    return arrays(float, K, elements=st.floats(0, high))


def paired(s: Floats, orders: tuple[int, ...]) -> Floats:
    """s_k = s_-k, by the obvious loop over multi-indices."""
    s = s.copy()
    for k in np.ndindex(*orders):
        minus = tuple(-one % n for one, n in zip(k, orders, strict=True))
        s.reshape(orders)[minus] = s.reshape(orders)[k]
    return s


def exact_complement(s: Floats) -> Floats:
    """1 - p_hat for Z_2 x ... x Z_2, term by term in extended precision."""
    K = len(s)
    p = softmax(hadamard.sylvester(K).astype(np.longdouble) @ s.astype(np.longdouble) / K)
    signs = hadamard.sylvester(K)
    return np.array([2 * p[signs[k] < 0].sum() for k in range(K)], dtype=float)


# ----------------------------------------------------------------------------- bases, transforms


@pytest.mark.parametrize("K", [1, 2, 8, 32])
def test_entries_of_sylvesters_matrix_are_parities_of_common_bits(K: int) -> None:
    expected = [[(-1) ** (i & j).bit_count() for j in range(K)] for i in range(K)]
    np.testing.assert_array_equal(hadamard.sylvester(K), expected)


@pytest.mark.parametrize("orders", ORDERS)
def test_characters_are_an_orthonormal_basis(orders: tuple[int, ...]) -> None:
    basis = hadamard.real_characters(orders)
    np.testing.assert_allclose(basis.T @ basis, np.eye(len(basis)), atol=1e-14)
    np.testing.assert_allclose(basis[:, 0], len(basis) ** -0.5)


def test_characters_of_products_of_two_are_sylvesters_matrix() -> None:
    np.testing.assert_allclose(
        hadamard.real_characters((2, 2, 2)), hadamard.sylvester(8) / np.sqrt(8), atol=1e-15
    )
    np.testing.assert_allclose(
        hadamard.character_gaps((2, 2, 2)), 1 - hadamard.sylvester(8), atol=1e-15
    )


@settings(deadline=None, max_examples=20)
@given(x=arrays(float, (3, 16), elements=st.floats(-10, 10)))
def test_the_fast_transform_is_the_matrix_product(x: Floats) -> None:
    np.testing.assert_allclose(hadamard.fwht(x), x @ hadamard.sylvester(16), atol=1e-12)
    plus, minus = hadamard.split_fwht(x)
    np.testing.assert_allclose(plus, x @ (hadamard.sylvester(16) > 0), atol=1e-12)
    np.testing.assert_allclose(minus, x @ (hadamard.sylvester(16) < 0), atol=1e-12)


def test_the_split_transform_subtracts_nothing() -> None:
    x = np.array([1.0, 1e-300, 1e-200, 1e-100])
    _, minus = hadamard.split_fwht(x)
    np.testing.assert_allclose(minus[[1, 2]], [1e-100, 1e-100], rtol=1e-15)
    np.testing.assert_allclose(hadamard.split_fwht(x[[0, 1, 2, 1]])[1][1], 2e-300, rtol=1e-15)


def test_large_and_small_K_take_different_ways_to_the_same_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    s = np.random.default_rng(0).uniform(0, 5, (3, 64))
    dense = hadamard.complement(s)
    monkeypatch.setattr(hadamard, "DENSE_UP_TO", 8)
    np.testing.assert_allclose(hadamard.complement(s), dense, rtol=1e-12)


# ------------------------------------------------------------------------------ softmax spectrum


@settings(deadline=None, max_examples=30)
@given(data=st.data(), orders=st.sampled_from(ORDERS))
def test_the_softmax_is_diagonal_in_the_characters(
    data: st.DataObject, orders: tuple[int, ...]
) -> None:
    K = int(np.prod(orders))
    s = paired(data.draw(arrays(float, K, elements=st.floats(-20, 20))), orders)
    basis, gaps = hadamard.real_characters(orders), hadamard.character_gaps(orders)
    P = softmax(basis * s @ basis.T, axis=0)
    p_hat, p = hadamard.softmax_spectrum(s, gaps)
    np.testing.assert_allclose(basis.T @ P @ basis, np.diag(p_hat), atol=1e-13)
    np.testing.assert_allclose(P[:, 0], p, atol=1e-13)


def test_a_closed_form_at_equal_singular_values() -> None:
    """1 - p_hat_k = K / (e^s + K - 1)."""
    for K, s in ((4, 3.0), (8, 50.0), (16, 700.0)):
        spectrum = np.full(K, s)
        np.testing.assert_allclose(
            hadamard.complement(spectrum)[1:], K / (np.exp(s) + K - 1), rtol=1e-11
        )
        np.testing.assert_allclose(
            hadamard.cross_entropy(spectrum),
            (K - 1) * np.exp(-s),
            rtol=(K + 1) * np.exp(-s) + 1e-11,
        )


def test_late_complements_keep_their_precision_where_the_naive_form_is_zero() -> None:
    s = np.array([0, 60.0, 45.0, 50.0, 58.0, 41.0, 49.0, 55.0])
    naive = 1 - hadamard.fwht(np.exp(hadamard.log_probabilities(s)))
    exact = hadamard.complement(s)
    assert (exact[1:] > 0).all()
    assert np.abs(naive[1:] / exact[1:] - 1).max() > 0.01
    np.testing.assert_allclose(exact, exact_complement(s), rtol=1e-11)


def test_log_time_rates_are_finite_where_time_itself_overflows() -> None:
    s = np.full(8, 1000 + log(2000))
    rate = hadamard.log_time_rate(1000.0, s)
    np.testing.assert_allclose(rate[1:], 2 * s[1] * np.exp(1000 - s[1]), rtol=1e-11)


@settings(deadline=None, max_examples=20)
@given(s=spectra(8, 20.0))
def test_every_mode_slows_every_other_down(s: Floats) -> None:
    """Griffiths: p_hat_k >= 0 and rises with every s_l."""
    p_hat = 1 - hadamard.complement(s)
    assert (p_hat > -1e-12).all()
    for mode in range(1, 8):
        more = s + np.eye(8)[mode]
        assert (hadamard.complement(more) <= hadamard.complement(s) * (1 + 1e-12)).all()


# ---------------------------------------------------------------------------------- reduced flow


@settings(deadline=None, max_examples=20)
@given(s=spectra(8, 10.0))
def test_the_flow_is_the_gradient_of_the_loss(s: Floats) -> None:
    """ds/dt = -2 s dL/ds for balanced factors."""
    s = s + 0.1
    step = 1e-5
    shifts = step * np.eye(8)
    slope = (hadamard.cross_entropy(s + shifts) - hadamard.cross_entropy(s - shifts)) / (2 * step)
    np.testing.assert_allclose(hadamard.rate(0.0, s), -2 * s * slope, rtol=1e-5, atol=1e-9)


def test_mode_zero_never_moves() -> None:
    s = np.array([3.0, 0.2, 0.5, 0.1])
    assert hadamard.rate(0.0, s)[0] == 0
    assert hadamard.squared_loss_rate(0.0, s)[0] == 0
    factors = np.sqrt(np.stack([s, s]))
    assert (hadamard.factor_rate(0.0, factors, smoothing=0.1)[:, 0] == 0).all()


def test_balanced_factors_give_the_reduced_flow() -> None:
    s = np.random.default_rng(1).uniform(0.1, 3, 8)
    a = np.sqrt(s)
    da, db = hadamard.factor_rate(0.0, np.stack([a, a]))
    np.testing.assert_allclose(a * db + a * da, hadamard.rate(0.0, s), rtol=1e-13)


@pytest.mark.parametrize(("smoothing", "decay"), [(0.1, (0.01, 0.0001)), (0.0, (0.002, 0.002))])
def test_the_fixed_point_rests(smoothing: float, decay: tuple[float, float]) -> None:
    s = hadamard.smoothed_fixed_point(8, smoothing, decay)
    a = np.sqrt(s * np.sqrt(decay[1] / decay[0]))  # lambda_W a^2 = lambda_H b^2
    factors = np.stack([np.full(8, a), np.full(8, s / a)])
    moved = hadamard.factor_rate(0.0, factors, smoothing=smoothing, decay=decay)[:, 1:]
    np.testing.assert_allclose(moved, 0, atol=1e-15)
    assert hadamard.smoothed_fixed_point(8, 0.5, (0.1, 0.1)) == 0.0


def test_the_distance_from_an_etf_is_that_of_the_matrix() -> None:
    s = np.random.default_rng(2).uniform(0, 3, 8)
    basis = hadamard.sylvester(8) / np.sqrt(8)
    Z = basis * np.where(np.arange(8) == 0, 0, s) @ basis.T
    target = (np.eye(8) - 1 / 8) / np.sqrt(7)
    expected = np.linalg.norm(Z / np.linalg.norm(Z) - target)
    assert hadamard.spectrum_etf_distance(s) == pytest.approx(expected, abs=1e-14)


# -------------------------------------------------------------------------------------- Lyapunov


@settings(deadline=None, max_examples=50)
@given(data=st.data(), orders=st.sampled_from(ORDERS[1:]))
def test_the_lyapunov_function_falls_everywhere(
    data: st.DataObject, orders: tuple[int, ...]
) -> None:
    K = int(np.prod(orders))
    s = paired(data.draw(arrays(float, K, elements=st.floats(0.01, 60))), orders)
    gaps = hadamard.character_gaps(orders)
    assert am_gm(s) >= -1e-15
    assert am_gm_rate(s, gaps) <= 1e-12 * hadamard.complement(s, gaps).mean()


def test_the_lyapunov_function_and_its_rate() -> None:
    s = np.array([9.0, 1.0, 2.0, 4.0])
    assert am_gm(s) == pytest.approx(log(7 / 3) - log(8) / 3)
    assert am_gm(np.full(4, 2.0)) == 0
    step = 1e-6 * hadamard.rate(0.0, s)
    slope = (am_gm(s + step) - am_gm(s - step)) / 2e-6
    assert am_gm_rate(s) == pytest.approx(slope, rel=1e-6)
    assert am_gm_rate(s) < 0


# ------------------------------------------------------------------------------------- bad input


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="K: 12 is no power of two"):
        hadamard.sylvester(12)
    with pytest.raises(ValueError, match="x: the last axis has 6 entries"):
        hadamard.fwht(np.ones(6))
    with pytest.raises(ValueError, match="orders"):
        hadamard.real_characters((1, 2))
    with pytest.raises(ValueError, match="s: a singular value is NaN"):
        hadamard.softmax_spectrum([0.0, np.nan])
    with pytest.raises(ValueError, match="smoothing"):
        hadamard.smoothed_fixed_point(4, 1.0, (0.1, 0.1))
    with pytest.raises(ValueError, match="grow for ever"):
        hadamard.smoothed_fixed_point(4, 0.0, (0.0, 0.1))
    with pytest.raises(ValueError, match="positive singular values"):
        am_gm(np.array([0.0, 1.0, 0.0, 1.0]))
    with pytest.raises(ValueError, match="no direction"):
        hadamard.spectrum_etf_distance(np.zeros(4))

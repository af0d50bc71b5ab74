"""The full flow against automatic differentiation, closed forms and the reduced flow."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from common.collapse import gradient_flow as flow
from common.collapse import hadamard


def balanced(K: int, d: int, seed: int = 0) -> tuple[hadamard.Floats, hadamard.Floats]:
    """A spectrum (K,) and its Hadamard start (2, K, d)."""
    s = np.random.default_rng(seed).uniform(0.01, 1, K)
    s[0] = 0
    basis = hadamard.sylvester(K) / np.sqrt(K)
    return s, flow.initial(basis, np.sqrt(s), np.sqrt(s), d, seed)


@pytest.mark.parametrize("weights", [None, np.array([0.4, 0.3, 0.2, 0.1])])
def test_rates_are_minus_the_gradient(weights: hadamard.Floats | None) -> None:
    state = flow.random_initial(4, 6, 1.0, seed=0)
    W, Ht = (torch.tensor(one, requires_grad=True) for one in state)
    Z = (W @ Ht.T).T  # one row per input
    losses = torch.nn.functional.cross_entropy(Z, torch.arange(4), reduction="none")
    w = torch.full((4,), 0.25) if weights is None else torch.tensor(weights)
    (w * losses).sum().backward()
    expected = -np.stack([W.grad.numpy(), Ht.grad.numpy()])
    np.testing.assert_allclose(flow.cross_entropy_rate(0.0, state, weights), expected, atol=1e-7)

    W.grad = Ht.grad = None
    (((W @ Ht.T - torch.eye(4)) ** 2).sum() / 8).backward()
    expected = -np.stack([W.grad.numpy(), Ht.grad.numpy()])
    np.testing.assert_allclose(flow.squared_loss_rate(0.0, state), expected, atol=1e-12)


@pytest.mark.parametrize("d", [8, 11])
def test_the_full_flow_is_the_reduced_one(d: int) -> None:
    s, start = balanced(8, d)
    times = np.linspace(0, 400, 41)
    states = flow.integrate(flow.cross_entropy_rate, start, times)
    modes = flow.integrate(hadamard.rate, s, times)
    basis = hadamard.sylvester(8) / np.sqrt(8)
    seen = basis @ flow.logits(states) @ basis
    np.testing.assert_allclose(np.diagonal(seen, axis1=1, axis2=2), modes, atol=1e-7)
    assert np.abs(seen * (1 - np.eye(8))).max() < 1e-12
    drift = np.abs(flow.imbalance(states) - flow.imbalance(states[0])).max()
    assert drift < 1e-12


def test_squared_loss_follows_logistic_curves() -> None:
    s, start = balanced(4, 4)
    times = np.linspace(0, 30, 4)
    states = flow.integrate(flow.squared_loss_rate, start, times)
    basis = hadamard.sylvester(4) / 2
    modes = np.diagonal(basis @ flow.logits(states) @ basis, axis1=1, axis2=2)[:, 1:]
    odds = s[1:] / (1 - s[1:]) * np.exp(times / 2)[:, None]
    np.testing.assert_allclose(modes, odds / (1 + odds), atol=1e-8)
    reduced = flow.integrate(hadamard.squared_loss_rate, s, times)[:, 1:]
    np.testing.assert_allclose(reduced, modes, atol=1e-8)


def test_log_time_is_time() -> None:
    s, start = balanced(4, 4)
    log_t = np.array([-9.0, 2.0, 5.0])
    logarithmic = flow.integrate(flow.in_log_time(flow.cross_entropy_rate), start, log_t)
    linear = flow.integrate(flow.cross_entropy_rate, start, np.exp(log_t))
    np.testing.assert_allclose(logarithmic, linear, atol=1e-8)
    reduced = flow.integrate(hadamard.log_time_rate, s, log_t)
    np.testing.assert_allclose(reduced, flow.integrate(hadamard.rate, s, np.exp(log_t)), atol=1e-8)


def test_the_spread_for_K_4_shrinks_at_the_derived_rate() -> None:
    """Spread ratios of 3.6 to 3.7 between log t = 20 and 25, as exp(ds / 4) says."""
    s = np.array([0, 0.5, 0.6, 0.8])
    path = flow.integrate(hadamard.log_time_rate, s, np.array([-4.0, 20, 25]), rtol=1e-12)[1:, 1:]
    spread, mean = np.ptp(path, axis=1) / path.mean(axis=1), path.mean(axis=1)
    assert spread[0] / spread[1] == pytest.approx(np.exp((mean[1] - mean[0]) / 4), rel=0.02)
    assert spread[0] / spread[1] == pytest.approx(3.65, abs=0.05)


@pytest.mark.parametrize("K", [4, 16])
def test_equal_singular_values_grow_like_log_t(K: int) -> None:
    """s is about log 2t + log log 2t, and the loss about (K - 1) / (2 t log t)."""
    s = np.full(K, 0.1)
    end = flow.integrate(hadamard.log_time_rate, s, np.array([-4.0, 50.0]))[-1]
    log_2t = 50 + np.log(2)
    assert end[1] == pytest.approx(log_2t + np.log(log_2t), rel=0.005)
    assert np.ptp(end[1:]) < 1e-9
    loss = hadamard.cross_entropy(end) * np.exp(50) * 2 * 50 / (K - 1)
    assert loss == pytest.approx(1, rel=0.1)


def test_small_singular_values_grow_exponentially_and_keep_their_ratios() -> None:
    s = np.array([0, 1e-6, 2e-6, 5e-6])
    end = flow.integrate(hadamard.rate, s, np.array([0.0, 10.0]), atol=1e-16)[-1]
    np.testing.assert_allclose(end, s * np.exp(2 * 10 / 4), rtol=1e-3)
    p_hat = 1 - hadamard.complement(1e3 * s)[1:]
    np.testing.assert_allclose(p_hat, 1e3 * s[1:] / 4, rtol=0.005)


def test_the_flow_does_not_freeze_where_eigenvalues_round_to_one() -> None:
    """Beyond singular values of 37 the naive 1 - p_hat is 0 and the spread would stay."""
    s = np.array([0, 0.5, 0.6, 0.8])
    path = flow.integrate(hadamard.log_time_rate, s, np.array([-4.0, 45, 60]), atol=1e-14)[1:, 1:]
    assert path.min() > 37
    spread = np.ptp(path, axis=1) / path.mean(axis=1)
    growth = path.mean(axis=1)[1] - path.mean(axis=1)[0]
    assert spread[0] / spread[1] == pytest.approx(np.exp(growth / 4), rel=0.01)


def test_dead_modes_and_their_margins() -> None:
    """1/12 per unit of nuclear norm with modes {1, 2, 4} of K = 8, against 1/7."""
    s = np.zeros(8)
    s[[1, 2, 4]] = 0.01, 0.012, 0.009
    end = flow.integrate(hadamard.log_time_rate, s, np.array([-4.0, 25.0]), atol=1e-14)[-1]
    assert (end[[0, 3, 5, 6, 7]] == 0).all()
    margin = hadamard.margins(end)[1:].min() / end.sum()
    assert margin == pytest.approx(1 / 12, rel=1e-6)
    assert hadamard.cross_entropy(end) < 1e-9
    assert hadamard.margins(np.r_[0, np.ones(7)])[1:].min() / 7 == pytest.approx(1 / 7)


def test_gradient_descent_keeps_the_singular_vectors_and_is_first_order() -> None:
    s, start = balanced(8, 8)
    basis = hadamard.sylvester(8) / np.sqrt(8)
    exact = flow.integrate(hadamard.rate, s, np.array([0.0, 20.0]))[-1]
    errors = []
    for step in (0.2, 0.1):
        times, states = flow.gradient_descent(
            flow.cross_entropy_rate, start, step, round(20 / step), every=10
        )
        assert times[-1] == pytest.approx(20)
        seen = basis @ flow.logits(states[-1]) @ basis
        assert np.abs(seen * (1 - np.eye(8))).max() < 1e-12
        errors.append(np.abs(np.diag(seen) - exact).max())
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.1)


def test_distance_from_neural_collapse() -> None:
    s, start = balanced(8, 8)
    Z = flow.logits(start)
    expected = hadamard.spectrum_etf_distance(s)
    assert flow.etf_distance(Z) == pytest.approx(expected, abs=1e-12)
    assert flow.etf_distance(Z + np.arange(8)) == pytest.approx(expected, abs=1e-12)
    assert flow.etf_distance(3 * np.eye(5)) == pytest.approx(0, abs=1e-14)


def test_equal_seeds_give_equal_bits() -> None:
    assert (balanced(8, 9, seed=3)[1] == balanced(8, 9, seed=3)[1]).all()
    first, second = (flow.random_initial(4, 4, 0.01, seed) for seed in (0, 1))
    assert (first == flow.random_initial(4, 4, 0.01, 0)).all() and (first != second).all()


def test_bad_input_is_named() -> None:
    basis, one = hadamard.sylvester(4) / 2, np.ones(4)
    with pytest.raises(ValueError, match="d: 4 orthonormal directions"):
        flow.initial(basis, one, one, 3, 0)
    with pytest.raises(ValueError, match="do not fit"):
        flow.initial(basis, one, one[:3], 4, 0)
    with pytest.raises(ValueError, match="not orthonormal"):
        flow.initial(2 * basis, one, one, 4, 0)
    with pytest.raises(ValueError, match="times"):
        flow.integrate(hadamard.rate, one, np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match="start"):
        flow.integrate(hadamard.rate, np.nan * one, np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match="step"):
        flow.gradient_descent(hadamard.rate, one, 0.0, 10)

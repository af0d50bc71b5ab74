"""Gradient flow and gradient descent of a two-layer linear network with one input for each class.

Logits are Z = W H (column i: logits of class i), W (K, d), H (d, K): the unconstrained features
model. No bias. The state stacks both factors as (2, K, d): W and H'. Losses are means over classes,
unless class weights are given. Setting of arXiv 2512.04006; formulas derived here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.integrate import solve_ivp
from scipy.special import softmax

from common.collapse.hadamard import Floats

Rate = Callable[[float, Floats], Floats]


def initial(basis: Floats, a: Floats, b: Floats, d: int, seed: int) -> Floats:
    """W = basis diag(a) Q', H = Q diag(b) basis' as a state (2, K, d), with random orthonormal Q.

    Args:
        basis: orthogonal (K, K), for example sylvester(K) / sqrt(K).
        a: singular values of W, (K,).
        b: singular values of H, (K,); the two are balanced when a = b.
        d: width, at least K.
        seed: of Q, (d, K).

    Raises:
        ValueError: d < K, shapes that do not fit, or a basis that is not orthogonal.
    """
    K = len(basis)
    if d < K:
        raise ValueError(f"d: {K} orthonormal directions need a width of at least {K}, not {d}")
    if not (basis.shape == (K, K) and a.shape == b.shape == (K,)):
        raise ValueError(f"basis, a, b: shapes {basis.shape}, {a.shape}, {b.shape} do not fit")
    if not np.allclose(basis.T @ basis, np.eye(K), atol=1e-8):
        raise ValueError("basis: its columns are not orthonormal")
    Q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((d, K)))
    return np.stack([basis * a @ Q.T, basis * b @ Q.T])


def random_initial(K: int, d: int, std: float, seed: int) -> Floats:
    """W and H' with independent normal entries of standard deviation `std`, (2, K, d)."""
    return np.random.default_rng(seed).normal(scale=std, size=(2, K, d))


def logits(state: Floats) -> Floats:
    """Z = W H, (..., K, K), of states (..., 2, K, d)."""
    return np.asarray(state[..., 0, :, :] @ state[..., 1, :, :].swapaxes(-1, -2), dtype=float)


def cross_entropy_rate(t: float, state: Floats, weights: Floats | None = None) -> Floats:
    """-grad of the cross-entropy at (2, K, d).

    Args:
        t: time, unused.
        state: W and H'.
        weights: of the classes, (K,); default 1/K each.
    """
    W, Ht = state
    P = softmax(W @ Ht.T, axis=0)
    np.fill_diagonal(P, 0)
    # I - P with the diagonal as the sum of the others: exact where they are tiny.
    G = np.diag(P.sum(axis=0)) - P
    G *= 1 / len(W) if weights is None else weights
    return np.stack([G @ Ht, G.T @ W])


def squared_loss_rate(t: float, state: Floats) -> Floats:
    """-grad of |Z - I|^2 / (2 K) at (2, K, d)."""
    W, Ht = state
    G = (np.eye(len(W)) - W @ Ht.T) / len(W)
    return np.stack([G @ Ht, G.T @ W])


def in_log_time(rate: Rate) -> Rate:
    """The autonomous flow `rate` as a flow in log(t)."""
    return lambda log_t, y: np.exp(log_t) * rate(0.0, y)


def integrate(
    rate: Rate,
    start: Floats,
    times: Floats,
    method: str = "DOP853",
    rtol: float = 1e-10,
    atol: float = 1e-12,
) -> Floats:
    """The solution of dy/dt = rate(t, y) at `times` (n,), as (n, *start.shape).

    Args:
        rate: from time and state to a change of the state's shape.
        start: the state at times[0].
        times: increasing; what they mean (t, log t) is up to `rate`.
        method: of scipy.integrate.solve_ivp.
        rtol: relative tolerance of a step.
        atol: absolute tolerance of a step.

    Raises:
        ValueError: times do not increase, or the start is not finite.
        RuntimeError: the solver gave up.
    """
    if len(times) < 2 or not (np.diff(times) > 0).all():
        raise ValueError("times: at least two, and increasing, are needed")
    if not np.isfinite(start).all():
        raise ValueError("start: a value is NaN or infinite")
    solution = solve_ivp(
        lambda t, y: rate(t, y.reshape(start.shape)).ravel(),
        (times[0], times[-1]),
        start.ravel(),
        method=method,
        t_eval=times,
        rtol=rtol,
        atol=atol,
    )
    if not solution.success:
        raise RuntimeError(f"{method} stopped: {solution.message}")
    return np.asarray(solution.y.T.reshape(len(times), *start.shape), dtype=float)


def gradient_descent(
    rate: Rate, start: Floats, step: float, steps: int, every: int = 1
) -> tuple[Floats, Floats]:
    """Gradient descent with a constant step.

    Args:
        rate: minus the gradient, of (number of the step, state).
        start: the state at step 0.
        step: size of a step, in the unit of time of the flow.
        steps: how many.
        every: which states are kept; step 0 is.

    Returns:
        Times (n,) and states (n, *start.shape).

    Raises:
        ValueError: a step that is not positive, or fewer steps than `every`.
    """
    if step <= 0 or not 1 <= every <= steps:
        raise ValueError(f"step has to be positive and 1 <= every <= steps: {step}, {every}")
    state, kept = start.copy(), [start.copy()]
    for number in range(1, steps + 1):
        state += step * rate(number, state)
        if number % every == 0:
            kept.append(state.copy())
    return step * every * np.arange(len(kept), dtype=float), np.array(kept)


def imbalance(state: Floats) -> Floats:
    """W'W - HH', (..., d, d), of states (..., 2, K, d): constant along every gradient flow."""
    W, Ht = state[..., 0, :, :], state[..., 1, :, :]
    return np.asarray(W.swapaxes(-1, -2) @ W - Ht.swapaxes(-1, -2) @ Ht, dtype=float)


def centred(Z: Floats) -> Floats:
    """(I - 11'/K) Z, (..., K, K): without what is added to all logits of an input."""
    return np.asarray(Z - Z.mean(axis=-2, keepdims=True), dtype=float)


def etf_distance(Z: Floats) -> Floats:
    """|Z / |Z| - (I - 11'/K) / sqrt(K - 1)|, (...), of logits (..., K, K), centred before.

    0 is neural collapse: every class leads all others by the same margin. NaN where the logits of
    all classes are equal.

    Raises:
        ValueError: Z is not square, smaller than 2 x 2, or not finite.
    """
    import torch

    from common.collapse.etf import etf_error

    return np.asarray(etf_error(torch.from_numpy(centred(Z))).numpy(), dtype=float)

"""Modes of the softmax: where it is diagonal, its spectrum, and the reduced gradient flow.

Logits Z (column i: class i) that are diagonal in the characters of a finite abelian group of
order K keep that basis through the column-wise softmax, which makes the gradient flow of a
two-layer linear network on one input per class a flow of K - 1 numbers s_k. The Hadamard matrices
of Sylvester are the characters of Z_2 x ... x Z_2 (arXiv 2512.04006). Other groups, and all
formulas here, are derived in this project.

Spectra have shape (..., K), mode 0 (the constant direction) included: it never moves and changes no
probability. `gaps` holds 1 - Re chi_k(g), (K, K), of the group; the default is Z_2 x ... x Z_2.
The loss is the mean over the K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import hadamard

Floats = NDArray[np.float64]

DENSE_UP_TO = 1024
"""Up to this K one matrix product is faster than log2(K) passes (benchmarks/hadamard_flow.py)."""


# ----------------------------------------------------------------------------- groups and bases


def sylvester(K: int) -> Floats:
    """The Hadamard matrix (K, K) of Sylvester: entry (-1)^<k, g>, bitwise inner product.

    Raises:
        ValueError: K is no power of two.
    """
    if K < 1 or K & (K - 1):
        raise ValueError(f"K: {K} is no power of two, so there is no Sylvester-Hadamard matrix")
    return np.asarray(hadamard(K), dtype=float)


def real_characters(orders: Sequence[int]) -> Floats:
    """Real orthonormal characters (K, K) of the product of cyclic groups of these orders.

    Column k is chi_k / sqrt(K) where chi_k is real; of a conjugate pair (k, -k) the smaller index
    holds the cosines, the larger one the sines. Equal s_k = s_-k make a real matrix that only
    depends on the difference of its indices. `(2, 2, 2)` gives sylvester(8) / sqrt(8).

    Raises:
        ValueError: an order is below 2, or there is none.
    """
    phase, conjugate = _phases(orders), _conjugates(orders)
    K = len(phase)
    k = np.arange(K)
    cosines, sines = np.sqrt(2 / K) * np.cos(phase), np.sqrt(2 / K) * np.sin(phase)
    real = np.cos(phase) / np.sqrt(K)
    return np.where(k == conjugate, real, np.where(k < conjugate, cosines, sines))


def character_gaps(orders: Sequence[int]) -> Floats:
    """1 - Re chi_k(g) as (K, K), without cancellation; symmetric.

    Raises:
        ValueError: an order is below 2, or there is none.
    """
    return 2 * np.sin(_phases(orders) / 2) ** 2


def _digits(orders: Sequence[int]) -> NDArray[np.int64]:
    if not orders or min(orders) < 2:
        raise ValueError(f"orders: cyclic groups of order 2 or more are needed, not {orders}")
    return np.array(np.unravel_index(np.arange(np.prod(orders)), tuple(orders)))


def _phases(orders: Sequence[int]) -> Floats:
    """The argument of chi_k(g), (K, K), between 0 and 2 pi."""
    digits, n = _digits(orders), np.array(orders)[:, None, None]
    turns = ((digits[:, :, None] * digits[:, None, :]) % n / n).sum(axis=0) % 1.0
    return 2 * np.pi * turns


def _conjugates(orders: Sequence[int]) -> NDArray[np.int64]:
    digits, n = _digits(orders), np.array(orders)[:, None]
    return np.asarray(np.ravel_multi_index(tuple(-digits % n), tuple(orders)), dtype=np.int64)


# ----------------------------------------------------------------------------------- transforms


def fwht(x: ArrayLike) -> Floats:
    """The Walsh-Hadamard transform sum_g chi_k(g) x(g) of (..., K), in K log2(K) additions.

    Raises:
        ValueError: K is no power of two.
    """
    plus, minus = split_fwht(x)
    return plus - minus


def split_fwht(x: ArrayLike) -> tuple[Floats, Floats]:
    """The sums of x (..., K) over chi_k(g) = 1 and over chi_k(g) = -1, each (..., K).

    For x >= 0 nothing is ever subtracted, so even the smallest sum has its full relative precision.

    Raises:
        ValueError: K is no power of two.
    """
    plus = np.asarray(x, dtype=float)
    shape, K = plus.shape, plus.shape[-1]
    if K & (K - 1):
        raise ValueError(f"x: the last axis has {K} entries, which is no power of two")
    minus = np.zeros_like(plus)
    h = 1
    while h < K:
        p, m = (part.reshape(*shape[:-1], -1, 2, h) for part in (plus, minus))
        p0, p1, m0, m1 = p[..., 0, :], p[..., 1, :], m[..., 0, :], m[..., 1, :]
        plus = np.stack([p0 + p1, p0 + m1], axis=-2).reshape(shape)
        minus = np.stack([m0 + m1, m0 + p1], axis=-2).reshape(shape)
        h *= 2
    return plus, minus


@cache
def _sylvester_gaps(K: int) -> Floats:
    return 1 - sylvester(K)


def gap_transform(x: Floats, gaps: Floats | None = None) -> Floats:
    """sum_g (1 - Re chi_k(g)) x(g) for (..., K); no subtraction where x >= 0."""
    if gaps is not None:
        return x @ gaps
    K = x.shape[-1]
    return x @ _sylvester_gaps(K) if K <= DENSE_UP_TO else 2 * split_fwht(x)[1]


# ----------------------------------------------------------------------------- softmax spectrum


def margins(s: Floats, gaps: Floats | None = None) -> Floats:
    """z(0) - z(g), (..., K): by how much the right class leads the one that lies g further."""
    return gap_transform(s, gaps) / s.shape[-1]


def log_probabilities(s: Floats, gaps: Floats | None = None) -> Floats:
    """Logarithms of p(g), (..., K): of the class that lies g from the right one."""
    logits = -margins(s, gaps)
    logits -= logits.max(axis=-1, keepdims=True)  # scipy's logsumexp takes ten times as long
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True)), dtype=float)


def softmax_spectrum(s: ArrayLike, gaps: Floats | None = None) -> tuple[Floats, Floats]:
    """The spectrum of the softmax of the logits with spectrum s (..., K).

    Returns:
        p_hat (..., K), eigenvalues of the matrix of probabilities; p (..., K), its first column.

    Raises:
        ValueError: s is not finite, or its length is no power of two and `gaps` is missing.
    """
    spectrum = np.asarray(s, dtype=float)
    if not np.isfinite(spectrum).all():
        raise ValueError("s: a singular value is NaN or infinite")
    return 1 - complement(spectrum, gaps), np.exp(log_probabilities(spectrum, gaps))


def complement(s: Floats, gaps: Floats | None = None, log_scale: float = 0.0) -> Floats:
    """exp(log_scale) (1 - p_hat), (..., K), exact where p_hat rounds to 1.

    1 - p_hat_k = sum_g (1 - Re chi_k(g)) p(g), to which g = 0 adds nothing. The scale is applied
    before the exponential, so that late times neither underflow nor overflow.
    """
    log_p = log_probabilities(s, gaps)
    log_p[..., 0] = -np.inf
    return gap_transform(np.exp(log_p + log_scale), gaps)


def cross_entropy(s: Floats, gaps: Floats | None = None) -> Floats:
    """The loss -log p(0), (...), with full relative precision where it is tiny."""
    return np.log1p(np.exp(-margins(s, gaps)[..., 1:]).sum(axis=-1))


# --------------------------------------------------------------------------------- reduced flow


def rate(t: float, s: Floats, gaps: Floats | None = None) -> Floats:
    """ds/dt = (2/K) s_k (1 - p_hat_k), (..., K): gradient flow on cross-entropy, balanced factors.

    For unequal orders s_k = s_-k is required; the flow keeps it.
    """
    return 2 / s.shape[-1] * s * complement(s, gaps)


def log_time_rate(log_t: float, s: Floats, gaps: Floats | None = None) -> Floats:
    """ds/dlog(t), (..., K); exact at any log(t), also where exp(log_t) overflows."""
    return 2 / s.shape[-1] * s * complement(s, gaps, log_t)


def squared_loss_rate(t: float, s: Floats) -> Floats:
    """ds/dt = (2/K) s_k (1 - s_k), (..., K), for the loss |Z - I|^2 / (2 K); mode 0 kept fixed.

    The logistic equations of Saxe et al. (2013): the modes do not feel one another.
    """
    change = 2 / s.shape[-1] * s * (1 - s)
    change[..., 0] = 0
    return change


def factor_rate(
    t: float,
    factors: Floats,
    gaps: Floats | None = None,
    smoothing: float = 0.0,
    decay: tuple[float, float] = (0.0, 0.0),
) -> Floats:
    """d(a, b)/dt, (2, ..., K), for W = basis diag(a) Q', H = Q diag(b) basis', s = a b.

    Args:
        t: time, unused.
        factors: a and b, stacked.
        gaps: of the group.
        smoothing: label smoothing in [0, 1).
        decay: factors of |W|^2 / 2 and |H|^2 / 2 in the loss.
    """
    a, b = factors
    force = (complement(a * b, gaps) - smoothing) / a.shape[-1]
    force[..., 0] = 0
    return np.stack([force * b - decay[0] * a, force * a - decay[1] * b])


def smoothed_fixed_point(K: int, smoothing: float, decay: tuple[float, float]) -> float:
    """The equal singular value at which `factor_rate` rests; 0 where regularisation wins.

    log(K / (smoothing + K sqrt(decay_W decay_H)) - K + 1): the global minimum of arXiv 2402.03979
    for one example of each of K classes.

    Raises:
        ValueError: smoothing outside [0, 1), a negative decay, or neither, so that s diverges.
    """
    if not 0 <= smoothing < 1 or min(decay) < 0:
        raise ValueError(f"smoothing has to lie in [0, 1) and decay >= 0: {smoothing}, {decay}")
    force = smoothing + K * float(np.sqrt(decay[0] * decay[1]))
    if force == 0:
        raise ValueError("smoothing, decay: without either the singular values grow for ever")
    return float(np.log(K / force - K + 1)) if force < 1 else 0.0


def spectrum_etf_distance(s: Floats) -> Floats:
    """|Z / |Z| - (I - 11'/K) / sqrt(K - 1)|, (...), from the spectrum (..., K); mode 0 left out.

    Raises:
        ValueError: all modes are 0, so that Z has no direction.
    """
    modes = s[..., 1:]
    norm = np.linalg.norm(modes, axis=-1, keepdims=True)
    if (norm == 0).any():
        raise ValueError("s: a spectrum without any positive mode has no direction")
    distance = np.linalg.norm(modes / norm - 1 / np.sqrt(modes.shape[-1]), axis=-1)
    return np.asarray(distance, dtype=float)

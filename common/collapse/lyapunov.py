"""A Lyapunov function of the reduced flow on cross-entropy.

Derived here; the one of arXiv 2512.04006 may differ.
"""

from __future__ import annotations

import numpy as np

from common.collapse.hadamard import Floats, complement


def am_gm(s: Floats) -> Floats:
    """V(s) = log of arithmetic over geometric mean of s_1 ... s_{K-1}, (...), from s (..., K).

    V >= 0, and V = 0 exactly at equal singular values, which is neural collapse; V is the
    Kullback-Leibler divergence of s / sum(s) from the uniform distribution.

    Raises:
        ValueError: a singular value is not positive.
    """
    ratio = _relative(s)
    # With mean 1, log(ratio) = log1p(ratio - 1) keeps its precision near V = 0.
    return np.asarray(-np.log1p(ratio - 1).mean(axis=-1), dtype=float)


def am_gm_rate(s: Floats, gaps: Floats | None = None, log_scale: float = 0.0) -> Floats:
    """dV/dt along the flow, (...), times exp(log_scale); with log_scale = log t that is dV/dlog t.

    (2/K) sum_k (s_k / sum(s) - 1 / (K-1)) (1 - p_hat_k) <= 0, because p_hat is the gradient of a
    convex function which at equal singular values is a multiple of 1.

    Raises:
        ValueError: a singular value is not positive.
    """
    K = s.shape[-1]
    open_gaps = complement(s, gaps, log_scale)[..., 1:]
    change = ((_relative(s) - 1) * open_gaps).mean(axis=-1)
    return np.asarray(2 / K * change, dtype=float)


def _relative(s: Floats) -> Floats:
    modes = s[..., 1:]
    if not (modes > 0).all():
        raise ValueError("s: the Lyapunov function needs positive singular values")
    return np.asarray(modes / modes.mean(axis=-1, keepdims=True), dtype=float)

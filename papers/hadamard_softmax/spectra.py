"""Which bases the softmax keeps, and the full flow against the reduced one."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy.special import softmax

from common.collapse import gradient_flow as full
from common.collapse import hadamard as reduced
from common.collapse.hadamard import Floats


def paley(K: int = 12) -> Floats:
    """Paley's Hadamard matrix (K, K), K - 1 a prime of the form 4 n + 3; constant first column."""
    q = K - 1
    squares = {x * x % q for x in range(1, q)}
    residue = np.array([0] + [1 if x in squares else -1 for x in range(1, q)])
    H = np.eye(K)
    H[0, 1:], H[1:, 0] = 1, -1
    H[1:, 1:] += residue[(np.arange(q)[:, None] - np.arange(q)) % q]
    return H * H[:, :1]


def random_basis(K: int, rng: np.random.Generator) -> Floats:
    """A random orthogonal matrix (K, K) with a constant first column."""
    start = np.column_stack([np.ones(K), rng.standard_normal((K, K - 1))])
    return np.asarray(np.linalg.qr(start)[0], dtype=float)


def in_basis(basis: Floats, matrix: Floats) -> tuple[Floats, float]:
    """The diagonal (..., K) and the largest off-diagonal entry of basis' matrix basis."""
    seen = basis.T @ matrix @ basis
    diagonal = np.diagonal(seen, axis1=-2, axis2=-1)
    return diagonal, float(np.abs(seen - diagonal[..., None] * np.eye(len(basis))).max())


def paired(s: Floats, orders: tuple[int, ...]) -> Floats:
    """`s` (K,) with the smaller index of each conjugate pair copied to the larger one."""
    index = np.arange(len(s)).reshape(orders)
    for axis in range(len(orders)):
        index = np.roll(np.flip(index, axis), 1, axis)
    return np.asarray(s[np.minimum(index.ravel(), np.arange(len(s)))], dtype=float)


def off_diagonals(Ks: Iterable[int], cyclic: Iterable[int], seeds: Iterable[int]) -> pd.DataFrame:
    """One row per basis, K and seed: the largest off-diagonal entry of the softmax in that basis.

    The spectra are sqrt(K) times standard normal numbers, so that logits are of order one.
    """
    rows = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        bases = [("Hadamard", reduced.sylvester(K) / np.sqrt(K)) for K in Ks]
        bases += [("random", random_basis(K, rng)) for K in Ks if K > 2]
        bases += [("Paley", paley() / np.sqrt(12))]
        bases += [("Fourier", reduced.real_characters([K])) for K in cyclic]
        for name, basis in bases:
            K = len(basis)
            s = np.sqrt(K) * rng.standard_normal(K)
            if name == "Fourier":
                s = paired(s, (K,))
            _, off = in_basis(basis, softmax(basis * s @ basis.T, axis=0))
            rows.append({"basis": name, "K": K, "seed": seed, "off_diagonal": off})
    return pd.DataFrame(rows)


def uniform_spectra(K: int, seeds: Iterable[int]) -> Floats:
    """Starts (n, K), s_0 = 0 and the rest uniform between 0.01 and 1, one for each seed."""
    s = np.array([np.random.default_rng(seed).uniform(0.01, 1, K) for seed in seeds])
    s[:, 0] = 0
    return s


def group_start(orders: tuple[int, ...], seed: int) -> tuple[Floats, Floats, Floats]:
    """Basis (K, K), gaps (K, K) and a start (K,) for the product of cyclic groups."""
    s = paired(uniform_spectra(int(np.prod(orders)), [seed])[0], orders)
    return reduced.real_characters(orders), reduced.character_gaps(orders), s


def reduction(orders: tuple[int, ...], times: Floats, seed: int) -> pd.DataFrame:
    """One row per time and mode: its singular value in the full and in the reduced flow."""
    basis, gaps, s = group_start(orders, seed)
    K, root = len(s), np.sqrt(s)
    states = full.integrate(
        full.cross_entropy_rate, full.initial(basis, root, root, K, seed), times
    )
    modes = full.integrate(lambda t, x: reduced.rate(t, x, gaps), s, times)
    diagonal, off = in_basis(basis, full.logits(states))
    frame = pd.DataFrame(
        {
            "t": np.repeat(times, K - 1),
            "mode": np.tile(np.arange(1, K), len(times)),
            "full": diagonal[:, 1:].ravel(),
            "reduced": modes[:, 1:].ravel(),
        }
    )
    drift = np.abs(full.imbalance(states) - full.imbalance(states[0])).max()
    return frame.assign(K=K, seed=seed, off_diagonal=off, drift=drift)


def agreement(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per K and seed of what `reduction` gives: largest difference, and the rest."""
    frame = frame.assign(difference=(frame.full - frame.reduced).abs())
    columns = ["difference", "off_diagonal", "drift"]
    return frame.groupby(["K", "seed"])[columns].max().reset_index()


def descent_errors(K: int, steps: Iterable[float], until: float, seed: int) -> pd.DataFrame:
    """One row per step size: gradient descent against the reduced flow up to time `until`."""
    basis, _, s = group_start((2,) * (K.bit_length() - 1), seed)
    start = full.initial(basis, np.sqrt(s), np.sqrt(s), K, seed)
    rows = []
    for step in steps:
        number = round(until / step)
        times, states = full.gradient_descent(
            full.cross_entropy_rate, start, step, number, every=max(1, number // 50)
        )
        modes = full.integrate(reduced.rate, s, times)
        diagonal, off = in_basis(basis, full.logits(states))
        error = np.abs(diagonal - modes)[:, 1:].max()
        rows.append({"K": K, "seed": seed, "step": step, "error": error, "off_diagonal": off})
    return pd.DataFrame(rows)

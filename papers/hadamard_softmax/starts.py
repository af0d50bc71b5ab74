"""Cross-entropy against squared loss, and starts that are not Hadamard's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from common.collapse import gradient_flow as full
from common.collapse import hadamard as reduced
from common.collapse.hadamard import Floats
from papers.hadamard_softmax.dynamics import LOG_START, log_time_flow
from papers.hadamard_softmax.spectra import in_basis, uniform_spectra

LOSSES = {"cross-entropy": reduced.rate, "squared": reduced.squared_loss_rate}


def two_losses(K: int, times: Floats, seed: int) -> pd.DataFrame:
    """One row per loss, time and mode of one run: its singular value."""
    start = uniform_spectra(K, [seed])[0]
    frames = []
    for loss, rate in LOSSES.items():
        s = full.integrate(rate, start, times)[:, 1:]
        frame = pd.DataFrame({"t": np.repeat(times, K - 1), "mode": np.tile(range(1, K), len(s))})
        frames.append(frame.assign(loss=loss, K=K, seed=seed, s=s.ravel()))
    return pd.concat(frames)


def coupling(K: int, until: float, seeds: Sequence[int]) -> pd.DataFrame:
    """One row per loss and seed: by how much log s_1(until) moves when s_2(0) is doubled."""
    start = uniform_spectra(K, seeds)
    doubled = start * (1 + (np.arange(K) == 2))
    frames = []
    for loss, rate in LOSSES.items():
        ends = [full.integrate(rate, s, np.array([0, until]))[-1, :, 1] for s in (start, doubled)]
        moved = np.abs(np.log(ends[1] / ends[0]))
        frames.append(pd.DataFrame({"loss": loss, "K": K, "seed": seeds, "moved": moved}))
    return pd.concat(frames)


def growth(K: int, log_t: Sequence[float], seeds: Sequence[int]) -> pd.DataFrame:
    """One row per seed and time: mean, smallest and largest singular value (cross-entropy)."""
    path = log_time_flow(uniform_spectra(K, seeds), np.array([LOG_START, *log_t]))[1:, :, 1:]
    return pd.DataFrame(
        {
            "K": K,
            "log_t": np.repeat(log_t, len(seeds)),
            "seed": np.tile(seeds, len(log_t)),
            "mean": path.mean(axis=-1).ravel(),
            "smallest": path.min(axis=-1).ravel(),
            "largest": path.max(axis=-1).ravel(),
        }
    )


def saturation(K: int, seeds: Sequence[int]) -> pd.DataFrame:
    """One row per seed: smallest and largest singular value at t = 50 K (squared loss)."""
    times = np.array([0.0, 50.0 * K])
    ends = full.integrate(reduced.squared_loss_rate, uniform_spectra(K, seeds), times)[-1, :, 1:]
    low, high = ends.min(axis=1), ends.max(axis=1)
    return pd.DataFrame({"K": K, "seed": seeds, "smallest": low, "largest": high})


def crossings(K: int, log_t: Floats, seeds: Sequence[int]) -> pd.DataFrame:
    """One row per loss and seed: whether a mode gets 1 % ahead of one that started above it."""
    start = uniform_spectra(K, seeds)
    paths = {
        "cross-entropy": log_time_flow(start, log_t),
        "squared": full.integrate(reduced.squared_loss_rate, start, np.linspace(0, 50 * K, 200)),
    }
    behind = start[:, 1:, None] < start[:, None, 1:]
    frames = []
    for loss, path in paths.items():
        modes = path[..., 1:]
        ahead = modes[..., :, None] > modes[..., None, :] * 1.01
        crossed = (ahead & behind).any(axis=(0, 2, 3)).astype(int)
        frames.append(pd.DataFrame({"loss": loss, "K": K, "seed": seeds, "crossed": crossed}))
    return pd.concat(frames)


# ---------------------------------------------------------------------------------- random start


def aligned_spectrum(state: Floats) -> Floats:
    """The start (K,) of the reduced flow for small random factors (2, K, d), descending.

    The linear phase keeps A = (W + H') / 2 without its constant direction: s_k = sigma_k(A)^2.
    """
    A = full.centred(state.mean(axis=0))
    values = np.linalg.svd(A, compute_uv=False)[: len(A) - 1] ** 2
    return np.concatenate([[0.0], values])


def random_start(K: int, d: int, std: float, log_t: Floats, seed: int) -> pd.DataFrame:
    """One row per time and rank: sorted singular values of the full and of the reduced flow."""
    start = full.random_initial(K, d, std, seed)
    flow = full.in_log_time(full.cross_entropy_rate)
    Z = full.centred(full.logits(full.integrate(flow, start, log_t, rtol=1e-8, atol=1e-10)))
    values = np.linalg.svd(Z, compute_uv=False)[:, : K - 1]
    modes = log_time_flow(aligned_spectrum(start), log_t)[:, 1:]
    return pd.DataFrame(
        {
            "K": K,
            "seed": seed,
            "log_t": np.repeat(log_t, K - 1),
            "rank": np.tile(np.arange(1, K), len(log_t)),
            "full": values.ravel(),
            "reduced": -np.sort(-modes, axis=1).ravel(),
            "etf_distance": np.repeat(full.etf_distance(Z), K - 1),
        }
    )


def learning_times(frame: pd.DataFrame, level: float) -> pd.DataFrame:
    """One row per K, seed and rank of `random_start`: log t at which each flow passes `level`.

    Interpolated between the times of the frame; NaN where it never does.
    """
    rows = []
    for (K, seed, rank), one in frame.groupby(["K", "seed", "rank"]):
        times = {name: _passes(one.log_t, one[name], level) for name in ("full", "reduced")}
        rows.append({"K": K, "seed": seed, "rank": rank} | times)
    return pd.DataFrame(rows)


def _passes(log_t: pd.Series, values: pd.Series, level: float) -> float:
    above = np.flatnonzero(values.to_numpy() > level)
    if not len(above) or above[0] == 0:
        return np.nan
    pair = slice(above[0] - 1, above[0] + 1)
    return float(np.interp(level, values.to_numpy()[pair], log_t.to_numpy()[pair]))


def correlations(times: pd.DataFrame) -> pd.DataFrame:
    """One row per K and rank, and per K over all ranks (rank 0): Spearman's correlation."""
    pooled = times.assign(rank=0)
    rows = []
    for (K, rank), one in pd.concat([pooled, times]).groupby(["K", "rank"]):
        # A mode that is not learned by the end comes after all others.
        value = spearmanr(one.full.fillna(np.inf), one.reduced.fillna(np.inf)).statistic
        error = np.abs(np.expm1(one.full - one.reduced)).median()
        rows.append({"K": K, "rank": rank, "spearman": value, "median_time_error": error})
    return pd.DataFrame(rows)


def late_distances(frame: pd.DataFrame, after: float) -> pd.DataFrame:
    """One row per K and seed of `random_start`: distance from neural collapse from t = `after` on.

    `rise` is its largest step upwards.
    """
    late = frame[(frame["rank"] == 1) & (frame.log_t > np.log(after))].sort_values("log_t")
    runs = late.groupby(["K", "seed"]).etf_distance
    columns = {"first": runs.first(), "last": runs.last()}
    return pd.DataFrame(columns | {"rise": runs.agg(lambda x: x.diff().max())}).reset_index()


# ------------------------------------------------------------------- discrete steps, imbalance


def hadamard_start(K: int, d: int, seed: int) -> tuple[Floats, Floats, Floats]:
    """Basis (K, K), spectrum (K,) and balanced state (2, K, d)."""
    basis, s = reduced.sylvester(K) / np.sqrt(K), uniform_spectra(K, [seed])[0]
    return basis, s, full.initial(basis, np.sqrt(s), np.sqrt(s), d, seed)


def minibatch_rate(K: int, batch: int, seed: int) -> full.Rate:
    """Minus the gradient on `batch` classes, drawn afresh for each step without replacement."""
    rng = np.random.default_rng(seed)

    def rate(step: float, state: Floats) -> Floats:
        weights = np.zeros(K)
        weights[rng.choice(K, batch, replace=False)] = 1 / batch
        return full.cross_entropy_rate(step, state, weights)

    return rate


def descent(K: int, d: int, step: float, until: float, seed: int) -> pd.DataFrame:
    """One row per method, time and rank: sorted singular values, and those of the reduced flow."""
    basis, s, start = hadamard_start(K, d, seed)
    rates = {"GD": full.cross_entropy_rate, "SGD": minibatch_rate(K, K // 2, seed)}
    frames = []
    for method, rate in rates.items():
        number = round(until / step)
        times, states = full.gradient_descent(rate, start, step, number, every=number // 40)
        Z = full.centred(full.logits(states))
        modes = full.integrate(reduced.rate, s, times)[:, 1:]
        frame = pd.DataFrame(
            {
                "t": np.repeat(times, K - 1),
                "rank": np.tile(np.arange(1, K), len(times)),
                "value": np.linalg.svd(Z, compute_uv=False)[:, : K - 1].ravel(),
                "reduced": -np.sort(-modes, axis=1).ravel(),
            }
        )
        off = in_basis(basis, Z)[1]
        frames.append(frame.assign(method=method, K=K, seed=seed, off_diagonal=off))
    return pd.concat(frames)


def curve_errors(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per method, K and seed of `descent`: largest error over the largest value."""
    frame = frame.assign(error=(frame.value - frame.reduced).abs())
    runs = frame.groupby(["method", "K", "seed"])[["error", "reduced", "off_diagonal"]].max()
    return runs.assign(error=runs.error / runs.reduced).drop(columns="reduced").reset_index()


def imbalanced(K: int, extras: Iterable[float], until: float, seed: int) -> pd.DataFrame:
    """One row per `extra`: off-diagonals when class 0 counts 1 + extra times as much as others."""
    basis, _, start = hadamard_start(K, K, seed)
    rows = []
    for extra in extras:
        weights = (1 + extra * (np.arange(K) == 0)) / (K + extra)
        path = full.integrate(
            lambda t, y, weights=weights: full.cross_entropy_rate(t, y, weights),
            start,
            np.array([0, until]),
        )
        _, off = in_basis(basis, full.logits(path[-1]))
        rows.append({"K": K, "seed": seed, "extra": extra, "off_diagonal": off})
    return pd.DataFrame(rows)

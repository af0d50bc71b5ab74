"""The reduced flow in log-time: convergence, the Lyapunov function, dead modes, regularisation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from common.collapse import hadamard as reduced
from common.collapse.gradient_flow import integrate
from common.collapse.hadamard import Floats
from common.collapse.lyapunov import am_gm, am_gm_rate
from papers.hadamard_softmax.spectra import uniform_spectra

ACTIVE = [1, 2, 4]
"""Modes of K = 8 that tell all classes apart although four modes are dead."""
LOG_START = -4.0
"""Flows in log-time start at this log t, before which nothing moves."""


def relative_spread(s: Floats) -> Floats:
    """(largest - smallest) / mean of the modes 1 ... K - 1, (...), of spectra (..., K)."""
    modes = s[..., 1:]
    return np.asarray(np.ptp(modes, axis=-1) / modes.mean(axis=-1), dtype=float)


def log_time_flow(start: Floats, log_t: Floats) -> Floats:
    """The reduced flow (n, *start.shape) at `log_t`, of which the first is the start's time."""
    return integrate(reduced.log_time_rate, start, log_t, rtol=1e-12, atol=1e-14)


def trajectories(K: int, log_t: Floats, seeds: Sequence[int]) -> pd.DataFrame:
    """One row per seed and time, from uniform starts. All seeds share their steps."""
    s = log_time_flow(uniform_spectra(K, seeds), log_t)
    values = {
        "spread": relative_spread(s),
        "mean": s[..., 1:].mean(axis=-1),
        "V": am_gm(s),
        "etf_distance": reduced.spectrum_etf_distance(s),
        "loss": reduced.cross_entropy(s),
    }
    n = len(seeds)
    frame = pd.DataFrame({name: value.ravel() for name, value in values.items()})
    return frame.assign(K=K, seed=np.tile(seeds, len(log_t)), log_t=np.repeat(log_t, n))


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per K and seed of `trajectories`: how it ends, and the largest steps upwards."""
    runs = frame.sort_values("log_t").groupby(["K", "seed"])
    rises = {name: runs[name].agg(lambda x: x.diff().max()) for name in ("spread", "V")}
    last = runs[["spread", "etf_distance", "loss"]].last()
    return last.assign(spread_rise=rises["spread"], V_rise=rises["V"]).reset_index()


def normalised_spectrum(K: int, log_t: Floats, seed: int) -> pd.DataFrame:
    """One row per time and mode of one run: its singular value over the mean of all."""
    s = log_time_flow(uniform_spectra(K, [seed])[0], log_t)[:, 1:]
    frame = pd.DataFrame({"log_t": np.repeat(log_t, K - 1), "mode": np.tile(range(1, K), len(s))})
    return frame.assign(K=K, seed=seed, share=(s / s.mean(axis=1, keepdims=True)).ravel())


def late_rates(K: int, last: float, window: Sequence[float], starts: Sequence[int]) -> pd.DataFrame:
    """One row per start: K times the decay rate of the relative spread with the mean.

    Predicted: 1. Measured while largest minus smallest falls from the first to the second number
    of `window`, which not every run has `reached` by log t = `last`.
    """
    s = log_time_flow(uniform_spectra(K, starts), np.arange(LOG_START, last + 1))[..., 1:]
    gap, mean = np.ptp(s, axis=-1), s.mean(axis=-1)
    rows = []
    for one, start in enumerate(starts):
        at = [int(np.argmax(gap[:, one] < level)) for level in window]
        row = {"K": K, "start": start, "reached": int(min(at) > 0), "rate": np.nan}
        if row["reached"]:
            log_fall = -np.diff(np.log(gap[at, one] / mean[at, one]))[0]
            row |= {"rate": K * log_fall / np.diff(mean[at, one])[0], "log_t": LOG_START + at[0]}
        rows.append(row)
    return pd.DataFrame(rows)


def random_spectra(K: int, n: int, seed: int) -> pd.DataFrame:
    """One row per random spectrum: dV/dt in units of the mean rate, and whether the spread rises.

    Uniform shapes between 0.01 and 1, times a scale that is log-uniform between 0.1 and 100.
    """
    rng = np.random.default_rng(seed)
    s = rng.uniform(0.01, 1, (n, K)) * 10 ** rng.uniform(-1, 2, (n, 1))
    s[:, 0] = 0
    speed = 2 / K * reduced.complement(s)[:, 1:]
    modes = s[:, 1:]
    largest, smallest = modes.argmax(axis=1), modes.argmin(axis=1)
    at = np.arange(n)
    mean, change = modes.mean(axis=1), modes * speed
    moved = change[at, largest] - change[at, smallest]
    rising = moved - np.ptp(modes, axis=1) * change.mean(axis=1) / mean
    relative = am_gm_rate(s) / speed.mean(axis=1)
    rises = (rising > 1e-9 * np.abs(change).max(axis=1)).astype(int)
    return pd.DataFrame({"K": K, "draw": at, "V_rate": relative, "spread_rises": rises})


def dead_mode_flows(
    sizes: Sequence[float], log_t: Sequence[float], seeds: Sequence[int]
) -> pd.DataFrame:
    """One row per size, seed and time: K = 8, three modes start near 0.01, the others at `dead`."""
    s = np.zeros((len(sizes), len(seeds), 8))
    s[..., 1:] = np.array(sizes)[:, None, None]
    s[..., ACTIVE] = [np.random.default_rng(seed).uniform(0.005, 0.015, 3) for seed in seeds]
    path = log_time_flow(s, np.array([LOG_START, *log_t]))[1:]
    modes = path[..., 1:]
    values = {
        "ratio": modes.min(axis=-1) / modes.max(axis=-1),
        "smallest": modes.min(axis=-1),
        "loss": reduced.cross_entropy(path),
        "margin": reduced.margins(path)[..., 1:].min(axis=-1) / modes.sum(axis=-1),
    }
    index = pd.MultiIndex.from_product([log_t, sizes, seeds], names=["log_t", "dead", "seed"])
    columns = {name: value.ravel() for name, value in values.items()}
    return pd.DataFrame(columns, index=index).reset_index()


def regularised_ends(
    K: int, smoothing: float, decay: tuple[float, float], seeds: Iterable[int]
) -> pd.DataFrame:
    """One row per seed and mode: where label smoothing and weight decay let the flow rest."""
    expected = reduced.smoothed_fixed_point(K, smoothing, decay)
    times = np.array([0.0, 100 / min(decay)])
    rows = []
    for start in uniform_spectra(K, seeds):
        factors = integrate(
            lambda t, y: reduced.factor_rate(t, y, smoothing=smoothing, decay=decay),
            np.stack([np.sqrt(start), np.sqrt(start)]),
            times,
            method="LSODA",
        )
        rows.append((factors[-1, 0] * factors[-1, 1])[1:])
    frame = pd.DataFrame(rows, index=list(seeds)).rename_axis("seed").reset_index()
    frame = frame.melt("seed", var_name="mode", value_name="s")
    frame["mode"] = frame["mode"].astype(int) + 1
    return frame.assign(K=K, smoothing=smoothing, expected=expected)

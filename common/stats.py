"""Estimates with intervals, and the tests behind verdicts: pure functions on arrays.

What scipy and statsmodels ship is called here, under one convention; what is added is the
behaviour in corners they leave open (no variation, nobody at risk). Choices to know:

1. Over few runs, t intervals: a bootstrap over fewer than 20 units is far too short.
2. Proportions get exact (Clopper-Pearson) intervals, their differences Newcombe's.
3. An interval is two-sided: at level 0.95 it errs with 2.5 % on each side. `p_value` functions
   take an `alternative` and agree with the interval: the one-sided p-value is below 2.5 %
   exactly when the 95 % interval lies beyond the null value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, inf, sqrt
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

Alternative = Literal["two-sided", "less", "greater"]
Floats = NDArray[np.float64]

SIGN_FLIPS = 9_999
"""Sign flips of up to 13 units are enumerated; beyond, so many random ones are drawn."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its two-sided confidence interval at `level`, from `n` units."""

    estimate: float
    low: float
    high: float
    level: float
    n: int


def is_constant(values: ArrayLike) -> bool:
    """Whether all `values`, any shape, are equal up to rounding."""
    x = np.asarray(values, dtype=float)
    return bool(np.ptp(x) <= 1e-12 * np.max(np.abs(x)))


# ---------------------------------------------------------------------------------------- means


def mean_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """The t interval for the mean of `values` (n,); one point when they do not vary.

    >>> interval = mean_interval([1, 2, 3, 4, 5])
    >>> round(interval.low, 3), round(interval.high, 3)
    (1.037, 4.963)

    Raises:
        ValueError: fewer than two values.
    """
    x = _vector(values, at_least=2)
    mean = float(x.mean())
    if is_constant(x):
        return Interval(mean, mean, mean, level, len(x))
    low, high = stats.ttest_1samp(x, 0).confidence_interval(level)
    return Interval(mean, float(low), float(high), level, len(x))


def mean_p_value(
    values: ArrayLike, null: float = 0.0, alternative: Alternative = "two-sided"
) -> float:
    """The p-value of Student's t test that the mean of `values` (n,) is `null`."""
    x = _vector(values, at_least=2)
    if is_constant(x):
        return _degenerate_p_value(float(x.mean()) - null, alternative)
    return float(stats.ttest_1samp(x, null, alternative=alternative).pvalue)


def sign_flip_p_value(
    values: ArrayLike,
    null: float = 0.0,
    alternative: Alternative = "two-sided",
    rng: np.random.Generator | None = None,
) -> Floats:
    """The p-value of the sign-flip test that `values` (..., n) are symmetric about `null`.

    Exact up to 13 units: every flip of the n signs is enumerated. Beyond, `SIGN_FLIPS` random
    flips are drawn from `rng` (default: a generator with seed 0) and the observed one counts too.

    Returns:
        (...,) p-values, one for each row of n units.
    """
    x = np.asarray(values, dtype=float) - null
    result = stats.permutation_test(
        (x,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        axis=-1,
        n_resamples=SIGN_FLIPS,
        batch=max(1, 2_000_000 // x.size),  # bounds the memory to about 16 MB
        alternative=alternative,
        rng=rng or np.random.default_rng(0),
    )
    return np.asarray(result.pvalue)


def welch_interval(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> Interval:
    """Welch's t interval for the mean of `a` (n,) minus the mean of `b` (m,)."""
    x, y = _vector(a, at_least=2), _vector(b, at_least=2)
    difference = float(x.mean() - y.mean())
    if is_constant(x) and is_constant(y):
        return Interval(difference, difference, difference, level, len(x) + len(y))
    low, high = stats.ttest_ind(x, y, equal_var=False).confidence_interval(level)
    return Interval(difference, float(low), float(high), level, len(x) + len(y))


def welch_p_value(
    a: ArrayLike, b: ArrayLike, null: float = 0.0, alternative: Alternative = "two-sided"
) -> float:
    """The p-value of Welch's test that the means of `a` (n,) and `b` (m,) differ by `null`."""
    x, y = _vector(a, at_least=2), _vector(b, at_least=2)
    if is_constant(x) and is_constant(y):
        return _degenerate_p_value(float(x.mean() - y.mean()) - null, alternative)
    return float(stats.ttest_ind(x - null, y, equal_var=False, alternative=alternative).pvalue)


def equivalence_p_value(differences: ArrayLike, low: float, high: float) -> float:
    """The larger p-value of two one-sided t tests that the mean lies outside (low, high).

    Args:
        differences: paired differences, (n,).
        low: lower end of what counts as equal.
        high: upper end.
    """
    from statsmodels.stats.weightstats import ttost_paired

    d = _vector(differences, at_least=2)
    if is_constant(d):
        return 0.0 if low < d.mean() < high else 1.0
    return float(ttost_paired(d, np.zeros_like(d), low, high)[0])


def _vector(values: ArrayLike, at_least: int = 1) -> Floats:
    x = np.asarray(values, dtype=float)
    if x.ndim != 1 or len(x) < at_least:
        raise ValueError(f"expected a vector of at least {at_least} values, got shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError("missing or infinite values have to be dealt with before")
    return x


def _degenerate_p_value(excess: float, alternative: Alternative) -> float:
    """Without any variation the sign of `excess` is certain."""
    signs = {"two-sided": excess != 0, "greater": excess > 0, "less": excess < 0}
    return 0.0 if signs[alternative] else 1.0


# ---------------------------------------------------------------------------------- proportions


def proportion_interval(successes: int, n: int, level: float = 0.95) -> Interval:
    """The exact (Clopper-Pearson) interval for a proportion.

    >>> round(proportion_interval(0, 200).high, 4)
    0.0183
    """
    low, high = stats.binomtest(successes, n).proportion_ci(level, method="exact")
    return Interval(successes / n, float(low), float(high), level, n)


def proportion_p_value(
    successes: int, n: int, null: float, alternative: Alternative = "two-sided"
) -> float:
    """The exact binomial p-value; two-sided it is twice the smaller tail, as in the interval."""
    if alternative == "two-sided":
        tails = (proportion_p_value(successes, n, null, "less"),
                 proportion_p_value(successes, n, null, "greater"))  # fmt: skip
        return min(1.0, 2 * min(tails))
    return float(stats.binomtest(successes, n, null, alternative=alternative).pvalue)


def newcombe_interval(
    successes_a: int, n_a: int, successes_b: int, n_b: int, level: float = 0.95
) -> Interval:
    """Newcombe's interval for the proportion in a minus the proportion in b.

    >>> interval = newcombe_interval(9, 10, 3, 10)
    >>> round(interval.low, 3), round(interval.high, 3)
    (0.171, 0.809)
    """
    from statsmodels.stats.proportion import confint_proportions_2indep

    low, high = confint_proportions_2indep(
        successes_a, n_a, successes_b, n_b, method="newcomb", compare="diff", alpha=1 - level
    )
    difference = successes_a / n_a - successes_b / n_b
    return Interval(difference, float(low), float(high), level, n_a + n_b)


def newcombe_p_value(
    successes_a: int,
    n_a: int,
    successes_b: int,
    n_b: int,
    null: float = 0.0,
    alternative: Alternative = "two-sided",
) -> float:
    """The p-value that belongs to Newcombe's interval: the level at which it just reaches null."""

    def ends(alpha: float) -> Interval:
        return newcombe_interval(successes_a, n_a, successes_b, n_b, 1 - alpha)

    above = ends(0.5).estimate > null

    def gap(alpha: float) -> float:
        return ends(alpha).low - null if above else null - ends(alpha).high

    smallest, largest = 1e-12, 1 - 1e-9
    if gap(smallest) >= 0:
        alpha = smallest
    elif gap(largest) <= 0:
        alpha = 1.0
    else:
        alpha = float(optimize.brentq(gap, smallest, largest))
    if alternative == "two-sided":
        return alpha
    return alpha / 2 if above == (alternative == "greater") else 1 - alpha / 2


def boschloo_p_value(
    successes_a: int,
    n_a: int,
    successes_b: int,
    n_b: int,
    alternative: Alternative = "two-sided",
) -> float:
    """Boschloo's exact p-value that two proportions are equal."""
    table = [[successes_a, successes_b], [n_a - successes_a, n_b - successes_b]]
    return float(stats.boschloo_exact(table, alternative=alternative).pvalue)


# ------------------------------------------------------------------------------- times to event


@dataclass(frozen=True)
class RestrictedMean:
    """Mean time to the event up to a horizon, with standard error, from `n` units."""

    estimate: float
    standard_error: float
    n: int


def restricted_mean(times: ArrayLike, events: ArrayLike, horizon: float) -> RestrictedMean:
    """The area under the Kaplan-Meier curve up to `horizon`.

    The variance is Greenwood's times n/(n-1): without censoring before the horizon the result
    is the sample mean of min(time, horizon) with its ordinary standard error.

    Args:
        times: time of the event or of the end of observation, (n,), at least 0.
        events: whether the event was seen at that time, (n,); otherwise the unit is censored.
        horizon: end of the period, in the unit of `times`.
    """
    t = _vector(times, at_least=2)
    seen = np.asarray(events, dtype=bool) & (t <= horizon)
    t = np.minimum(t, horizon)
    curve = stats.ecdf(stats.CensoredData.right_censored(t, ~seen)).sf
    grid = np.concatenate([[0.0], curve.quantiles, [horizon]])
    areas = np.concatenate([[1.0], curve.probabilities]) * np.diff(grid)
    left = areas[::-1].cumsum()[::-1][1:]  # area to the right of each observed time
    at_risk = (t[:, None] >= curve.quantiles).sum(axis=0)
    failed = ((t[:, None] == curve.quantiles) & seen[:, None]).sum(axis=0)
    alive = at_risk - failed
    # Where nobody is left alive the curve is 0 from there on, and so is the term.
    terms = left**2 * failed / np.where(alive > 0, at_risk * alive, 1) * (alive > 0)
    variance = float(terms.sum()) * len(t) / (len(t) - 1)
    return RestrictedMean(float(areas.sum()), sqrt(variance), len(t))


def restricted_mean_interval(a: RestrictedMean, b: RestrictedMean, level: float = 0.95) -> Interval:
    """The interval for the restricted mean of a minus that of b, with Welch's d.f."""
    difference = a.estimate - b.estimate
    error, freedom = _welch_error(a, b)
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * error if error else 0.0
    return Interval(difference, difference - half, difference + half, level, a.n + b.n)


def restricted_mean_p_value(
    a: RestrictedMean, b: RestrictedMean, null: float = 0.0, alternative: Alternative = "two-sided"
) -> float:
    """The p-value that restricted means differ by `null`; belongs to the interval."""
    excess = a.estimate - b.estimate - null
    error, freedom = _welch_error(a, b)
    if not error:
        return _degenerate_p_value(excess, alternative)
    t = stats.t(freedom)
    tails = {"less": t.cdf(excess / error), "greater": t.sf(excess / error)}
    return float(tails.get(alternative, 2 * min(tails.values())))


def _welch_error(a: RestrictedMean, b: RestrictedMean) -> tuple[float, float]:
    parts = [a.standard_error**2, b.standard_error**2]
    variance = sum(parts)
    if not variance:
        return 0.0, inf
    freedom = variance**2 / (parts[0] ** 2 / (a.n - 1) + parts[1] ** 2 / (b.n - 1))
    return sqrt(variance), freedom


def log_rank_p_value(
    times_a: ArrayLike,
    events_a: ArrayLike,
    times_b: ArrayLike,
    events_b: ArrayLike,
    alternative: Alternative = "two-sided",
) -> float:
    """The log-rank p-value; "greater" means that the event comes later in a than in b."""
    arms = [
        stats.CensoredData.right_censored(_vector(times), ~np.asarray(events, dtype=bool))
        for times, events in ((times_a, events_a), (times_b, events_b))
    ]
    if not np.any(events_a) and not np.any(events_b):
        return 1.0  # no event at all: nothing speaks against equality
    # scipy orders hazards, which is the other way round than times.
    hazard = {"two-sided": "two-sided", "greater": "less", "less": "greater"}[alternative]
    return float(stats.logrank(*arms, alternative=hazard).pvalue)


# --------------------------------------------------------------------------------------- trends


def kendall_tau(x: ArrayLike, y: ArrayLike) -> float:
    """Kendall's tau-b of `y` against `x` (n,); 0 when y is constant."""
    x, y = _vector(x, at_least=2), _vector(y, at_least=2)
    return 0.0 if is_constant(y) else float(stats.kendalltau(x, y).statistic)


def slope(x: ArrayLike, y: ArrayLike) -> float:
    """The least-squares slope of `y` on `x` (n,)."""
    return float(stats.linregress(_vector(x, at_least=2), _vector(y, at_least=2)).slope)


def log_log_slope(x: ArrayLike, y: ArrayLike) -> float:
    """The exponent in y = c x^exponent, by least squares on logarithms.

    Raises:
        ValueError: a value that is not positive.
    """
    x, y = _vector(x, at_least=2), _vector(y, at_least=2)
    if min(x.min(), y.min()) <= 0:
        raise ValueError("an exponent needs positive values of x and y")
    return slope(np.log(x), np.log(y))


# ----------------------------------------------------------------------- several tests, planning


def holm(p_values: Sequence[float]) -> Floats:
    """Holm's adjusted p-values, in the order given."""
    from statsmodels.stats.multitest import multipletests

    if not len(p_values):
        return np.array([])
    return np.asarray(multipletests(p_values, method="holm")[1], dtype=float)


def detectable_mean(sd: float, n: int, level: float = 0.95, power: float = 0.8) -> float:
    """The mean that a t test on n values with standard deviation `sd` finds with `power`."""
    from statsmodels.stats.power import TTestPower

    return sd * float(TTestPower().solve_power(nobs=n, alpha=1 - level, power=power))


def detectable_effect(interval: Interval, power: float = 0.8) -> float:
    """The same for any interval, by the normal approximation from its half width."""
    z = stats.norm.ppf((1 + interval.level) / 2)
    return float((z + stats.norm.ppf(power)) / z * (interval.high - interval.low) / 2)


def required_n(effect: float, sd: float, level: float = 0.95, power: float = 0.8) -> int | None:
    """The n at which a t test finds a mean of `effect` with `power`; None for no effect."""
    from statsmodels.stats.power import TTestPower

    if effect == 0:
        return None
    size = abs(effect) / sd if sd else inf
    z = stats.norm.ppf((1 + level) / 2) + stats.norm.ppf(power)
    guess = ceil((z / size) ** 2)
    if guess > 200:  # t and normal no longer differ by a unit that matters
        return guess

    def enough(n: int) -> bool:
        return size == inf or TTestPower().power(size, n, 1 - level) >= power

    return first_true(enough, 2, guess + 10)


def first_true(condition: Callable[[int], bool], low: int, high: int) -> int:
    """The first n in low..high for which a monotone `condition` holds (`high` if none does)."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if condition(middle) else (middle + 1, high)
    return low

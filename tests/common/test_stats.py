"""Statistics with numbers that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t as student

from common import stats


def test_t_interval_of_one_to_five() -> None:
    interval = stats.mean_interval([1, 2, 3, 4, 5])
    assert (interval.estimate, interval.n) == (3.0, 5)
    assert interval.low == pytest.approx(3 - 2.776445 * np.sqrt(2.5 / 5), abs=1e-4)
    assert interval.high == pytest.approx(4.963, abs=5e-4)


def test_without_variation_the_interval_is_a_point() -> None:
    interval = stats.mean_interval([1, 1, 1, 1, 1])
    assert (interval.low, interval.high) == (1.0, 1.0)
    assert stats.mean_p_value([1, 1, 1, 1, 1]) == 0.0


def test_newcombe_of_nine_and_three_in_ten() -> None:
    interval = stats.newcombe_interval(9, 10, 3, 10)
    assert interval.estimate == pytest.approx(0.6)
    assert (round(interval.low, 3), round(interval.high, 3)) == (0.171, 0.809)
    assert stats.newcombe_p_value(9, 10, 3, 10, null=interval.low) == pytest.approx(0.05, abs=1e-3)


def test_no_failure_in_two_hundred_runs() -> None:
    interval = stats.proportion_interval(0, 200)
    assert interval.low == 0.0
    assert round(interval.high, 4) == 0.0183


@pytest.mark.parametrize(("n", "smallest"), [(5, 2 / 32), (6, 2 / 64)])
def test_sign_flips_reject_at_five_percent_from_six_units(n: int, smallest: float) -> None:
    assert float(stats.sign_flip_p_value(np.arange(1.0, n + 1))) == pytest.approx(smallest)


def test_restricted_mean_without_censoring_is_a_mean() -> None:
    times = np.array([1.0, 2.0, 6.0, 9.0])
    mean = stats.restricted_mean(times, np.ones(4), horizon=5.0)
    cut = np.minimum(times, 5.0)
    assert mean.estimate == pytest.approx(cut.mean())
    assert mean.standard_error == pytest.approx(cut.std(ddof=1) / 2)


def test_censored_units_count_while_they_are_watched() -> None:
    # One event at 1 among two; the other is watched beyond: the curve is 1/2 from 1 to 3.
    mean = stats.restricted_mean([1.0, 5.0], [1, 0], horizon=3.0)
    assert mean.estimate == pytest.approx(1.0 + 0.5 * 2.0)


def test_log_rank_knows_which_arm_is_later() -> None:
    late, early = np.arange(10.0, 20.0), np.arange(1.0, 11.0)
    seen = np.ones(10)
    assert stats.log_rank_p_value(late, seen, early, seen, "greater") < 0.001
    assert stats.log_rank_p_value(late, seen, early, seen, "less") > 0.99


def test_holm_multiplies_the_smallest_by_the_number_of_tests() -> None:
    assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_the_exponent_of_a_square_is_two() -> None:
    x = np.array([1.0, 2.0, 4.0, 8.0])
    assert stats.log_log_slope(x, 3 * x**2) == pytest.approx(2.0)
    with pytest.raises(ValueError, match="positive"):
        stats.log_log_slope(x, x - 1)


def test_equivalence_needs_the_interval_inside_the_margin() -> None:
    differences = np.array([-0.1, 0.0, 0.1, 0.05, -0.05])
    inside = stats.mean_interval(differences).high
    assert stats.equivalence_p_value(differences, -inside - 1e-6, inside + 1e-6) < 0.025
    assert stats.equivalence_p_value(differences, -inside + 1e-3, inside - 1e-3) > 0.025


def test_the_required_n_has_the_promised_power() -> None:
    n = stats.required_n(effect=1.0, sd=1.0)
    assert n == 10  # the textbook's answer for one standard deviation, 80 % and two-sided 5 %
    assert stats.detectable_mean(sd=1.0, n=10) == pytest.approx(1.0, abs=0.01)


def test_missing_values_are_refused() -> None:
    with pytest.raises(ValueError, match="missing or infinite"):
        stats.mean_interval([1.0, np.nan, 2.0])


# ------------------------------------------------------------- means: p-values and intervals


@pytest.mark.parametrize("null", [0.5, 1.03, 1.05, 3.0, 4.95, 4.97, 6.0])
def test_a_p_value_below_five_percent_is_an_interval_beyond_the_null(null: float) -> None:
    interval = stats.mean_interval([1, 2, 3, 4, 5])  # [1.037, 4.963]
    excluded = not interval.low <= null <= interval.high
    assert (stats.mean_p_value([1, 2, 3, 4, 5], null) < 0.05) == excluded


def test_one_sided_p_values_are_halves() -> None:
    two = stats.mean_p_value([1, 2, 3, 4, 5])
    assert stats.mean_p_value([1, 2, 3, 4, 5], alternative="greater") == pytest.approx(two / 2)
    assert stats.mean_p_value([1, 2, 3, 4, 5], alternative="less") == pytest.approx(1 - two / 2)


def test_a_level_of_ninety_percent_is_narrower() -> None:
    interval = stats.mean_interval([1, 2, 3, 4, 5], level=0.9)
    assert interval.high == pytest.approx(3 + 2.131847 * np.sqrt(0.5), abs=1e-5)


def test_without_variation_a_sign_is_certain() -> None:
    assert stats.mean_p_value([0, 0, 0]) == 1.0
    assert stats.mean_p_value([1, 1, 1], alternative="less") == 1.0
    assert stats.welch_p_value([1, 1], [2, 2], alternative="less") == 0.0
    assert stats.equivalence_p_value([1, 1, 1], -2, 2) == 0.0
    assert stats.equivalence_p_value([1, 1, 1], -1, 1) == 1.0


def test_constant_up_to_rounding_is_constant() -> None:
    assert stats.is_constant([0.1 + 0.2, 0.3])
    assert not stats.is_constant([0.3, 0.3001])


def test_sign_flips_by_hand() -> None:
    assert float(stats.sign_flip_p_value([1.0, -0.0, 0.0])) == 1.0
    assert float(stats.sign_flip_p_value([1.0, 2.0, 3.0])) == pytest.approx(2 / 8)
    assert float(stats.sign_flip_p_value([-1.0, 2.0, 3.0])) == pytest.approx(4 / 8)
    # Only the four flips that keep the five large ones on one side reach the mean of these.
    assert float(stats.sign_flip_p_value([1.0, 1.1, 0.9, 1.0, 1.0, -0.02])) == pytest.approx(4 / 64)


def test_sign_flips_are_about_the_null_and_row_by_row() -> None:
    rows = np.array([[1.0, 2.0, 3.0], [-1.0, 2.0, 3.0]])
    assert stats.sign_flip_p_value(rows + 7, null=7.0) == pytest.approx([2 / 8, 4 / 8])


def test_random_sign_flips_are_repeatable() -> None:
    values = np.random.default_rng(1).normal(0.3, 1.0, 20)
    first = float(stats.sign_flip_p_value(values))
    assert float(stats.sign_flip_p_value(values)) == first
    assert first == pytest.approx(stats.mean_p_value(values), abs=0.03)


def test_welch_by_hand() -> None:
    # Variances 1 and 4 over three each: error sqrt(5/3), 25/9 / (1/18 + 16/18) = 50/17 d.f.
    interval = stats.welch_interval([1, 2, 3], [1, 3, 5])
    assert interval.estimate == -1.0
    half = student.ppf(0.975, 50 / 17) * np.sqrt(5 / 3)
    assert (interval.low, interval.high) == (pytest.approx(-1 - half), pytest.approx(-1 + half))
    assert stats.welch_p_value([1, 2, 3], [1, 3, 5], null=interval.high) == pytest.approx(0.05)


# ------------------------------------------------------------------------------- proportions


def test_clopper_pearson_has_a_closed_form_at_the_ends() -> None:
    assert stats.proportion_interval(10, 10).low == pytest.approx(0.025**0.1)
    assert stats.proportion_interval(0, 10).high == pytest.approx(1 - 0.025**0.1)


def test_exact_proportion_p_value_doubles_the_smaller_tail() -> None:
    assert stats.proportion_p_value(10, 10, 0.5) == pytest.approx(2 / 1024)
    assert stats.proportion_p_value(5, 10, 0.5) == 1.0
    assert stats.proportion_p_value(0, 10, 0.5, "greater") == 1.0
    limit = stats.proportion_interval(3, 20).high
    assert stats.proportion_p_value(3, 20, limit) == pytest.approx(0.05)


def test_newcombe_swapped_is_mirrored() -> None:
    one, other = stats.newcombe_interval(9, 10, 3, 10), stats.newcombe_interval(3, 10, 9, 10)
    assert (other.low, other.high) == pytest.approx((-one.high, -one.low))


def test_newcombe_p_value_belongs_to_its_interval() -> None:
    interval = stats.newcombe_interval(9, 10, 3, 10)
    for end, side in ((interval.low, "greater"), (interval.high, "less")):
        assert stats.newcombe_p_value(9, 10, 3, 10, end) == pytest.approx(0.05, abs=1e-6)
        one_sided = stats.newcombe_p_value(9, 10, 3, 10, end, side)  # type: ignore[arg-type]
        assert one_sided == pytest.approx(0.025, abs=1e-6)
    assert stats.newcombe_p_value(5, 10, 5, 10) == pytest.approx(1.0)


def test_boschloo_of_the_most_extreme_table() -> None:
    # 5 of 5 against 0 of 5 has probability p^5 (1-p)^5, at most 1/1024; two sides.
    assert stats.boschloo_p_value(5, 5, 0, 5) == pytest.approx(2 / 1024, rel=1e-3)


# ----------------------------------------------------------------------------- times to event


def test_kaplan_meier_area_by_hand() -> None:
    # Events at 1, 3 and 4, one unit lost at 2: the curve is 1, 3/4 from 1, 3/8 from 3, 0 from 4.
    mean = stats.restricted_mean([1.0, 2.0, 3.0, 4.0], [1, 0, 1, 1], horizon=5.0)
    assert mean.estimate == pytest.approx(1 + 0.75 * 2 + 0.375 * 1)


def test_times_beyond_the_horizon_do_not_matter() -> None:
    early = stats.restricted_mean([1.0, 2.0, 6.0, 9.0], [1, 1, 1, 1], horizon=5.0)
    late = stats.restricted_mean([1.0, 2.0, 60.0, 5.0], [1, 1, 0, 0], horizon=5.0)
    assert (early.estimate, early.standard_error) == (late.estimate, late.standard_error)


def test_without_censoring_the_comparison_is_welchs() -> None:
    a, b = np.array([2.0, 3.0, 7.0, 9.0]), np.array([1.0, 2.0, 4.0, 9.0, 0.5])
    means = [stats.restricted_mean(times, np.ones(len(times)), 6.0) for times in (a, b)]
    ours = stats.restricted_mean_interval(*means)
    welch = stats.welch_interval(np.minimum(a, 6), np.minimum(b, 6))
    assert (ours.low, ours.high) == (pytest.approx(welch.low), pytest.approx(welch.high))
    p_value = stats.restricted_mean_p_value(*means)
    assert p_value == pytest.approx(stats.welch_p_value(np.minimum(a, 6), np.minimum(b, 6)))


def test_log_rank_without_events_says_nothing() -> None:
    assert stats.log_rank_p_value([5.0, 5.0], [0, 0], [5.0, 5.0], [0, 0]) == 1.0
    same = [1.0, 2.0, 3.0]
    assert stats.log_rank_p_value(same, [1, 1, 1], same, [1, 1, 1]) == pytest.approx(1.0)


# ------------------------------------------------------------------- trends, several, planning


def test_kendall_and_slope_by_hand() -> None:
    assert stats.kendall_tau([1, 2, 3], [1, 3, 2]) == pytest.approx(1 / 3)  # 2 pairs rise, 1 falls
    assert stats.kendall_tau([1, 2, 3], [4, 4, 4]) == 0.0
    assert stats.slope([0, 1, 2], [1, 3, 5]) == pytest.approx(2.0)


def test_holm_stops_at_one_and_takes_nothing() -> None:
    assert stats.holm([0.5, 0.4, 0.01]) == pytest.approx([0.8, 0.8, 0.03])
    assert stats.holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert len(stats.holm([])) == 0


def test_a_detectable_effect_from_an_interval() -> None:
    # Half width 1.96 errors; (1.96 + 0.84) errors are found with 80 % power.
    interval = stats.Interval(0.0, -1.96, 1.96, 0.95, 100)
    assert stats.detectable_effect(interval) == pytest.approx(1.96 + 0.8416, abs=1e-3)


def test_planning_in_corners() -> None:
    assert stats.required_n(0.0, 1.0) is None
    assert stats.required_n(1.0, 0.0) == 2
    assert stats.required_n(0.1, 1.0) == 785  # ((1.96 + 0.8416) / 0.1) squared
    assert stats.first_true(lambda n: n * n >= 50, 1, 100) == 8


@pytest.mark.parametrize("values", [[], [1.0], [[1.0, 2.0], [3.0, 4.0]], [1.0, np.inf]])
def test_what_has_no_interval_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"expected a vector|missing or infinite"):
        stats.mean_interval(values)

"""What the modules of this paper compute, apart from the notebooks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from common.collapse import hadamard
from papers.hadamard_softmax import dynamics, spectra, starts


def test_paleys_matrix_is_a_hadamard_matrix_without_a_group() -> None:
    H = spectra.paley()
    assert set(np.unique(H)) == {-1.0, 1.0}
    np.testing.assert_array_equal(H @ H.T, 12 * np.eye(12))
    assert (H[:, 0] == 1).all()


@pytest.mark.parametrize("orders", [(2, 2, 2), (5,), (6,), (3, 4)])
def test_paired_spectra_make_real_logits_that_depend_on_differences(
    orders: tuple[int, ...],
) -> None:
    K = int(np.prod(orders))
    s = spectra.paired(np.random.default_rng(0).uniform(0, 1, K), orders)
    for k in np.ndindex(*orders):
        minus = tuple(-one % n for one, n in zip(k, orders, strict=True))
        assert s.reshape(orders)[k] == s.reshape(orders)[minus]
    basis = hadamard.real_characters(orders)
    Z = basis * s @ basis.T
    first = Z[:, 0].reshape(orders)
    for i in np.ndindex(*orders):
        row = Z.reshape(orders * 2)[(..., *i)]
        np.testing.assert_allclose(row, np.roll(first, i, tuple(range(len(orders)))), atol=1e-14)


def test_only_groups_keep_the_softmax_diagonal() -> None:
    found = spectra.off_diagonals([2, 4, 8], [3, 6], seeds=[0, 1])
    largest = found.groupby("basis").off_diagonal.agg(["min", "max"])
    assert largest["max"][["Hadamard", "Fourier"]].max() < 1e-14
    assert largest["min"][["random", "Paley"]].min() > 1e-3


@pytest.mark.parametrize("orders", [(2, 2), (3,)])
def test_the_reduction_holds(orders: tuple[int, ...]) -> None:
    found = spectra.agreement(spectra.reduction(orders, np.linspace(0, 100, 11), seed=0))
    assert found.difference.max() < 1e-7
    assert found.off_diagonal.max() < 1e-12


def test_trajectories_of_one_seed_hardly_depend_on_the_others() -> None:
    log_t = np.arange(-4, 10.0)
    alone = dynamics.trajectories(8, log_t, [1])
    among = dynamics.trajectories(8, log_t, [0, 1, 2])
    columns = ["spread", "mean", "V", "etf_distance", "loss"]
    np.testing.assert_allclose(among[among.seed == 1][columns], alone[columns], rtol=1e-8)
    rises = dynamics.summary(among)
    assert (rises.V_rise < 0).all() and (rises.spread > 0).all()


def test_a_rise_is_found() -> None:
    frame = pd.DataFrame(
        {"K": 4, "seed": 0, "log_t": [0, 1, 2], "spread": [1.0, 0.5, 0.6], "V": [3.0, 2.0, 1.0]}
    ).assign(etf_distance=0.0, loss=0.0)
    rises = dynamics.summary(frame).iloc[0]
    assert rises.spread_rise == pytest.approx(0.1) and rises.V_rise == -1


def test_late_rates_tell_which_runs_got_there() -> None:
    late = dynamics.late_rates(4, 60.0, [0.1, 0.001], [900, 905])
    assert late.rate[late.reached == 1].between(0.95, 1.05).all()
    near = dynamics.late_rates(4, 5.0, [0.1, 0.001], [900])
    assert near.reached.item() == 0 and near.rate.isna().all()


def test_the_spread_rises_at_the_spectra_that_are_said_to() -> None:
    """Against a finite difference along the flow."""
    drawn = dynamics.random_spectra(8, 200, seed=0)
    rng = np.random.default_rng(0)
    s = rng.uniform(0.01, 1, (200, 8)) * 10 ** rng.uniform(-1, 2, (200, 1))
    s[:, 0] = 0
    rate = hadamard.rate(0.0, s)
    step = 1e-6 * s[:, 1:].max(axis=1) / rate[:, 1:].max(axis=1)
    change = dynamics.relative_spread(s + step[:, None] * rate) - dynamics.relative_spread(s)
    rises = change > 1e-13
    assert 0 < rises.sum() < 20
    assert (rises == drawn.spread_rises.astype(bool)).mean() > 0.99
    assert (drawn.V_rate <= 1e-12).all()


def test_dead_modes_stay_dead_and_others_catch_up() -> None:
    found = dynamics.dead_mode_flows([0.0, 1e-3], [20.0, 100.0], seeds=[0]).set_index(
        ["dead", "log_t"]
    )
    assert (found.smallest[0.0] == 0).all()
    assert found.margin[0.0, 100.0] == pytest.approx(1 / 12)
    assert found.ratio[1e-3, 20.0] < found.ratio[1e-3, 100.0] < 1


def test_regularised_flows_end_at_the_closed_form() -> None:
    ends = dynamics.regularised_ends(4, 0.1, (0.02, 0.005), seeds=[0])
    np.testing.assert_allclose(ends.s, ends.expected, rtol=1e-6)


def test_modes_cross_for_eight_classes_only() -> None:
    log_t = np.arange(-4, 30, 0.5)
    crossed = {
        K: starts.crossings(K, log_t, [0, 1, 2, 3]).groupby("loss").crossed.sum() for K in (4, 8)
    }
    assert crossed[8]["cross-entropy"] > 0
    assert crossed[8]["squared"] == crossed[4]["squared"] == crossed[4]["cross-entropy"] == 0


def test_modes_are_coupled_under_cross_entropy_only() -> None:
    moved = starts.coupling(4, 20.0, [0, 1]).groupby("loss").moved
    assert moved.min()["cross-entropy"] > 1e-4
    assert moved.max()["squared"] < 1e-9


def test_learning_times_are_interpolated_and_may_be_missing() -> None:
    frame = pd.DataFrame(
        {"K": 4, "seed": 0, "rank": 1, "log_t": [0.0, 1.0, 2.0], "full": [0.0, 0.5, 1.5]}
    ).assign(reduced=[0.0, 0.1, 0.2])
    times = starts.learning_times(frame, 1.0).iloc[0]
    assert times.full == pytest.approx(1.5) and np.isnan(times.reduced)


def test_correlations_rank_what_is_never_learned_last() -> None:
    times = pd.DataFrame({"K": 4, "seed": range(4), "rank": 1, "full": [1.0, 2, 3, np.nan]})
    found = starts.correlations(times.assign(reduced=[1.0, 2, np.nan, 3])).set_index("rank")
    assert found.spearman[1] == found.spearman[0] == pytest.approx(0.8)


def test_a_small_random_start_is_predicted() -> None:
    run = starts.random_start(4, 4, 0.01, np.linspace(1, 8, 40), seed=900)
    early = run[run.log_t.between(2.6, 3)]
    assert np.abs(early.full / early.reduced - 1).max() < 0.05
    distances = starts.late_distances(run, after=20.0)
    assert (distances.rise < 0).all() and (distances["last"] < distances["first"]).all()


def test_discrete_steps_follow_the_flow() -> None:
    errors = starts.curve_errors(starts.descent(4, 16, 0.1, 40.0, seed=900)).set_index("method")
    assert errors.error["GD"] < errors.error["SGD"] < 0.1
    assert errors.off_diagonal["GD"] < 1e-12 < errors.off_diagonal["SGD"]


def test_imbalance_breaks_the_symmetry_in_proportion() -> None:
    found = starts.imbalanced(4, [0.0, 1e-4, 1e-3], 20.0, seed=900).off_diagonal
    assert found[0] < 1e-12
    assert found[2] / found[1] == pytest.approx(10, rel=0.02)

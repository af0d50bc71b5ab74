"""What the modules of this paper compute, apart from the notebooks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, pairwise

import pandas as pd
import pytest
import torch
from threadpoolctl import threadpool_limits

from papers.label_smoothing_collapse import dynamics, theory
from papers.label_smoothing_collapse.settings import Setting

WIDE = Setting(4, 5, 8, weight_decay=5e-3, feature_decay=1e-3, bias_decay=1e-2)
TIGHT = Setting(6, 4, 5, weight_decay=1e-2, feature_decay=1e-3, bias_decay=1e-2)
STRONG = Setting(6, 4, 7, weight_decay=0.076, feature_decay=0.076, bias_decay=1e-2)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The tensors are tiny: threads would only wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("smoothing", [0.02, 0.05, 0.3])
def test_the_matched_setting_has_the_logit_gap_of_smoothing(smoothing: float) -> None:
    matched, target = WIDE.matched(smoothing), WIDE.minimiser(smoothing)
    found = matched.minimiser(0.0)
    assert found.logit_gap == pytest.approx(target.logit_gap, rel=1e-12)
    assert found.weight_norm == pytest.approx(target.weight_norm, rel=1e-12)
    assert found.feature_norm == pytest.approx(target.feature_norm, rel=1e-12)
    assert matched.bias_decay / WIDE.bias_decay == pytest.approx(
        matched.weight_decay / WIDE.weight_decay
    )


def test_a_row_of_minima_holds_what_its_names_say() -> None:
    (row,) = theory.minimum(WIDE, 0.05, seed=3).to_dict("records")
    exact = WIDE.minimiser(0.05)
    assert row["objective"] == pytest.approx(exact.objective, rel=1e-10)
    assert row["logit_gap"] == pytest.approx(exact.logit_gap, rel=1e-6)
    assert row["weight_norm"] == pytest.approx(exact.weight_norm, rel=1e-6)
    assert row["features_norm"] == pytest.approx(exact.feature_norm, rel=1e-6)
    assert row["features_norm_formula"] == exact.feature_norm
    assert row["logits_to_etf"] < 1e-6
    assert row["within_between_ratio"] < 1e-12
    assert not row["zero"]


def test_metrics_of_a_minimum_at_zero_are_missing() -> None:
    (row,) = theory.minimum(STRONG, 0.2, seed=3).to_dict("records")
    assert row["zero"]
    assert row["weight_norm"] < 1e-6
    assert pd.isna(row["logits_to_etf"])
    assert pd.isna(row["within_between_ratio"])


def test_norms_are_the_same_numbers_in_another_form() -> None:
    minima = theory.minimum(WIDE, 0.0, seed=0).assign(setting="wide")
    norms = theory.norms(minima).set_index("block")
    assert norms.norm["weight"] == minima.weight_norm.item()
    assert norms.norm["features"] == minima.features_norm.item()
    assert norms.formula["features"] == minima.features_norm_formula.item()


def test_the_authors_numbers_are_rounded_closed_forms() -> None:
    table = theory.cifar10_norms()
    assert len(table) == 6
    # 1.5647 comes from 1.56469 (rounded), 2.9371 from 2.93714.
    assert (table.norm - table.official).abs().max() < 5e-5


def test_condition_numbers_name_block_and_penalty() -> None:
    table = theory.condition_numbers(WIDE, 0.05)
    assert table.applies.all()
    assert table.below_turn.all()
    assert table.condition.tolist() == pytest.approx(table.formula.tolist(), rel=1e-9)
    by_penalty = table.set_index(["block", "l2"]).condition
    assert by_penalty["features", False] == pytest.approx(3.79, abs=5e-3)
    assert by_penalty["weight", True] == pytest.approx(14.24, abs=5e-3)


def test_the_closed_form_with_l2_needs_free_directions() -> None:
    tight = replace(WIDE, num_features=3)
    table = theory.condition_numbers(tight, 0.05).set_index(["block", "l2"])
    assert not table.applies["features", True]
    assert table.applies.sum() == 3
    assert table.condition["features", True] < table.formula["features", True] / 2


@pytest.mark.parametrize("num_classes", [3, 4, 10, 100])
def test_below_the_turn_the_penalised_condition_number_rises(num_classes: int) -> None:
    setting = Setting(num_classes, 1, num_classes, 1e-4, 1e-4, 1e-2)
    top = theory.TURN - setting.penalty
    values = [theory.condition_formula(setting, top * k / 200, l2=True) for k in range(201)]
    assert all(b > a for a, b in pairwise(values))
    late = [theory.condition_formula(setting, d, l2=True) for d in (0.6, 0.7, 0.8, 0.9)]
    assert all(b < a for a, b in pairwise(late))


def test_changes_are_between_neighbours_of_one_group() -> None:
    rows = [
        {"setting": s, "block": "weight", "l2": l2, "smoothing": d, "condition": c, "formula": c}
        for s, l2, d, c in [
            ("a", True, 0.2, 5.0),
            ("a", True, 0.0, 1.0),
            ("a", True, 0.1, 2.0),
            ("a", False, 0.0, 9.0),
            ("a", False, 0.1, 8.0),
            ("b", True, 0.1, 7.0),
        ]
    ]
    found = theory.changes(pd.DataFrame(rows)).set_index(["setting", "l2", "smoothing"]).change
    assert found.to_dict() == {("a", True, 0.1): 1, ("a", True, 0.2): 3, ("a", False, 0.1): -1}


def test_the_joint_hessian_is_indefinite_without_penalties() -> None:
    (row,) = theory.joint_spectrum(WIDE, 0.05).to_dict("records")
    assert row["smallest_without_l2"] < -1e-4
    assert row["zeros_l2"] == 18
    assert row["condition_l2"] == pytest.approx(82.2, abs=0.05)


# ------------------------------------------------------------------------------------ dynamics


@pytest.mark.parametrize("smoothing", [0.0, 0.05])
def test_the_gradient_is_that_of_the_objective(smoothing: float) -> None:
    point = dynamics.starts(WIDE, seeds=[4, 5])
    leaves = {name: block.clone().requires_grad_() for name, block in point.items()}
    value = WIDE.objective(smoothing)(leaves).sum()
    expected = dict(zip(leaves, torch.autograd.grad(value, list(leaves.values())), strict=True))
    found = dynamics.gradient(WIDE, smoothing, point)
    for name in ("weight", "features", "bias"):
        assert torch.allclose(found[name], expected[name], rtol=1e-12, atol=1e-15)


def test_starts_are_shared_by_their_seeds_alone() -> None:
    together, alone = dynamics.starts(WIDE, [7, 9]), dynamics.starts(WIDE, [9])
    assert torch.equal(together["weight"][1], alone["weight"][0])
    assert together["features"].shape == (2, 20, 8)
    assert together["features"].std().item() == pytest.approx(8**-0.5, rel=0.1)


def test_the_rule_for_the_step_separates_falling_from_rising() -> None:
    start = dynamics.starts(TIGHT, [1000, 1001])
    steps = dynamics.step_sizes(TIGHT, 0.05, [1000, 1001], iterations=100)
    assert len(set(steps["own"].values())) > 1
    for arm, (which, smoothing) in dynamics.arms(TIGHT, 0.05).items():
        step = steps["own"][arm]
        assert dynamics.always_falls(which, smoothing, start, step, 100)
        assert not dynamics.always_falls(which, smoothing, start, step * 2**0.5, 100)
        assert steps["shared"][arm] == min(steps["own"].values())
        points = islice(dynamics.descent(which, smoothing, start, step), 101)
        values = torch.stack([which.objective(smoothing)(point) for point in points])
        assert (values.diff(dim=0) <= 0).all()


def test_descent_ends_at_the_minimum() -> None:
    start = dynamics.starts(WIDE, [0, 1])
    end = next(islice(dynamics.descent(WIDE, 0.05, start, 8.0), 3000, None))
    value = WIDE.objective(0.05)(end)
    assert value.tolist() == pytest.approx([WIDE.minimiser(0.05).objective] * 2, rel=1e-9)


def test_a_run_that_diverges_never_arrives() -> None:
    start = dynamics.starts(WIDE, [0, 1])
    for name in start:
        start[name][1] *= 1e3
    seen = dynamics.metrics_along(WIDE, 0.05, start, 500.0, iterations=200)
    assert seen["logits_to_etf"][0].isfinite().all()
    assert seen["logits_to_etf"][-1, 1].isnan()
    assert seen["within_between_ratio"][-1, 1].isnan()
    calm = dynamics.metrics_along(WIDE, 0.05, dynamics.starts(WIDE, [0]), 8.0, iterations=50)
    assert calm["logits_to_etf"][-1, 0] < 0.1


def test_looks_are_dense_at_first_and_end_at_the_end() -> None:
    assert dynamics.looks(5) == [0, 1, 2, 3, 4, 5]
    found = dynamics.looks(4000)
    assert found[:101] == list(range(101))
    assert found[-1] == 4000
    assert all(0 < b - a <= max(1, a / 100) for a, b in pairwise(found))


def test_the_first_look_below_the_threshold_counts() -> None:
    curves = pd.DataFrame(
        {
            "setting": "wide",
            "step": "shared",
            "arm": "smoothing",
            "seed": [0] * 5 + [1] * 5,
            "iteration": [0, 1, 2, 3, 4] * 2,
            "logits_to_etf": [1.0, 0.5, 0.009, 0.02, 0.001, 1.0, 0.5, float("nan"), 0.02, 0.02],
        }
    )
    found = dynamics.arrivals(curves, {"logits_to_etf": 0.01}).set_index("seed")
    assert found.iterations.to_dict() == {0: 2, 1: 4}
    assert found.arrived.to_dict() == {0: True, 1: False}


def test_trajectories_are_whole_and_the_same_again() -> None:
    once, again = (dynamics.trajectories(WIDE, 0.05, [0, 1], [1000], 40) for _ in range(2))
    pd.testing.assert_frame_equal(once, again)
    groups = once.groupby(["step", "arm", "seed"]).size()
    assert len(groups) == 2 * 3 * 2
    assert (groups == 41).all()
    start = once[once.iteration == 0].groupby("seed").logits_to_etf.nunique()
    assert (start == 1).all(), "the arms share their starts"


def test_thinned_curves_keep_both_ends() -> None:
    curves = pd.DataFrame({"iteration": dynamics.looks(4000)})
    kept = dynamics.thinned(curves, points=30).iteration.tolist()
    assert kept[0] in (0, 1)
    assert kept[-1] == 4000
    assert 20 <= len(kept) <= 30

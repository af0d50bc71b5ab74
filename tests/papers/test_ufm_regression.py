"""What the modules of this paper compute, apart from the notebooks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from common.collapse.ufm.regression import training_error
from papers.ufm_regression import comparison, data, networks, theory
from papers.ufm_regression.experiments import Sweep, preprocessing_errors, task_errors

TINY = networks.Setting((6,), 40, 0.02)


def sweep(regime: networks.Regime = "weight_decay", **changes: Any) -> Sweep:
    known = {"decays": [0.01, 0.1], "seeds": [3, 4], "samples": 30, "setting": TINY}
    return Sweep(dataset="teacher", regime=regime, **(known | changes))


# ----------------------------------------------------------------------------------------- data


@pytest.mark.parametrize("dataset", list(data.DATASETS))
def test_targets_have_the_scale_and_correlations_asked_for(dataset: str) -> None:
    low, high = (data.split(dataset, 0, 150, variance) for variance in (0.25, 4.0))
    targets = high.targets["train"].double()
    covariance = torch.cov(targets.T, correction=0)
    assert (covariance.trace() / 3).item() == pytest.approx(4.0, rel=1e-5)
    torch.testing.assert_close(high.targets["test"], 4 * low.targets["test"])
    relative = covariance.diagonal().sqrt() / covariance.diagonal().sqrt()[0]
    np.testing.assert_allclose(relative, data.SCALES / data.SCALES[0], rtol=1e-5)
    correlations = torch.corrcoef(targets.T)[np.triu_indices(3, 1)]
    assert correlations.min() > 0.4
    assert targets.mean(0).abs().max() < 1e-5
    assert sum(len(rows) for rows in high.inputs.values()) == len(data.DATASETS[dataset]()[0])


def test_a_seed_draws_its_own_training_set() -> None:
    first, again, other = (data.split("teacher", seed, 50) for seed in (0, 0, 1))
    assert torch.equal(first.inputs["train"], again.inputs["train"])
    assert not torch.equal(first.inputs["train"], other.inputs["train"])


def test_impossible_splits_are_refused() -> None:
    with pytest.raises(ValueError, match="dataset: 'mnist' is none of"):
        data.split("mnist", 0, 50)
    with pytest.raises(ValueError, match="samples: 600 of 600"):
        data.split("teacher", 0, 600)


# ------------------------------------------------------------------------------------- networks


@pytest.mark.parametrize("regime", ["weight_decay", "feature_penalty"])
@pytest.mark.parametrize("loss", ["sum", "mean"])
def test_a_stack_trains_like_its_networks_alone(regime: Any, loss: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(2, 20, 4, generator=generator)
    targets = torch.randn(2, 20, 3, generator=generator)
    decays = torch.tensor([0.01, 0.2])
    stacked, _ = networks.train(
        networks.Problem(inputs, targets, decays, [0, 1]), regime, loss, TINY
    )
    for s in range(2):
        part = slice(s, s + 1)
        alone = networks.Problem(inputs[part], targets[part], decays[part], [s])
        network, _ = networks.train(alone, regime, loss, TINY)
        together = stacked(inputs)[0][s]
        torch.testing.assert_close(together, network(inputs[part])[0][0], rtol=1e-4, atol=1e-5)


def test_penalties_are_those_of_the_model() -> None:
    network, _ = networks.train(
        networks.Problem(torch.ones(1, 5, 2), torch.ones(1, 5, 3), torch.tensor([0.1]), [0]),
        "feature_penalty",
        "sum",
        TINY,
    )
    features = torch.full((1, 5, 6), 2.0)
    decay = torch.tensor([0.3])
    weight = network.get_parameter("head.weight").square().sum()
    expected = 0.3 / 2 * (4 * 6) + 0.3 / 2 * weight  # λ/(2M) ‖H‖² is a mean over the samples
    measured = networks.penalty(network, features, decay, "feature_penalty")
    torch.testing.assert_close(measured, expected[None])
    everything = sum(parameter.square().sum() for parameter in network.parameters())
    measured = networks.penalty(network, features, decay, "weight_decay")
    torch.testing.assert_close(measured, (0.15 * everything)[None])


def test_the_averaged_loss_is_a_third_for_three_outputs() -> None:
    outputs, targets = torch.zeros(1, 4, 3), torch.full((1, 4, 3), 2.0)
    assert networks.data_term(outputs, targets, "sum").item() == pytest.approx(6.0)
    assert networks.data_term(outputs, targets, "mean").item() == pytest.approx(2.0)


# ---------------------------------------------------------------------------------- experiments


def test_every_arm_and_cell_is_measured_the_same_twice() -> None:
    errors = task_errors(sweep())
    assert errors.equals(task_errors(sweep()))
    assert errors.groupby("arm").size().to_dict() == dict.fromkeys(
        ("multi-task mean", "multi-task sum", "single-task"), 4
    )
    np.testing.assert_allclose(errors.r_squared, 1 - errors.train_error / 3, rtol=1e-9)


def test_the_model_knows_the_loss() -> None:
    errors = task_errors(sweep(decays=[0.01], seeds=[3])).set_index("arm").ufm_error
    assert errors["multi-task sum"] == pytest.approx(3e-4)
    assert errors["single-task"] == pytest.approx(3e-4)
    assert errors["multi-task mean"] == pytest.approx(27e-4)


def test_errors_of_preprocessed_targets_are_in_the_targets_units() -> None:
    errors = preprocessing_errors(sweep(decays=[0.01], seeds=[3]), [0.25, 4.0])
    errors = errors.set_index(["preprocessing", "average_variance"])
    for name in ("zca", "standardised"):
        low, high = errors.loc[(name, 0.25)], errors.loc[(name, 4.0)]
        assert high.train_error == pytest.approx(16 * low.train_error)
        assert high.r_squared == pytest.approx(low.r_squared)
        assert high.ufm_error == pytest.approx(12e-4, rel=1e-4)
    assert errors.loc[("none", 4.0)].ufm_error == pytest.approx(3e-4, rel=1e-4)


@pytest.mark.slow
def test_networks_with_penalised_features_reach_the_models_error() -> None:
    setting = networks.Setting((32, 32, 32), 2000, 0.02)
    one = sweep("feature_penalty", decays=[0.2], seeds=[3], samples=60, setting=setting)
    errors = task_errors(one).set_index("arm")
    assert errors.train_error["multi-task sum"] == pytest.approx(
        errors.ufm_error["multi-task sum"], rel=0.1
    )


# ----------------------------------------------------------------------------------- comparison


def run(arm: str, decay: float, train: float, test: float, **changes: float) -> dict[str, Any]:
    cell = {"dataset": "d", "regime": "r", "arm": arm, "decay": decay, "seed": 0}
    fine = {"train_error": train, "test_error": test, "r_squared": 0.5, "last_change": 0.001}
    return cell | fine | changes


def test_shares_are_over_cells_in_which_both_runs_count() -> None:
    errors = pd.DataFrame(
        [
            *(run("a", 0.1, 1.0, 4.0), run("b", 0.1, 2.0, 2.0)),  # a lower in training only
            *(run("a", 0.2, 1.0, 1.0, r_squared=0.9995), run("b", 0.2, 3.0, 3.0)),
            *(run("a", 0.3, 1.0, 1.0), run("b", 0.3, 3.0, 3.0, last_change=0.02)),
            *(run("a", 0.4, 2.0, 1.0), run("b", 0.4, 2.0, 4.0)),  # a tie in training
        ],
        index=[0] * 8,  # as pieces put together have it
    )
    pairs = comparison.paired_runs(errors, "arm", {"a": "ours", "b": "theirs"})
    found = comparison.shares(pairs, ["seed"]).set_index("arm")
    assert found.cells.to_dict() == {"ours": 2, "theirs": 2}
    assert found.share.to_dict() == {"ours": 0.5, "theirs": 0.0}
    assert found.test_share.to_dict() == {"ours": 0.5, "theirs": 0.5}
    assert found.most.eq(0).all()
    assert found.mean_error.tolist() == [pytest.approx(2**0.5), pytest.approx(2.0)]


def test_without_a_cell_that_counts_everything_is_missing() -> None:
    errors = pd.DataFrame([run(arm, 0.1, 1.0, 1.0, r_squared=0.01) for arm in "ab"])
    pairs = comparison.paired_runs(errors, "arm", {"a": "a", "b": "b"})
    found = comparison.shares(pairs, ["seed"])
    assert found.cells.eq(0).all()
    assert found[["share", "most", "mean_error"]].isna().all(axis=None)


def test_four_of_five_cells_are_most() -> None:
    runs = [
        run(arm, decay, 1.0 + ((arm == "b") != (decay == 0.5)), 1.0)
        for arm in "ab"
        for decay in (0.1, 0.2, 0.3, 0.4, 0.5)
    ]
    pairs = comparison.paired_runs(
        pd.DataFrame(runs).assign(test_error=1.0), "arm", {"a": "a", "b": "b"}
    )
    found = comparison.shares(pairs, ["seed"]).set_index("arm")
    assert found.share.to_dict() == {"a": 0.8, "b": 0.2}
    assert found.most.to_dict() == {"a": 1.0, "b": 0.0}
    assert found.test_most.eq(0).all(), "in a tie neither is lower"


def test_a_networks_trend_is_compared_on_logarithms() -> None:
    runs = [run("a", decay, 2 * decay**3, 1.0, ufm_error=decay**2) for decay in (0.1, 0.2, 0.4)]
    few = [run("b", decay, decay, 1.0, ufm_error=decay) for decay in (0.1, 0.2)]
    found = comparison.trends(pd.DataFrame(runs + few), ["arm", "seed"]).set_index("arm")
    assert found.loc["a", "slope"] == pytest.approx(1.5)
    assert found.loc["a", ["spearman", "correlation"]].tolist() == pytest.approx([1.0, 1.0])
    assert found.loc["a", "network"] / found.loc["a", "model"] == pytest.approx(0.4)
    assert np.isnan(found.loc["b", "spearman"])


def test_the_decay_is_chosen_on_validation_rows() -> None:
    runs = [run("a", 0.1, 1.0, 5.0), run("a", 0.2, 1.0, 4.0)]
    errors = pd.DataFrame(runs).assign(validation_error=[1.0, 2.0])
    best = comparison.best_decays(errors, ["arm"])
    assert best.test_error.tolist() == [5.0]


# --------------------------------------------------------------------------------------- theory


def test_the_worked_instance_is_the_one_described() -> None:
    eigenvalues = torch.linalg.eigvalsh(theory.WORKED)
    np.testing.assert_allclose(eigenvalues, [0.1911, 0.3665, 1.5425], atol=1e-4)
    targets = theory.targets_with(theory.WORKED, 20, seed=1)
    torch.testing.assert_close(torch.cov(targets.T, correction=0), theory.WORKED)


def test_minimisation_and_formulas_agree_where_the_rule_fails() -> None:
    rows = theory.minimisation_rows([0.9], 20, 4, seed=0).set_index("arm")
    np.testing.assert_allclose(rows.measured, rows.expected, rtol=1e-6)
    assert rows.measured["zca"] == pytest.approx(1.89)
    assert rows.without["zca"] == pytest.approx(1.4575, abs=1e-4)


def test_the_errors_cross_at_an_average_variance_of_one() -> None:
    rows = theory.crossing_rows(0.05, [0.7, 1.6], 20, 4, seed=0)
    np.testing.assert_allclose(rows.crossing, 1.0, rtol=1e-5)
    nowhere = theory.crossing_rows(0.05, [1.2, 1.6], 20, 4, seed=0)
    assert nowhere.crossing.isna().all()


def test_gaps_vanish_outside_the_eigenvalues_and_not_between() -> None:
    rows = theory.task_rows(0, 20, [1.0, 2.0])
    equal = rows[rows.factor == 1].groupby("region").gap
    assert equal.max()["below"] == pytest.approx(0, abs=1e-12)
    assert equal.max()["above"] == pytest.approx(0, abs=1e-12)
    assert equal.min()["between"] > 1e-6


def test_the_map_shows_where_whitening_lowers_the_error() -> None:
    signs = theory.sign_map([0.02, 0.9, 5.0], [0.5, 0.7, 1.4]).pivot_table(
        "sign", "average_variance", "c"
    )
    assert signs[0.02].tolist() == [-1, -1, 1]
    assert signs.loc[0.7, 0.9] == 1  # below the threshold, and yet worse
    assert signs[5.0].tolist() == [0, 0, 0]
    assert training_error(theory.WORKED, 5.0) == pytest.approx(2.1)

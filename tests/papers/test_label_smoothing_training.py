"""Arms trained side by side: what each row says, and networks that cannot be stacked."""

from __future__ import annotations

import pytest
import torch

from common.images import Splits, load_images
from papers.label_smoothing_collapse.training_runs import Arm, Penalty, schedule, train_arms

ARMS = [Arm("cross-entropy", 0.0), Arm("smoothing", 0.1), Arm("matched", 0.0, factor=30.0)]


@pytest.fixture(scope="module")
def splits() -> Splits:
    return load_images("digits", train_per_class=8, held_out_per_class=5)


@pytest.mark.parametrize(
    "penalty", [Penalty("weight_decay", 1e-2), Penalty("features", 1e-2, 1e-4, 1e-2)]
)
def test_every_arm_is_its_own_training(splits: Splits, penalty: Penalty) -> None:
    """An arm trained with others is the arm trained alone, and every row names arm and seed."""
    plan = schedule(4, [0.5], 16, 0.05)
    options = {"model": "mlp", "hidden": [12]}
    together = train_arms("all", splits, ARMS, [3, 4], penalty, plan, **options)
    keys = ["arm", "smoothing", "seed", "epoch"]
    assert len(together.curves) == 3 * 2 * 5 and not together.curves.duplicated(keys).any()
    assert len(together.calibration) == 6 and len(together.bins) == 6 * 20
    for arm in ARMS:
        alone = train_arms(f"one-{arm.name}", splits, [arm], [4], penalty, plan, **options)
        mine = together.curves[(together.curves.arm == arm.name) & (together.curves.seed == 4)]
        for metric in ("train_loss", "within_between_ratio", "logits_to_etf", "weight_norm"):
            assert mine[metric].tolist() == pytest.approx(alone.curves[metric].tolist(), rel=1e-3)
        ece = together.calibration.set_index(["arm", "seed"]).ece[arm.name, 4]
        assert ece == pytest.approx(alone.calibration.ece[0], abs=1e-3)
    start = together.curves[together.curves.epoch == 0].groupby("seed").train_loss
    assert start.nunique().tolist() == [1, 1], "arms of one seed start from the same weights"
    norms = together.curves[together.curves.epoch == 4].groupby("arm").weight_norm.mean()
    assert norms["matched"] < norms["cross-entropy"]
    assert norms["smoothing"] < norms["cross-entropy"]


@pytest.mark.slow
def test_resnets_are_trained_one_after_another(splits: Splits) -> None:
    torch.set_num_threads(1)
    penalty, plan = Penalty("weight_decay", 5e-4), schedule(1, [], 40, 0.05)
    trained = train_arms("net", splits, ARMS[:2], [3], penalty, plan, model="resnet18")
    assert trained.curves.groupby(["arm", "seed"]).epoch.apply(list).tolist() == [[0, 1], [0, 1]]
    last = trained.curves[trained.curves.epoch == 1]
    first = trained.curves[trained.curves.epoch == 0]
    assert (last.train_loss.to_numpy() != first.train_loss.to_numpy()).all()
    assert last.notna().all(axis=None)

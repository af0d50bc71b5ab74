"""Trained classifiers: every arm and seed of an experiment, with the paper's two penalties."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import pandas as pd
import torch
from torch import Tensor, nn

from common.collapse.calibration import expected_calibration_error, fit_temperature, reliability
from common.collapse.evaluation import evaluate_classifier, predict
from common.collapse.losses import feature_penalty, l2_penalty, smoothed_cross_entropy
from common.collapse.networks import mlp, resnet
from common.collapse.stacked import alone, stack
from common.collapse.training import Schedule, log_spaced, train
from common.images import LabelledImages, Splits


@dataclass(frozen=True)
class Arm:
    """What is compared: a smoothing δ, and the strength of all penalties.

    Attributes:
        name: tells the arms of an experiment apart.
        smoothing: δ.
        factor: by which the experiment's penalties are multiplied.
    """

    name: str
    smoothing: float
    factor: float = 1.0


@dataclass(frozen=True)
class Penalty:
    """The paper's two kinds of regularisation.

    Attributes:
        kind: `weight_decay` on every parameter, or that of the unconstrained feature model: on
            the classifier, its bias and the features only.
        weight: λ of weight decay, or λ_W.
        feature: λ_H, on the sum over the training set.
        bias: λ_b.
    """

    kind: Literal["weight_decay", "features"]
    weight: float
    feature: float = 0.0
    bias: float = 0.0

    def __call__(
        self, network: nn.Module, features: Tensor, samples: int, factor: Tensor
    ) -> Tensor:
        """The penalty of each model, (S,)."""
        if self.kind == "weight_decay":
            return l2_penalty(network, self.weight * factor)
        decays = (self.weight * factor, self.feature * factor, self.bias * factor)
        return feature_penalty(network.get_submodule("head"), features, samples, *decays)


@dataclass(frozen=True)
class Trained:
    """What a training left.

    Attributes:
        curves: one row per arm, seed and evaluated epoch.
        calibration: one row per arm and seed: see `_calibrate`.
        bins: one row per arm, seed and bin of confidence: see `reliability`.
    """

    curves: pd.DataFrame
    calibration: pd.DataFrame
    bins: pd.DataFrame


def train_arms(
    name: str,
    splits: Splits,
    arms: Sequence[Arm],
    seeds: Sequence[int],
    penalty: Penalty,
    plan: Schedule,
    *,
    model: str,
    hidden: Sequence[int] = (),
    device: str = "cpu",
) -> Trained:
    """Train every arm from the same initial weights, on the same batches, for each seed.

    Args:
        name: tells the trainings of a notebook apart.
        splits: training images, held-out images (for the temperature) and test images.
        arms: what is compared.
        seeds: of initial weights and order of the data, shared by the arms.
        penalty: regularisation of an arm with factor 1.
        plan: the same for all.
        model: `mlp`, trained all at once, or `resnet18` and `resnet50`, one after another.
        hidden: widths of the MLP.
        device: where to train.
    """
    if model == "mlp":
        splits = Splits(splits.train.flat(), splits.held_out.flat(), splits.test.flat())
    splits = Splits(splits.train.to(device), splits.held_out.to(device), splits.test.to(device))
    parts = [
        _train(f"{name}{label}", splits, members, penalty, plan, network.to(device))
        for label, members, network in _groups(splits, arms, seeds, model, hidden)
    ]
    return Trained(
        pd.concat([part.curves for part in parts], ignore_index=True),
        pd.concat([part.calibration for part in parts], ignore_index=True),
        pd.concat([part.bins for part in parts], ignore_index=True),
    )


def schedule(
    epochs: int, milestones: Sequence[float], batch_size: int, learning_rate: float
) -> Schedule:
    """The learning rate falls tenfold after each of these shares of the epochs."""
    turns = tuple(round(share * epochs) for share in milestones)
    return Schedule(epochs, batch_size, learning_rate, milestones=turns)


Member = tuple[Arm, int]


def _groups(
    splits: Splits, arms: Sequence[Arm], seeds: Sequence[int], model: str, hidden: Sequence[int]
) -> Iterator[tuple[str, list[Member], nn.Module]]:
    """Networks that are trained together, with a label for each group."""
    members = [(arm, seed) for arm in arms for seed in seeds]
    classes, shape = splits.train.num_classes, splits.train.images.shape
    if model == "mlp":
        yield "", members, stack([mlp(shape[1], hidden, classes, seed=s) for _, s in members])
        return
    for arm, seed in members:
        network = resnet(int(model.removeprefix("resnet")), shape[1], classes, seed=seed)
        yield f"-{arm.name}-{seed}", [(arm, seed)], alone(network)


def _train(
    name: str,
    splits: Splits,
    members: Sequence[Member],
    penalty: Penalty,
    plan: Schedule,
    network: nn.Module,
) -> Trained:
    """Train one group of networks and look at them."""
    device, models = splits.train.labels.device, len(members)
    smoothing = torch.tensor([arm.smoothing for arm, _ in members], device=device)
    factor = torch.tensor([arm.factor for arm, _ in members], device=device)

    def loss(logits: Tensor, features: Tensor, labels: Tensor) -> Tensor:
        fit = smoothed_cross_entropy(logits, labels, smoothing)
        return fit + penalty(network, features, len(splits.train), factor)

    curves = train(
        name,
        network,
        splits.train,
        loss,
        plan,
        seeds=[seed for _, seed in members],
        evaluate=partial(
            evaluate_classifier, train=splits.train, test=splits.held_out, models=models
        ),
        evaluate_at=log_spaced(plan.epochs),
    ).astype({"model": int})
    held_out, test = (predict(network, part, models) for part in (splits.held_out, splits.test))
    calibration, bins = [], []
    for model in range(models):
        row, table = _calibrate(held_out[model], splits.held_out, test[model], splits.test)
        calibration.append(row | {"model": model})
        bins.append(table.assign(model=model))
    frames = (curves, pd.DataFrame(calibration), pd.concat(bins))
    return Trained(*(_labelled(frame, members) for frame in frames))


def _labelled(frame: pd.DataFrame, members: Sequence[Member]) -> pd.DataFrame:
    """The columns arm, smoothing and seed instead of the number of the model; metrics as float32.

    Single precision is what training has, and half of the size.
    """
    metrics = frame.select_dtypes("float64").columns
    frame = frame.astype(dict.fromkeys(metrics, "float32")).reset_index(drop=True)
    told = [members[model] for model in frame.pop("model")]
    frame.insert(0, "seed", [seed for _, seed in told])
    frame.insert(0, "smoothing", [arm.smoothing for arm, _ in told])
    frame.insert(0, "arm", [arm.name for arm, _ in told])
    return frame


def _calibrate(
    held_out: Tensor, held_out_images: LabelledImages, test: Tensor, test_images: LabelledImages
) -> tuple[dict[str, float], pd.DataFrame]:
    """Calibration on the test set before and after a temperature; logits are (N, K).

    The temperature comes from held-out images by likelihood; beside it, as in the paper's public
    code, one chosen by the calibration error on the test set itself.
    """
    labels = test_images.labels.cpu().numpy()
    temperature = fit_temperature(held_out, held_out_images.labels.cpu(), "nll")
    on_test = fit_temperature(test, labels, "ece")
    errors = {
        name: expected_calibration_error((test / t).softmax(-1), labels)
        for name, t in (("ece", 1.0), ("ece_tempered", temperature), ("ece_on_test", on_test))
    }
    accuracy = float((test.argmax(-1).numpy() == labels).mean())
    temperatures = {"temperature": temperature, "temperature_on_test": on_test}
    return {"accuracy": accuracy} | errors | temperatures, reliability(test.softmax(-1), labels)

"""What the networks' notebooks measure: errors of every arm in the targets' own units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from common.collapse.regression_metrics import target_covariance
from common.collapse.target_preprocessing import ZCA, Standardize, TargetTransform
from common.collapse.ufm import regression as ufm
from papers.ufm_regression.data import SCALES, Split, split
from papers.ufm_regression.networks import Problem, Regime, Setting, train

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
PARTS = ("train", "validation", "test")
TRANSFORMS: dict[str, type[TargetTransform]] = {"zca": ZCA, "standardised": Standardize}
UFM_ERRORS = {
    "none": ufm.training_error,
    "zca": ufm.whitened_error,
    "standardised": ufm.standardised_error,
}


@dataclass(frozen=True)
class Sweep:
    """All combinations of seeds and decays on one data set, trained side by side.

    Attributes:
        dataset: see `data.DATASETS`.
        regime: what is penalised.
        decays: λ, in rising order.
        seeds: each draws a training set and an initialisation.
        samples: rows for training.
        setting: architecture and optimiser.
    """

    dataset: str
    regime: Regime
    decays: Sequence[float]
    seeds: Sequence[int]
    samples: int
    setting: Setting

    @property
    def cells(self) -> list[tuple[int, float]]:
        """Seed and λ of every network of a stack."""
        return list(product(self.seeds, self.decays))

    def splits(self, average_variance: float) -> list[Split]:
        """The data of every cell; cells of one seed share them."""
        by_seed = {
            seed: split(self.dataset, seed, self.samples, average_variance) for seed in self.seeds
        }
        return [by_seed[seed] for seed, _ in self.cells]


def task_errors(sweep: Sweep) -> pd.DataFrame:
    """Multi-task networks under both loss conventions, and single-task networks.

    Returns:
        One row per arm (multi-task sum, multi-task mean, single-task), seed and λ.
    """
    data = sweep.splits(1.0)
    n = data[0].targets["train"].shape[1]
    whole = [one.targets["train"] for one in data]
    rows = []
    for loss in ("sum", "mean"):
        network, change = train(_problem(sweep, data, whole), sweep.regime, loss, sweep.setting)
        theory = [
            ufm.training_error(
                target_covariance(one), ufm.effective_decay_product(decay**2, n, loss)
            )
            for one, (_, decay) in zip(whole, sweep.cells, strict=True)
        ]
        errors = _errors(_predictions(network, data), data)
        rows += _rows(sweep, {"arm": f"multi-task {loss}"}, errors, change, theory)
    outputs, changes = [], []
    for j in range(n):
        column = [targets[:, j : j + 1] for targets in whole]
        network, change = train(_problem(sweep, data, column), sweep.regime, "sum", sweep.setting)
        outputs.append(_predictions(network, data))
        changes.append(change)
    joined = {part: torch.cat([output[part] for output in outputs], -1) for part in PARTS}
    theory = [
        ufm.single_task_error(target_covariance(one), decay**2)
        for one, (_, decay) in zip(whole, sweep.cells, strict=True)
    ]
    worst = torch.stack(changes).amax(0)
    rows += _rows(sweep, {"arm": "single-task"}, _errors(joined, data), worst, theory)
    return pd.DataFrame(rows)


def preprocessing_errors(sweep: Sweep, average_variances: Sequence[float]) -> pd.DataFrame:
    """Multi-task networks without and with preprocessing, at every average target variance.

    Preprocessed targets do not depend on their scale, so one training serves all scales: its
    squared errors only grow with them.

    Returns:
        One row per preprocessing, average variance, seed and λ.
    """
    rows = []
    for variance in average_variances:
        data = sweep.splits(variance)
        whole = [one.targets["train"] for one in data]
        network, change = train(_problem(sweep, data, whole), sweep.regime, "sum", sweep.setting)
        errors = _errors(_predictions(network, data), data)
        rows += _preprocessing_rows(sweep, "none", variance, errors, change)
    data = sweep.splits(1.0)
    for name, kind in TRANSFORMS.items():
        transforms = [kind().fit(one.targets["train"]) for one in data]
        mapped = [
            transform.transform(one.targets["train"])
            for transform, one in zip(transforms, data, strict=True)
        ]
        network, change = train(_problem(sweep, data, mapped), sweep.regime, "sum", sweep.setting)
        predictions = {
            part: torch.stack(
                [t.inverse_transform(one) for t, one in zip(transforms, outputs, strict=True)]
            )
            for part, outputs in _predictions(network, data).items()
        }
        errors = _errors(predictions, data)
        for variance in average_variances:
            scaled = {part: variance * error for part, error in errors.items()}
            rows += _preprocessing_rows(sweep, name, variance, scaled, change)
    return pd.DataFrame(rows)


def _preprocessing_rows(
    sweep: Sweep, name: str, variance: float, errors: Mapping[str, Tensor], change: Tensor
) -> list[dict]:
    covariances = [target_covariance(one.targets["train"]) for one in sweep.splits(variance)]
    theory = [
        UFM_ERRORS[name](covariance, decay**2)
        for covariance, (_, decay) in zip(covariances, sweep.cells, strict=True)
    ]
    known = {"preprocessing": name, "average_variance": variance}
    return _rows(sweep, known, errors, change, theory)


def _rows(
    sweep: Sweep,
    known: Mapping[str, Any],
    errors: Mapping[str, Tensor],
    change: Tensor,
    theory: Sequence[float],
) -> list[dict]:
    total_variance = len(SCALES) * known.get("average_variance", 1.0)
    return [
        {"dataset": sweep.dataset, "regime": sweep.regime, **known, "decay": decay, "seed": seed}
        | {f"{part}_error": errors[part][cell].item() for part in PARTS}
        | {
            "r_squared": 1 - errors["train"][cell].item() / total_variance,
            "last_change": change[cell].item(),
            "ufm_error": theory[cell],
        }
        for cell, (seed, decay) in enumerate(sweep.cells)
    ]


def _problem(sweep: Sweep, data: Sequence[Split], targets: Sequence[Tensor]) -> Problem:
    inputs = torch.stack([one.inputs["train"] for one in data])
    decays = torch.tensor([decay for _, decay in sweep.cells])
    tensors = (one.to(DEVICE) for one in (inputs, torch.stack(list(targets)), decays))
    return Problem(*tensors, seeds=[seed for seed, _ in sweep.cells])


@torch.no_grad()
def _predictions(network: nn.Module, data: Sequence[Split]) -> dict[str, Tensor]:
    """By part, (S, rows, n)."""
    inputs = {part: torch.stack([one.inputs[part] for one in data]).to(DEVICE) for part in PARTS}
    return {part: network(inputs[part])[0].cpu() for part in PARTS}


def _errors(predictions: Mapping[str, Tensor], data: Sequence[Split]) -> dict[str, Tensor]:
    """By part, the squared error summed over outputs and averaged over rows, (S,)."""
    targets = {part: torch.stack([one.targets[part] for one in data]) for part in PARTS}
    return {
        part: (predictions[part] - targets[part]).double().square().sum(-1).mean(-1)
        for part in PARTS
    }

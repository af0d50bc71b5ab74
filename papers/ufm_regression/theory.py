"""The closed forms against minimisation, and on many random covariances: one row per case."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import product

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from common.collapse.target_preprocessing import ZCA, Standardize, TargetTransform
from common.collapse.ufm import regression as ufm
from common.collapse.ufm.lbfgs import minimise

WORKED = torch.tensor([[1, 0.6, 0.1], [0.6, 0.8, 0.2], [0.1, 0.2, 0.3]], dtype=torch.float64)
"""Covariance with eigenvalues 0.1911, 0.3665 and 1.5425 and an average variance of 0.7."""

ERRORS = {
    "multi-task": ufm.training_error,
    "single-task": ufm.single_task_error,
    "zca": ufm.whitened_error,
    "standardised": ufm.standardised_error,
}
TRANSFORMS: dict[str, type[TargetTransform]] = {"zca": ZCA, "standardised": Standardize}


def targets_with(covariance: Tensor, samples: int, seed: int) -> Tensor:
    """(samples, n) normal targets whose covariance, with divisor M, is exactly this one."""
    rng = np.random.default_rng(seed)
    raw = torch.from_numpy(rng.normal(size=(samples, len(covariance))))
    eigenvalues, directions = torch.linalg.eigh(covariance)
    root = (directions * eigenvalues.sqrt()) @ directions.T
    return ZCA().fit(raw).transform(raw) @ root


def minimum_found(targets: Tensor, c: float, width: int, seed: int) -> tuple[float, Tensor]:
    """The objective and the predictions (M, n) that L-BFGS ends with, λ_H = λ_W = √c."""
    rng = np.random.default_rng(seed)
    samples, n = targets.shape
    shapes = {"weight": (n, width), "features": (samples, width), "bias": (n,)}
    start = {name: torch.from_numpy(rng.normal(size=shape)) for name, shape in shapes.items()}
    found = minimise(ufm.regression_objective(targets, math.sqrt(c), math.sqrt(c)), start)
    end = found.parameters
    return found.objective, end["features"] @ end["weight"].T + end["bias"]


def error_found(arm: str, targets: Tensor, c: float, width: int, seed: int) -> float:
    """The training error, in the targets' units, that L-BFGS ends with."""
    if arm == "single-task":
        outputs = [minimum_found(column, c, width, seed)[1] for column in targets.split(1, dim=1)]
        predictions = torch.cat(outputs, dim=1)
    elif arm == "multi-task":
        predictions = minimum_found(targets, c, width, seed)[1]
    else:
        transform = TRANSFORMS[arm]().fit(targets)
        mapped = minimum_found(transform.transform(targets), c, width, seed)[1]
        predictions = transform.inverse_transform(mapped)
    return ((predictions - targets).square().sum() / len(targets)).item()


def minimisation_rows(
    c_values: Iterable[float], samples: int, width: int, seed: int
) -> pd.DataFrame:
    """The worked instance: every arm's error by L-BFGS and by its closed form."""
    targets = targets_with(WORKED, samples, seed)
    rows = [
        {
            "arm": arm,
            "c": c,
            "seed": seed,
            "measured": error_found(arm, targets, c, width, seed),
            "expected": error(WORKED, c),
            "without": ufm.training_error(WORKED, c),
        }
        for c, (arm, error) in product(c_values, ERRORS.items())
    ]
    return pd.DataFrame(rows)


def objective_rows(c_values: Iterable[float], samples: int, width: int, seed: int) -> pd.DataFrame:
    """The worked instance: the regularised loss by L-BFGS and by its closed form."""
    targets = targets_with(WORKED, samples, seed)
    rows = [
        {
            "c": c,
            "seed": seed,
            "measured": minimum_found(targets, c, width, seed)[0],
            "expected": ufm.minimal_objective(WORKED, c),
        }
        for c in c_values
    ]
    return pd.DataFrame(rows)


def random_covariances(seed: int, count: int) -> Iterator[Tensor]:
    """Covariances of 2, 3 or 4 outputs, none of them diagonal."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        n = int(rng.integers(2, 5))
        factor = torch.from_numpy(rng.normal(size=(n, n + 1)))
        yield factor @ factor.T / n


def probes(covariance: Tensor) -> list[tuple[str, float]]:
    """Values of c below the smallest, between, and above the largest eigenvalue."""
    eigenvalues = torch.linalg.eigvalsh(covariance)
    low, high = eigenvalues[0].item(), eigenvalues[-1].item()
    inside = [("between", low * (high / low) ** share) for share in (0.25, 0.5, 0.75)]
    return [("below", low / 2), *inside, ("above", 1.2 * high)]


def task_rows(seed: int, count: int, factors: Sequence[float]) -> pd.DataFrame:
    """Multi- against single-task models with `factor` times the penalty product."""
    rows = []
    for number, covariance in enumerate(random_covariances(seed, count)):
        outputs = [variance.view(1, 1) for variance in covariance.diagonal()]
        for probe, (region, c) in enumerate(probes(covariance)):
            multi = ufm.training_error(covariance, c)
            loss = ufm.minimal_objective(covariance, c)
            before = 0.0
            for factor in factors:
                single = ufm.single_task_error(covariance, factor * c)
                single_loss = sum(ufm.minimal_objective(one, factor * c) for one in outputs)
                known = {"seed": seed, "covariance": number, "probe": probe, "region": region}
                gap = single / multi - 1
                measured = {"c": c, "factor": factor, "multi": multi, "single": single, "gap": gap}
                rises = {"gap_increase": gap - before, "loss_gap": single_loss / loss - 1}
                rows.append(known | measured | rises)
                before = gap
    return pd.DataFrame(rows)


def threshold_rows(seed: int, count: int, variances: Iterable[float]) -> pd.DataFrame:
    """Preprocessing or none, for random covariances rescaled to each average variance.

    `agreement` is log(error with / error without) times the sign that the rule predicts.
    """
    rows = []
    for number, raw in enumerate(random_covariances(seed, count)):
        for variance in variances:
            covariance = raw * (variance * len(raw) / raw.trace())
            scales = covariance.diagonal().sqrt()
            smallest = [covariance, covariance / scales.outer(scales)]
            edge = min(1.0, *(torch.linalg.eigvalsh(one)[0].item() for one in smallest))
            levels = [("small", edge / 2), *probes(covariance)]
            for (probe, (region, c)), arm in product(enumerate(levels), TRANSFORMS):
                known = {"seed": seed, "covariance": number, "probe": probe, "region": region}
                measured = {"arm": arm, "average_variance": variance, "c": c}
                error = ERRORS[arm](covariance, c)
                without = ufm.training_error(covariance, c)
                agreement = math.log(error / without) * math.copysign(1, variance - 1)
                rows.append(known | measured | {"error": error, "without": without,
                                                "agreement": agreement})  # fmt: skip
    return pd.DataFrame(rows)


def crossing_rows(
    c: float, variances: Sequence[float], samples: int, width: int, seed: int
) -> pd.DataFrame:
    """The average variance at which L-BFGS finds equal errors with and without preprocessing.

    The worked instance is rescaled; between the two scales around the change of sign, the
    logarithm of the errors' ratio is taken to be linear in that of the scale.
    """
    ratios: dict[str, list[float]] = {arm: [] for arm in TRANSFORMS}
    for variance in variances:
        targets = targets_with(WORKED * (variance / 0.7), samples, seed)
        without = error_found("multi-task", targets, c, width, seed)
        for arm, found in ratios.items():
            found.append(math.log(error_found(arm, targets, c, width, seed) / without))
    rows = [
        {"arm": arm, "c": c, "seed": seed, "crossing": _root(np.log(variances), found)}
        for arm, found in ratios.items()
    ]
    return pd.DataFrame(rows)


def _root(log_variances: Sequence[float], log_ratios: Sequence[float]) -> float:
    """Where rising log-ratios change their sign; NaN if they do not."""
    return math.exp(np.interp(0.0, log_ratios, log_variances, left=np.nan, right=np.nan))


def sign_map(c_values: Iterable[float], variances: Iterable[float]) -> pd.DataFrame:
    """Whether whitening raises the error of the worked instance, rescaled, for each c."""
    rows = []
    for c, variance in product(c_values, variances):
        covariance = WORKED * (variance / 0.7)
        difference = ufm.whitened_error(covariance, c) - ufm.training_error(covariance, c)
        tie = abs(difference) < 1e-12 * variance
        rows.append(
            {"c": c, "average_variance": variance, "sign": 0.0 if tie else np.sign(difference)}
        )
    return pd.DataFrame(rows)

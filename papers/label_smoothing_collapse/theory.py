"""Numerical minima and spectra of unconstrained feature models beside their closed forms."""

from __future__ import annotations

import math
from itertools import product

import pandas as pd

from common.collapse.class_statistics import class_statistics
from common.collapse.metrics import logits_to_etf, within_between_ratio
from common.collapse.ufm.cross_entropy import random_start
from common.collapse.ufm.hessian import (
    condition_number,
    data_fit_condition_number,
    hessian_spectrum,
    regularised_condition_number,
)
from common.collapse.ufm.lbfgs import Parameters, minimise
from papers.label_smoothing_collapse.settings import Setting

NORMS = {"weight": "weight_norm", "features": "feature_norm"}
"""By block, the attribute of the minimiser with the norm of one of its rows."""

CIFAR10 = Setting(10, 5_000, 512, weight_decay=1e-3, feature_decay=1e-6, bias_decay=1e-2)
OFFICIAL = {0.0: (3.4987, 1.5647), 0.05: (3.1278, 1.3988), 0.1: (2.9371, 1.3135)}
"""By smoothing, the norms ‖w_k‖ and ‖h_i‖ that the authors' plotting code has for it."""

TURN = 0.35
"""Below this δ + K s the closed form with L2 terms rises with δ, for every K of at least 3."""


def minimum(setting: Setting, smoothing: float, seed: int) -> pd.DataFrame:
    """One row: where L-BFGS ends from a random start, beside the closed form.

    `weight_norm` is the mean of ‖w_k‖, `features_norm` that of ‖h_i‖; the metrics of collapse are
    missing where the minimiser is 0.
    """
    exact = setting.minimiser(smoothing)
    start = random_start(setting.num_classes, setting.per_class, setting.num_features, seed)
    found = minimise(setting.objective(smoothing), start)
    row = {
        "smoothing": smoothing,
        "seed": seed,
        "zero": exact.collapsed,
        "objective": found.objective,
        "objective_formula": exact.objective,
        "logit_gap": _logit_gap(found.parameters, setting),
        "logit_gap_formula": exact.logit_gap,
        "largest_bias": found.parameters["bias"].abs().max().item(),
        "iterations": found.iterations,
    }
    for block, attribute in NORMS.items():
        row[f"{block}_norm"] = found.parameters[block].norm(dim=1).mean().item()
        row[f"{block}_norm_formula"] = getattr(exact, attribute)
    weight, features = found.parameters["weight"], found.parameters["features"]
    statistics = class_statistics(features, setting.labels, setting.num_classes)
    collapse = within_between_ratio(statistics), logits_to_etf(weight, statistics)
    for name, value in zip(("within_between_ratio", "logits_to_etf"), collapse, strict=True):
        row[name] = math.nan if exact.collapsed else value.item()
    return pd.DataFrame([row])


def _logit_gap(point: Parameters, setting: Setting) -> float:
    """The true class's logit minus the mean of the others, averaged over the samples."""
    logits = point["features"] @ point["weight"].mT + point["bias"]
    true = logits.gather(1, setting.labels[:, None])[:, 0]
    others = (logits.sum(1) - true) / (setting.num_classes - 1)
    return (true - others).mean().item()


def cifar10_norms() -> pd.DataFrame:
    """The closed form in the authors' setting for CIFAR-10, beside their numbers."""
    rows = []
    for smoothing, official in OFFICIAL.items():
        exact = CIFAR10.minimiser(smoothing)
        for (block, attribute), value in zip(NORMS.items(), official, strict=True):
            row = {"smoothing": smoothing, "block": block, "official": value}
            rows.append(row | {"norm": getattr(exact, attribute)})
    return pd.DataFrame(rows)


def norms(minima: pd.DataFrame) -> pd.DataFrame:
    """The norms of `minimum`'s rows, one row for each block."""
    keys = ["setting", "smoothing", "seed", "zero"]
    parts = []
    for block in NORMS:
        columns = {f"{block}_norm": "norm", f"{block}_norm_formula": "formula"}
        parts.append(minima[[*keys, *columns]].rename(columns=columns).assign(block=block))
    return pd.concat(parts, ignore_index=True)


def condition_numbers(setting: Setting, smoothing: float) -> pd.DataFrame:
    """Four rows: the block of W or of H, without or with its L2 term, at the minimiser.

    `applies` tells whether the closed form does: for H with its L2 term it supposes directions on
    which nothing but the penalty acts, and these exist only if d > K - 1. `below_turn` tells
    whether δ + K s is below `TURN`.
    """
    point = setting.minimiser(smoothing).parameters
    objectives = {False: setting.data_fit(smoothing), True: setting.objective(smoothing)}
    rows = []
    for block, l2 in product(NORMS, objectives):
        spectrum = hessian_spectrum(objectives[l2], point, [block])
        row = {"block": block, "l2": l2, "smoothing": smoothing}
        row["condition"] = condition_number(spectrum)
        row["formula"] = condition_formula(setting, smoothing, l2)
        row["applies"] = not l2 or block == "weight" or setting.num_features >= setting.num_classes
        row["below_turn"] = smoothing + setting.penalty < TURN
        rows.append(row)
    return pd.DataFrame(rows)


def condition_formula(setting: Setting, smoothing: float, l2: bool) -> float:
    """The closed form of the condition number, without or with the L2 term."""
    formula = regularised_condition_number if l2 else data_fit_condition_number
    return formula(
        setting.num_classes,
        setting.per_class,
        weight_decay=setting.weight_decay,
        feature_decay=setting.feature_decay,
        smoothing=smoothing,
    )


def changes(conditioning: pd.DataFrame) -> pd.DataFrame:
    """How the condition number changes up to each smoothing from the next smaller one."""
    ordered = conditioning.sort_values("smoothing")
    change = ordered.groupby(["setting", "block", "l2"]).condition.diff()
    found = ordered.assign(change=change).dropna(subset="change")
    return found.drop(columns=["condition", "formula"])


def joint_spectrum(setting: Setting, smoothing: float) -> pd.DataFrame:
    """One row: the Hessian of W and H together at the minimiser, with and without L2 terms."""
    point, blocks = setting.minimiser(smoothing).parameters, list(NORMS)
    bare = hessian_spectrum(setting.data_fit(smoothing), point, blocks)
    penalised = hessian_spectrum(setting.objective(smoothing), point, blocks)
    row = {
        "smoothing": smoothing,
        "condition_l2": condition_number(penalised),
        "zeros_l2": int((penalised.abs() < 1e-9 * penalised[-1]).sum()),
        "smallest_without_l2": bare[0].item(),
        "largest_without_l2": bare[-1].item(),
    }
    return pd.DataFrame([row])

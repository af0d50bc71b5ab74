"""The unconstrained feature model under cross-entropy, with or without label smoothing.

Classifier and last-layer features are free variables, each with an L2 penalty (arXiv 2402.03979):

    min over W, H, b of  mean_i CE(W h_i + b, y_i) + λ_W/2 ‖W‖² + λ_H/2 ‖H‖² + λ_b/2 ‖b‖²,

with N = K n features h_i of dimension d, balanced labels and targets (1 - δ) e_y + (δ/K) 1. The
penalty of H counts all N features and is not divided by N. The paper's theorem was not available
to us: the minimiser is derived here, and tests compare it with numerical minima.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from scipy.linalg import helmert
from torch import Tensor
from torch.nn.functional import cross_entropy

from common.collapse.ufm.lbfgs import Parameters


@dataclass(frozen=True)
class CrossEntropyMinimiser:
    """The global minimiser, unique up to rotations of the feature space.

    Attributes:
        logit_gap: a, the true class's logit minus any other's.
        weight_norm: ‖w_k‖, the same for every class.
        feature_norm: ‖h_i‖, the same for every sample.
        objective: the minimum.
        true_probability: softmax probability of the true class.
        weight: W, float64 (K, d). The bias is 0.
        class_features: the feature that all samples of a class share, float64 (K, d).
        per_class: n, samples of each class.
        collapsed: whether the penalties are so strong that W = 0 and H = 0.
    """

    logit_gap: float
    weight_norm: float
    feature_norm: float
    objective: float
    true_probability: float
    weight: Tensor
    class_features: Tensor
    per_class: int
    collapsed: bool

    @property
    def features(self) -> Tensor:
        """H, float64 (N, d), ordered as `balanced_labels`."""
        return self.class_features.repeat_interleave(self.per_class, 0)

    @property
    def parameters(self) -> dict[str, Tensor]:
        """`weight`, `features` and `bias`, as `cross_entropy_objective` takes them."""
        bias = torch.zeros(len(self.weight), dtype=torch.float64)
        return {"weight": self.weight, "features": self.features, "bias": bias}


def cross_entropy_minimiser(
    num_classes: int,
    per_class: int,
    num_features: int,
    *,
    weight_decay: float,
    feature_decay: float,
    smoothing: float = 0.0,
) -> CrossEntropyMinimiser:
    """The closed form of the global minimiser (derived here).

    With logits a (I - 11ᵀ/K) the penalty of W and H together is at least s (K - 1) a, where
    s = √(n λ_W λ_H), because ½ λ_W ‖W‖² + ½ λ_H ‖H‖² ≥ √(λ_W λ_H) ‖WHᵀ‖_*. What is left is convex
    in a, and its minimum gives every wrong class the probability δ/K + s. Where that would exceed
    1/K, the minimiser is 0. Any λ_b > 0 leaves the bias at 0.

    Args:
        num_classes: K, at least 2.
        per_class: n, samples of each class.
        num_features: d, at least K - 1.
        weight_decay: λ_W > 0.
        feature_decay: λ_H > 0, for each of the N = K n features.
        smoothing: δ in [0, 1), in torch's sense: the target of the true class is 1 - δ + δ/K.

    Raises:
        ValueError: an argument is outside its range.
    """
    K, n, d = num_classes, per_class, num_features
    _check(K, n, d, weight_decay, feature_decay, smoothing)
    s = math.sqrt(n * weight_decay * feature_decay)
    collapsed = smoothing + K * s >= 1
    wrong = 1 / K if collapsed else smoothing / K + s
    true = 1 - (K - 1) * wrong
    gap = 0.0 if collapsed else math.log(true / wrong)
    cross = -(1 - smoothing + smoothing / K) * math.log(true)
    cross -= (K - 1) * smoothing / K * math.log(wrong)
    ratio = (n * feature_decay / weight_decay) ** 0.25
    # Rows of a simplex ETF of side √(1 - 1/K), in the first K - 1 coordinates.
    etf = torch.zeros(K, d, dtype=torch.float64)
    etf[:, : K - 1] = torch.from_numpy(helmert(K).T)
    norm = math.sqrt((K - 1) / K * gap)
    return CrossEntropyMinimiser(
        logit_gap=gap,
        weight_norm=norm * ratio,
        feature_norm=norm / ratio,
        objective=cross + (K - 1) * s * gap,
        true_probability=true,
        weight=math.sqrt(gap) * ratio * etf,
        class_features=math.sqrt(gap) / ratio * etf,
        per_class=n,
        collapsed=collapsed,
    )


def _check(K: int, n: int, d: int, weight_decay: float, feature_decay: float, delta: float) -> None:
    if K < 2:
        raise ValueError(f"num_classes: {K} is fewer than 2")
    if n < 1:
        raise ValueError(f"per_class: {n} is fewer than 1")
    if d < K - 1:
        raise ValueError(f"num_features: {d} is fewer than K - 1 = {K - 1}, no room for the ETF")
    for name, decay in (("weight_decay", weight_decay), ("feature_decay", feature_decay)):
        if not 0 < decay < math.inf:
            raise ValueError(f"{name}: {decay} is not positive and finite")
    _check_smoothing(delta)


def _check_smoothing(delta: float) -> None:
    if not 0 <= delta < 1:
        raise ValueError(f"smoothing: {delta} is outside [0, 1)")


def cross_entropy_objective(
    parameters: Parameters,
    labels: Tensor,
    *,
    smoothing: float = 0.0,
    decays: Mapping[str, float] | None = None,
) -> Tensor:
    """Mean cross-entropy of the model plus decay/2 ‖·‖² for each block of parameters.

    Args:
        parameters: `weight` (..., K, d), `features` (..., N, d) and, if wanted, `bias` (..., K);
            leading dimensions are independent copies of the problem.
        labels: int64 (N,) with values 0 to K - 1, shared by all copies.
        smoothing: δ in [0, 1), in torch's sense.
        decays: by name of a block, its L2 penalty; without it the data-fit term alone.

    Returns:
        One value for each copy, shape (...).

    Raises:
        ValueError: an argument is outside its range, or shapes do not fit.
    """
    decays = decays or {}
    _check_smoothing(smoothing)
    _check_blocks(parameters, labels, decays)
    logits = parameters["features"] @ parameters["weight"].mT
    if "bias" in parameters:
        logits = logits + parameters["bias"].unsqueeze(-2)
    targets = labels.expand(logits.shape[:-1])
    losses = cross_entropy(
        logits.movedim(-1, 1), targets, label_smoothing=smoothing, reduction="none"
    )
    total = losses.mean(-1)
    for name, decay in decays.items():
        block = parameters[name]
        own = (-1,) if name == "bias" else (-2, -1)
        total = total + decay / 2 * block.square().sum(own)
    return total


def _check_blocks(parameters: Parameters, labels: Tensor, decays: Mapping[str, float]) -> None:
    missing = [name for name in ("weight", "features") if name not in parameters]
    if missing:
        raise ValueError(f"parameters: {missing} are missing")
    K, N = parameters["weight"].shape[-2], parameters["features"].shape[-2]
    if labels.shape != (N,):
        raise ValueError(f"labels: shape {tuple(labels.shape)} for {N} features")
    if labels.min() < 0 or labels.max() >= K:
        raise ValueError(f"labels: values outside 0 to {K - 1}")
    if unknown := sorted(set(decays) - set(parameters)):
        raise ValueError(f"decays: {unknown} are no parameters")
    if negative := [name for name, decay in decays.items() if not decay >= 0]:
        raise ValueError(f"decays: {negative} are negative")


def balanced_labels(num_classes: int, per_class: int) -> Tensor:
    """Labels 0, ..., 0, 1, ..., K - 1 with n of each, int64 (K n,)."""
    return torch.arange(num_classes).repeat_interleave(per_class)


def random_start(
    num_classes: int, per_class: int, num_features: int, seed: int, *, scale: float = 1.0
) -> dict[str, Tensor]:
    """Normal `weight` (K, d), `features` (K n, d) and `bias` (K,) in float64.

    Args:
        num_classes: K.
        per_class: n, samples of each class.
        num_features: d.
        seed: equal seeds give equal bits; PyTorch's own generator is left as it was.
        scale: standard deviation of every entry.
    """
    K, d = num_classes, num_features
    generator = torch.Generator().manual_seed(seed)
    shapes = {"weight": (K, d), "features": (K * per_class, d), "bias": (K,)}
    return {
        name: scale * torch.randn(shape, generator=generator, dtype=torch.float64)
        for name, shape in shapes.items()
    }

"""Curvature of the unconstrained feature model: measured spectra and closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.autograd.functional import hessian

from common.collapse.ufm.cross_entropy import CrossEntropyMinimiser, cross_entropy_minimiser
from common.collapse.ufm.lbfgs import Parameters


def hessian_spectrum(
    objective: Callable[[Parameters], Tensor], parameters: Parameters, blocks: Sequence[str]
) -> Tensor:
    """Eigenvalues of the Hessian with respect to some blocks, all others held fixed.

    Whether L2 terms count is up to the objective (`cross_entropy_objective` without `decays` has
    none). The Hessian is dense: memory grows with the square of the number of entries.

    Args:
        objective: maps named tensors to a scalar that autograd can differentiate twice.
        parameters: the point.
        blocks: names of the parameters that vary; several give their joint Hessian.

    Returns:
        As many eigenvalues as the blocks have entries, in rising order.

    Raises:
        ValueError: no block, or one that is no parameter.
    """
    if not blocks or (unknown := [name for name in blocks if name not in parameters]):
        known = ", ".join(parameters)
        raise ValueError(f"blocks: {unknown if blocks else 'none'} given; there are {known}")
    sizes = [parameters[name].numel() for name in blocks]

    def flat(entries: Tensor) -> Tensor:
        pieces = zip(blocks, entries.split(sizes), strict=True)
        return objective(
            {**parameters, **{name: piece.view_as(parameters[name]) for name, piece in pieces}}
        )

    point = torch.cat([parameters[name].detach().reshape(-1) for name in blocks])
    return torch.linalg.eigvalsh(hessian(flat, point, vectorize=True))


def condition_number(eigenvalues: Tensor, *, null_tolerance: float = 1e-9) -> float:
    """Largest eigenvalue over the smallest that is not 0.

    Null directions are left out: they belong to the model and not to the loss. A common shift of
    all logits changes nothing; without penalties, nor does any part of a classifier or a feature
    that is orthogonal to the other block; and rotating the feature space changes no term at all.

    Args:
        eigenvalues: of a positive semidefinite matrix, (m,).
        null_tolerance: eigenvalues below this share of the largest count as 0.

    Raises:
        ValueError: all eigenvalues are 0, or one is clearly negative.
    """
    floor = null_tolerance * eigenvalues.abs().max()
    if floor == 0:
        raise ValueError("eigenvalues: all are 0")
    if eigenvalues.min() < -floor:
        raise ValueError(f"eigenvalues: {eigenvalues.min():.3g} is negative, the form indefinite")
    positive = eigenvalues[eigenvalues > floor]
    return (positive.max() / positive.min()).item()


def data_fit_condition_number(
    num_classes: int,
    per_class: int,
    *,
    weight_decay: float,
    feature_decay: float,
    smoothing: float = 0.0,
) -> float:
    """Condition number, at the global minimiser, of the data-fit Hessian of W or of H.

    The L2 terms are left out of the Hessian (they still place the minimiser), null directions
    too. Derived here: the Hessian of one sample's loss in its logits, diag(p) - ppᵀ, has the
    eigenvalues p_j (K - 2 times), K p_y p_j and 0, and the ETF passes their ratio on to the block
    of H and to that of W: K p_y = K - (K - 1)(δ + √(K N λ_W λ_H)), which falls with δ. It is the
    reading under which arXiv 2402.03979 (conditioning theorem) holds.

    Args:
        num_classes: K, at least 3 (with 2 classes only one eigenvalue is left).
        per_class: n, samples of each class.
        weight_decay: λ_W > 0.
        feature_decay: λ_H > 0, for each of the N = K n features.
        smoothing: δ in [0, 1).

    Raises:
        ValueError: an argument is outside its range, or the minimiser is 0.
    """
    if num_classes < 3:
        raise ValueError(f"num_classes: {num_classes} is fewer than 3")
    minimiser = _nonzero(num_classes, per_class, weight_decay, feature_decay, smoothing)
    return num_classes * minimiser.true_probability


def regularised_condition_number(
    num_classes: int,
    per_class: int,
    *,
    weight_decay: float,
    feature_decay: float,
    smoothing: float = 0.0,
) -> float:
    """The same with the L2 term of the block included, over its whole space.

    Derived here: 1 + a p_y (1 + δ / (K s)) with s = √(n λ_W λ_H) and a the logit gap. The smallest
    eigenvalue is the penalty itself, along the directions that were null without it. For W there
    always are some; for H only if d > K - 1. As long as δ is well below 1 - K s it rises with δ.

    Args:
        num_classes: K, at least 2.
        per_class: n, samples of each class.
        weight_decay: λ_W > 0.
        feature_decay: λ_H > 0, for each of the N = K n features.
        smoothing: δ in [0, 1).

    Raises:
        ValueError: an argument is outside its range, or the minimiser is 0.
    """
    minimiser = _nonzero(num_classes, per_class, weight_decay, feature_decay, smoothing)
    s = math.sqrt(per_class * weight_decay * feature_decay)
    gain = minimiser.logit_gap * minimiser.true_probability
    return 1 + gain * (1 + smoothing / (num_classes * s))


def _nonzero(
    num_classes: int, per_class: int, weight_decay: float, feature_decay: float, smoothing: float
) -> CrossEntropyMinimiser:
    minimiser = cross_entropy_minimiser(
        num_classes,
        per_class,
        num_classes - 1,
        weight_decay=weight_decay,
        feature_decay=feature_decay,
        smoothing=smoothing,
    )
    if minimiser.collapsed:
        raise ValueError("weight_decay, feature_decay: so large that the minimiser is 0")
    return minimiser

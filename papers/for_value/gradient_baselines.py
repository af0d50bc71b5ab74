r"""Scores of training samples from per-sample gradients: what For-Value is compared with.

All of them need only inner products of gradients, per tensor of parameters, so they are computed
from Gram matrices instead of loops over pairs. Larger is more helpful everywhere; influences on
the loss, as DataInf and others print them, have the other sign.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

DAMPING = 0.1
"""Times the mean squared gradient of a tensor: DataInf's damping."""


@dataclass(frozen=True)
class Grams:
    """Inner products of gradients, per tensor of parameters.

    Attributes:
        cross: (L, n_val, n_train), validation against training samples.
        train: (L, n_train, n_train), among training samples.
        own: (L, n_val), squared norms of validation samples.
        sizes: (L,), parameters per tensor.
    """

    cross: Tensor
    train: Tensor
    own: Tensor
    sizes: Tensor

    def divided(self, validation: Tensor, training: Tensor) -> Grams:
        """Of gradients divided by these numbers, (n_val,) and (n_train,): means instead of sums.

        Raises:
            ValueError: a number is not positive.
        """
        for name, numbers in (("validation", validation), ("training", training)):
            if not bool((numbers > 0).all()):
                raise ValueError(f"{name}: every sample needs a token that counts")
        left, right = validation.to(self.cross), training.to(self.cross)
        return Grams(
            self.cross / (left[:, None] * right),
            self.train / (right[:, None] * right),
            self.own / left**2,
            self.sizes,
        )


def grams(validation: Mapping[str, Tensor], training: Mapping[str, Tensor]) -> Grams:
    """Inner products in float64 of gradients (n_val, P) and (n_train, P), per tensor.

    Raises:
        ValueError: both sides differ in their tensors, or there is none.
    """
    if not training or list(validation) != list(training):
        raise ValueError("validation: needs the same tensors as training, at least one")
    pairs = [(validation[name].double(), training[name].double()) for name in training]
    return Grams(
        torch.stack([v @ t.T for v, t in pairs]),
        torch.stack([t @ t.T for _, t in pairs]),
        torch.stack([v.square().sum(1) for v, _ in pairs]),
        torch.tensor([t.shape[1] for _, t in pairs]),
    )


def gradient_dot(products: Grams) -> Tensor:
    """Inner products of whole gradients, (n_val, n_train).

    TracIn (arXiv 2002.08484) at one checkpoint, without its learning rate; "Hessian-free" in
    arXiv 2310.00902.
    """
    return products.cross.sum(0)


def gradient_cosine(products: Grams) -> Tensor:
    """Cosines of whole gradients, (n_val, n_train); 0 where a gradient vanishes.

    LESS (arXiv 2402.04333) for plain gradients: without Adam's moments, checkpoints, projection.
    """
    norms = products.own.sum(0)[:, None] * _squares(products).sum(0)
    return _divided(products.cross.sum(0), norms.sqrt())


def datainf(products: Grams, damping: float = DAMPING) -> Tensor:
    r"""Influence by DataInf (arXiv 2310.00902, section 3), (n_val, n_train).

    The inverse of an average is replaced by the average of inverses, per tensor l:

    $$\sum_l v_l^\top \frac1n\sum_i (g_{il} g_{il}^\top + \lambda_l I)^{-1} g_{jl},\qquad
    \lambda_l = \frac{c}{n}\sum_i \mathrm{mean}(g_{il}^2).$$

    Args:
        products: of gradients of mean losses.
        damping: c; a tensor whose gradients vanish for all training samples adds nothing.
    """
    squares = _squares(products)
    level = _damping(products, damping)
    weights = _divided(torch.ones_like(squares), level[:, None] + squares)
    count = products.train.shape[1]
    correction = (products.cross * weights[:, None]) @ products.train / count
    return _divided(products.cross - correction, level[:, None, None]).sum(0)


def inverse_fisher(products: Grams, damping: float = DAMPING) -> Tensor:
    r"""Influence with the exact inverse that DataInf approximates, (n_val, n_train).

    $\sum_l v_l^\top (\frac1n\sum_i g_{il} g_{il}^\top + \lambda_l I)^{-1} g_{jl}$ by Woodbury's
    identity, with DataInf's damping.
    """
    level = _damping(products, damping)
    count = products.train.shape[1]
    identity = torch.eye(count, dtype=products.train.dtype, device=products.train.device)
    # Where all gradients vanish, any regular matrix serves: its right-hand side is zero.
    system = products.train + (count * level.where(level > 0, 1))[:, None, None] * identity
    correction = products.cross @ torch.linalg.solve(system, products.train)
    return _divided(products.cross - correction, level[:, None, None]).sum(0)


def _squares(products: Grams) -> Tensor:
    """Squared norms of training gradients, (L, n_train)."""
    return products.train.diagonal(dim1=1, dim2=2)


def _damping(products: Grams, damping: float) -> Tensor:
    """(L,), `damping` times the mean squared entry of the training gradients.

    Raises:
        ValueError: `damping` is not positive, or there is no training sample.
    """
    if damping <= 0:
        raise ValueError(f"damping: {damping} is not positive")
    if not products.train.shape[1]:
        raise ValueError("products: no training sample")
    return damping * _squares(products).mean(1) / products.sizes.to(products.train)


def _divided(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The quotient, 0 where the denominator is 0."""
    return torch.where(denominator > 0, numerator / denominator.where(denominator > 0, 1), 0)

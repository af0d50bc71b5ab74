"""Losses and penalties of S networks at once; every function returns one number per network."""

from __future__ import annotations

from torch import Tensor, nn


def smoothed_cross_entropy(logits: Tensor, labels: Tensor, smoothing: Tensor) -> Tensor:
    """Mean cross-entropy against labels smoothed by δ: y = (1 - δ) e_k + (δ/K) 1.

    The same as torch's `label_smoothing`, with a δ for each network (arXiv 2402.03979, eq. of y^δ).

    Args:
        logits: (S, B, K).
        labels: (S, B), int64.
        smoothing: δ, (S,).

    Returns:
        (S,).

    Raises:
        ValueError: a δ outside [0, 1).
    """
    if bool(((smoothing < 0) | (smoothing >= 1)).any()):
        raise ValueError(f"smoothing: {smoothing.tolist()} must lie in [0, 1)")
    log_probabilities = logits.log_softmax(-1)
    true = log_probabilities.gather(-1, labels.unsqueeze(-1)).squeeze(-1).mean(-1)
    mean = log_probabilities.mean((-2, -1))
    return -((1 - smoothing) * true + smoothing * mean)


def l2_penalty(network: nn.Module, decay: Tensor) -> Tensor:
    """½ λ ‖θ‖² over all parameters, λ of each network (S,): for SGD the same as weight decay."""
    squares = [p.square().reshape(len(decay), -1).sum(1) for p in network.parameters()]
    return 0.5 * decay * sum(squares, start=decay.new_zeros(decay.shape))


def feature_penalty(
    head: nn.Module,
    features: Tensor,
    samples: int,
    weight_decay: Tensor,
    feature_decay: Tensor,
    bias_decay: Tensor,
) -> Tensor:
    """½ λ_W ‖W‖² + ½ λ_b ‖b‖² + ½ λ_H ‖H‖², the penalties of the unconstrained feature model.

    Args:
        head: stacked linear layer, weight (S, K, d) and bias (S, K).
        features: of a batch, (S, B, d).
        samples: N. The batch stands for all: its sum is scaled by N/B.
        weight_decay: λ_W, (S,).
        feature_decay: λ_H, (S,), on the sum over all N samples and not on their mean.
        bias_decay: λ_b, (S,).

    Returns:
        (S,).
    """
    weight, bias = head.get_parameter("weight"), head.get_parameter("bias")
    norm = features.square().sum((-2, -1)) * (samples / features.shape[-2])
    return 0.5 * (
        weight_decay * weight.square().sum((-2, -1))
        + bias_decay * bias.square().sum(-1)
        + feature_decay * norm
    )

"""Many small networks trained as one: batched linear algebra instead of a loop over seeds.

A step of a small network spends most of its time on calling kernels, not in them. With a leading
dimension for the model, S networks cost about as many calls as one. The networks stay independent:
the gradient of the sum of their losses is each one's own gradient.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from common.collapse.networks import FeatureNetwork


class StackedLinear(nn.Module):
    """S linear layers on inputs of their own, (S, B, i) -> (S, B, o)."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
        self.bias = nn.Parameter(torch.stack(biases)) if biases else None

    def forward(self, inputs: Tensor) -> Tensor:
        if self.bias is None:
            return torch.bmm(inputs, self.weight.mT)
        return torch.baddbmm(self.bias.unsqueeze(1), inputs, self.weight.mT)


class StackedBatchNorm(nn.Module):
    """S batch normalisations, (S, B, d) -> (S, B, d), by one call with S·d channels."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, layers: Sequence[nn.BatchNorm1d]) -> None:
        super().__init__()
        self.momentum, self.eps = layers[0].momentum or 0.0, layers[0].eps
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        self.bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in layers]))
        for name in ("running_mean", "running_var"):
            self.register_buffer(name, torch.stack([getattr(layer, name) for layer in layers]))

    def forward(self, inputs: Tensor) -> Tensor:
        models, batch, width = inputs.shape
        channels = inputs.transpose(0, 1).reshape(batch, models * width)
        normalised = nn.functional.batch_norm(
            channels,
            self.running_mean.view(-1),
            self.running_var.view(-1),
            self.weight.view(-1),
            self.bias.view(-1),
            training=self.training,
            momentum=self.momentum,
            eps=self.eps,
        )
        return normalised.view(batch, models, width).transpose(0, 1)


class One(nn.Module):
    """A module of any kind as a stack of one, (1, B, ...) -> (1, B, ...)."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: Tensor) -> Tensor:
        return self.module(inputs[0])[None]


STACKABLE = {nn.Linear: StackedLinear, nn.BatchNorm1d: StackedBatchNorm}


def stack(networks: Sequence[nn.Module]) -> nn.Module:
    """One module that applies `networks[s]` to the s-th slice of its input, (S, B, ...).

    It starts from their parameters and shares none with them. A parameter's first dimension is
    the model. Layers between those in `STACKABLE` must have no parameters and act on the last
    dimension or on single entries.

    Raises:
        ValueError: no networks, or networks of different structure.
        TypeError: a layer with parameters that cannot be stacked (a convolution, say): such a
            network is trained `alone`.
    """
    if len({(type(network), str(network)) for network in networks}) != 1:
        raise ValueError(f"networks: {len(networks)} of different structure; one is needed")
    first = networks[0]
    if type(first) in STACKABLE:
        return STACKABLE[type(first)](networks)
    children = [name for name, _ in first.named_children()]
    if not children and any(True for _ in first.parameters()):
        raise TypeError(f"networks: {type(first).__name__} cannot be stacked; train it `alone`")
    stacked = copy.deepcopy(first)
    for name in children:
        setattr(stacked, name, stack([getattr(network, name) for network in networks]))
    return stacked


def alone(network: FeatureNetwork) -> FeatureNetwork:
    """A network of any kind as a stack of one; shares its backbone's parameters.

    The head's parameters have the dimension of the model, (1, K, d), as in every stack.
    """
    single = FeatureNetwork(One(network.backbone), network.head)
    single.head = stack([network.head])  # type: ignore[assignment]
    return single

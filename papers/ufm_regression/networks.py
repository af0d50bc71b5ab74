"""Full-batch training of many regression networks at once, until the loss stands still."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from common.collapse.losses import feature_penalty, l2_penalty
from common.collapse.networks import mlp
from common.collapse.stacked import stack
from common.collapse.ufm.regression import OutputReduction

Regime = Literal["weight_decay", "feature_penalty"]


@dataclass(frozen=True)
class Setting:
    """Architecture and optimiser, equal for all arms.

    Attributes:
        hidden: widths of the layers; no ReLU after the last one, whose outputs are the features.
        steps: full-batch steps of SGD with momentum.
        learning_rate: its step size.
        momentum: its momentum.
    """

    hidden: tuple[int, ...]
    steps: int
    learning_rate: float
    momentum: float = 0.9


@dataclass(frozen=True)
class Problem:
    """S regressions of equal size, one for each network.

    Attributes:
        inputs: (S, M, p).
        targets: (S, M, n).
        decay: the regularisation λ of each, (S,).
        seeds: of each initialisation.
    """

    inputs: Tensor
    targets: Tensor
    decay: Tensor
    seeds: Sequence[int]


def penalty(network: nn.Module, features: Tensor, decay: Tensor, regime: Regime) -> Tensor:
    """What each network pays for its size, (S,): all parameters, or features and last layer."""
    if regime == "weight_decay":
        return l2_penalty(network, decay)
    samples = features.shape[1]
    head = network.get_submodule("head")
    return feature_penalty(head, features, samples, decay, decay / samples, decay.new_zeros(()))


def data_term(outputs: Tensor, targets: Tensor, reduce_outputs: OutputReduction) -> Tensor:
    """½ the mean squared error over samples, summed or averaged over the outputs, (S,)."""
    squares = (outputs - targets).square().mean(1) / 2
    return squares.sum(-1) if reduce_outputs == "sum" else squares.mean(-1)


@contextmanager
def one_thread() -> Iterator[None]:
    """A second thread gains a fifth on free cores, and costs a factor of 50 on shared ones."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@one_thread()
def train(
    problem: Problem, regime: Regime, reduce_outputs: OutputReduction, setting: Setting
) -> tuple[nn.Module, Tensor]:
    """The trained networks, (S, B, p) -> outputs (S, B, n) and features.

    Also how far each regularised loss fell during the last tenth of the steps, relative to its
    end, (S,).
    """
    n, p = problem.targets.shape[-1], problem.inputs.shape[-1]
    network = stack(
        [
            mlp(p, setting.hidden, n, seed=seed, batch_norm=False, final_activation=False)
            for seed in problem.seeds
        ]
    ).to(problem.inputs.device)
    optimiser = torch.optim.SGD(
        network.parameters(), setting.learning_rate, setting.momentum, fused=True
    )
    earlier = torch.zeros_like(problem.decay)
    for step in range(setting.steps + 1):
        outputs, features = network(problem.inputs)
        losses = data_term(outputs, problem.targets, reduce_outputs)
        losses = losses + penalty(network, features, problem.decay, regime)
        if step == setting.steps - setting.steps // 10:
            earlier = losses.detach()
        if step < setting.steps:
            optimiser.zero_grad()
            losses.sum().backward()
            optimiser.step()
    return network, (earlier / losses.detach() - 1).abs().cpu()

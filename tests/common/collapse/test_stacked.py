"""A stack of networks is the networks, one by one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from common.collapse.networks import FeatureNetwork, mlp, resnet
from common.collapse.stacked import alone, stack


def networks(**options: bool) -> list[FeatureNetwork]:
    return [mlp(5, [7, 6], 3, seed=seed, **options).double() for seed in range(4)]


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("final_activation", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_outputs_and_gradients_are_those_of_the_single_networks(
    batch_norm: bool, final_activation: bool, training: bool
) -> None:
    singles = networks(batch_norm=batch_norm, final_activation=final_activation)
    stacked = stack(singles).train(training)
    inputs = torch.randn(4, 9, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    outputs, features = stacked(inputs)
    (outputs.square().sum() + features.sum()).backward()
    for s, single in enumerate(singles):
        own_outputs, own_features = single.train(training)(inputs[s])
        torch.testing.assert_close(outputs[s], own_outputs)
        torch.testing.assert_close(features[s], own_features)
        (own_outputs.square().sum() + own_features.sum()).backward()
        for (name, mine), theirs in zip(
            stacked.named_parameters(), single.parameters(), strict=True
        ):
            torch.testing.assert_close(mine.grad[s], theirs.grad, msg=name)


def test_running_statistics_are_those_of_the_single_networks() -> None:
    singles = networks()
    stacked = stack(singles)
    inputs = torch.randn(4, 9, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for _ in range(3):
        stacked(inputs)
        for s, single in enumerate(singles):
            single(inputs[s])
    for s, single in enumerate(singles):
        own = {k: v for k, v in single.named_buffers() if not k.endswith("tracked")}
        mine = dict(stacked.named_buffers())
        assert own.keys() == mine.keys()
        for name, buffer in own.items():
            torch.testing.assert_close(mine[name][s], buffer)


def test_a_stack_shares_nothing_with_the_networks() -> None:
    singles = networks()
    before = singles[0].head.weight.clone()
    with torch.no_grad():
        stack(singles).get_parameter("head.weight").zero_()
    assert torch.equal(singles[0].head.weight, before)


def test_networks_that_cannot_be_stacked_are_refused() -> None:
    with pytest.raises(ValueError, match="networks: 2 of different structure"):
        stack([mlp(5, [7], 3, seed=0), mlp(5, [8], 3, seed=0)])
    with pytest.raises(ValueError, match="networks: 0"):
        stack([])
    with pytest.raises(TypeError, match="Conv1d cannot be stacked; train it `alone`"):
        stack([nn.Conv1d(1, 1, 1)])


def test_equal_seeds_give_equal_networks_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first, second, other = (mlp(5, [7], 3, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(first.head.weight, second.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)


def test_a_network_without_hidden_layers_has_no_features() -> None:
    with pytest.raises(ValueError, match="hidden"):
        mlp(5, [], 3, seed=0)


@pytest.mark.parametrize(("depth", "width"), [(18, 512), (50, 2048)])
def test_resnet_for_small_images(depth: int, width: int) -> None:
    network = alone(resnet(depth, 3, 10, seed=0)).eval()
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert convolutions[0].kernel_size == (3, 3) and convolutions[0].stride == (1, 1)
    assert not any(isinstance(m, nn.MaxPool2d) for m in network.modules())
    with torch.no_grad():
        logits, features = network(torch.zeros(1, 2, 3, 32, 32))
    assert network.get_parameter("head.weight").shape == (1, 10, width)
    assert logits.shape == (1, 2, 10) and features.shape == (1, 2, width)
    with pytest.raises(ValueError, match="depth: 34"):
        resnet(34, 3, 10, seed=0)

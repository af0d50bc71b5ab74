from __future__ import annotations

import pytest
import torch
from torch import nn

from common.collapse.losses import feature_penalty, l2_penalty, smoothed_cross_entropy
from common.collapse.networks import mlp
from common.collapse.stacked import stack

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(3, 8, 5, generator=GENERATOR)
LABELS = torch.randint(5, (3, 8), generator=GENERATOR)


def test_smoothing_is_that_of_torch_for_each_network() -> None:
    smoothing = torch.tensor([0.0, 0.05, 0.4])
    losses = smoothed_cross_entropy(LOGITS, LABELS, smoothing)
    for s in range(3):
        expected = nn.functional.cross_entropy(
            LOGITS[s], LABELS[s], label_smoothing=float(smoothing[s])
        )
        torch.testing.assert_close(losses[s], expected)


@pytest.mark.parametrize("delta", [-0.1, 1.0])
def test_smoothing_outside_its_range_is_refused(delta: float) -> None:
    with pytest.raises(ValueError, match="smoothing"):
        smoothed_cross_entropy(LOGITS, LABELS, torch.tensor([0.0, delta, 0.0]))


def test_l2_penalty_is_the_weight_decay_of_sgd() -> None:
    decay = torch.tensor([0.0, 0.1, 0.3])
    singles = [mlp(4, [6], 5, seed=s) for s in range(3)]
    stacked = stack(singles)
    optimiser = torch.optim.SGD(stacked.parameters(), lr=0.5)
    l2_penalty(stacked, decay).sum().backward()
    optimiser.step()
    for s, single in enumerate(singles):
        own = torch.optim.SGD(single.parameters(), lr=0.5, weight_decay=float(decay[s]))
        for parameter in single.parameters():
            parameter.grad = torch.zeros_like(parameter)
        own.step()
        for mine, theirs in zip(stacked.parameters(), single.parameters(), strict=True):
            torch.testing.assert_close(mine[s], theirs)


def test_feature_penalty_scales_the_batch_to_all_samples() -> None:
    head = stack([nn.Linear(4, 5) for _ in range(2)])
    features = torch.randn(2, 8, 4, generator=GENERATOR)
    decays = (torch.tensor([0.1, 0.2]), torch.tensor([0.3, 0.4]), torch.tensor([0.5, 0.0]))
    penalties = feature_penalty(head, features, 80, *decays)
    for s in range(2):
        expected = (
            decays[0][s] / 2 * head.get_parameter("weight")[s].square().sum()
            + decays[1][s] / 2 * 10 * features[s].square().sum()
            + decays[2][s] / 2 * head.get_parameter("bias")[s].square().sum()
        )
        torch.testing.assert_close(penalties[s], expected)

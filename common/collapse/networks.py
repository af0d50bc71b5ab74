"""Networks whose last-layer features can be seen: a backbone and a linear classifier or head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class FeatureNetwork(nn.Module):
    """A backbone followed by one linear layer.

    Args:
        backbone: maps inputs to features, (B, ...) -> (B, d).
        head: maps features to logits or predictions, (B, d) -> (B, K).
    """

    def __init__(self, backbone: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs (B, K) and the features (B, d) that they are linear in."""
        features = self.backbone(inputs)
        return self.head(features), features


def mlp(
    inputs: int,
    hidden: Sequence[int],
    outputs: int,
    *,
    seed: int,
    batch_norm: bool = True,
    final_activation: bool = True,
) -> FeatureNetwork:
    """Fully connected ReLU network with PyTorch's default initialisation.

    Args:
        inputs: width of the input.
        hidden: widths of the hidden layers; the last is the number of features d.
        outputs: K.
        seed: of the initialisation; PyTorch's own generator is left as it was.
        batch_norm: normalise before each ReLU.
        final_activation: whether the last hidden layer is followed by normalisation and ReLU.

    Raises:
        ValueError: there is no hidden layer.
    """
    if not hidden:
        raise ValueError("hidden: at least one hidden layer, whose outputs are the features")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for i, (width_in, width) in enumerate(zip((inputs, *hidden), hidden, strict=False)):
            layers.append(nn.Linear(width_in, width))
            if i < len(hidden) - 1 or final_activation:
                layers += [nn.BatchNorm1d(width)] if batch_norm else []
                layers.append(nn.ReLU())
        return FeatureNetwork(nn.Sequential(*layers), nn.Linear(hidden[-1], outputs))


def resnet(depth: int, channels: int, outputs: int, *, seed: int) -> FeatureNetwork:
    """ResNet for small images: first convolution 3×3 with stride 1, no max-pooling.

    The same change as in arXiv 2402.03979's code, made to the ResNet of `transformers`.

    Args:
        depth: 18 or 50.
        channels: of the images.
        outputs: K.
        seed: of the initialisation.

    Raises:
        ValueError: another depth.
    """
    from transformers import ResNetConfig, ResNetModel

    shapes = {18: ("basic", (2, 2, 2, 2), 1), 50: ("bottleneck", (3, 4, 6, 3), 4)}
    if depth not in shapes:
        raise ValueError(f"depth: {depth}, but only {sorted(shapes)} are here")
    kind, depths, expansion = shapes[depth]
    widths = [expansion * width for width in (64, 128, 256, 512)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = ResNetConfig(
            num_channels=channels, layer_type=kind, depths=list(depths), hidden_sizes=widths
        )
        body: Any = ResNetModel(config)
        first = body.embedder.embedder
        first.convolution = nn.Conv2d(channels, 64, 3, stride=1, padding=1, bias=False)
        body.embedder.pooler = nn.Identity()
        return FeatureNetwork(_Pooled(body), nn.Linear(widths[-1], outputs))


class _Pooled(nn.Module):
    """The pooled features of a `transformers` vision model."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, pixels: Tensor) -> Tensor:
        return self.body(pixel_values=pixels).pooler_output.flatten(1)

"""What a stack of classifiers does on a data set: errors, losses and the geometry of collapse."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from common.collapse.class_statistics import ClassStatistics, ClassStatisticsAccumulator
from common.collapse.metrics import collapse_metrics
from common.images import LabelledImages

CHUNK = 1000
"""Images that are looked at together; bounds the memory that an evaluation takes."""


def outputs(network: nn.Module, data: LabelledImages, models: int) -> Iterator[tuple[Tensor, ...]]:
    """Logits (S, B, K), features (S, B, d) and labels (B,), chunk by chunk, all models alike."""
    for images, labels in zip(data.images.split(CHUNK), data.labels.split(CHUNK), strict=True):
        logits, features = network(images.expand(models, *images.shape))
        yield logits, features, labels


def predict(network: nn.Module, data: LabelledImages, models: int) -> Tensor:
    """Logits of all images, (S, N, K), float64, on the CPU."""
    with torch.no_grad():
        parts = [logits.double().cpu() for logits, _, _ in outputs(network, data, models)]
    return torch.cat(parts, dim=1)


def error_and_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Share of wrong classes and mean cross-entropy with the true labels, (S,) each.

    Args:
        logits: (S, N, K).
        labels: (N,).
    """
    wrong = (logits.argmax(-1) != labels).double().mean(-1)
    true = labels.expand(logits.shape[:2]).unsqueeze(-1)
    return wrong, -logits.log_softmax(-1).gather(-1, true).squeeze(-1).mean(-1)


def train_statistics(
    network: nn.Module, data: LabelledImages, models: int
) -> tuple[Tensor, ClassStatistics]:
    """Logits (S, N, K) and class statistics of the features, in one pass over the data."""
    accumulator = None
    parts = []
    for logits, features, labels in outputs(network, data, models):
        if accumulator is None:
            accumulator = ClassStatisticsAccumulator(
                data.num_classes, features.shape[-1], batch_shape=(models,), device=features.device
            )
        accumulator.update(features, labels)
        parts.append(logits.double())
    if accumulator is None:
        raise ValueError("data: no images")
    return torch.cat(parts, dim=1), accumulator.compute()


def evaluate_classifier(
    network: nn.Module, train: LabelledImages, test: LabelledImages, models: int
) -> dict[str, Tensor]:
    """Train and test error and loss, and the metrics of collapse on the training set, (S,) each.

    Args:
        network: in evaluation mode; (S, B, ...) -> logits, features, with a stacked `head`.
        train: the training set; without augmentation.
        test: the test set.
        models: S.
    """
    logits, statistics = train_statistics(network, train, models)
    train_error, train_loss = error_and_loss(logits, train.labels)
    test_error, test_loss = error_and_loss(predict(network, test, models), test.labels.cpu())
    errors = {
        "train_error": train_error,
        "train_loss": train_loss,
        "test_error": test_error,
        "test_loss": test_loss,
    }
    return errors | collapse_metrics(network.get_parameter("head.weight").detach(), statistics)

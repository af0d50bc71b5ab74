"""Looking at a stack of classifiers, against the plain way on one network."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from common.collapse import evaluation
from common.collapse.class_statistics import class_statistics
from common.collapse.evaluation import evaluate_classifier, predict
from common.collapse.metrics import collapse_metrics
from common.collapse.networks import mlp
from common.collapse.stacked import stack
from common.images import LabelledImages


def images(count: int, seed: int) -> LabelledImages:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    return LabelledImages(torch.randn(count, 4, generator=generator), labels, 3)


def test_as_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "CHUNK", 7)  # chunks that do not divide the data
    singles = [mlp(4, [8], 3, seed=seed).eval() for seed in range(3)]
    network, train, test = stack(singles).eval(), images(30, 0), images(20, 1)
    with torch.no_grad():
        together = evaluate_classifier(network, train, test, 3)
        for s, single in enumerate(singles):
            logits, features = single(train.images)
            statistics = class_statistics(features, train.labels, 3)
            expected = {
                k: v.item() for k, v in collapse_metrics(single.head.weight, statistics).items()
            }
            expected["train_error"] = (logits.argmax(1) != train.labels).double().mean().item()
            expected["train_loss"] = nn.functional.cross_entropy(logits, train.labels).item()
            logits, _ = single(test.images)
            expected["test_error"] = (logits.argmax(1) != test.labels).double().mean().item()
            expected["test_loss"] = nn.functional.cross_entropy(logits, test.labels).item()
            assert expected == pytest.approx(
                {k: v[s].item() for k, v in together.items()}, rel=1e-4
            )
            torch.testing.assert_close(predict(network, test, 3)[s], logits.double())

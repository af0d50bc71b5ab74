"""Many networks trained at once: the same as one by one, and the same when interrupted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from common.collapse import training
from common.collapse.losses import smoothed_cross_entropy
from common.collapse.networks import mlp
from common.collapse.stacked import stack
from common.collapse.training import Schedule, log_spaced, train
from common.images import LabelledImages

SCHEDULE = Schedule(epochs=6, batch_size=16, learning_rate=0.1, milestones=(3,))


def images() -> LabelledImages:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    pixels = torch.randn(60, 4, generator=generator) + torch.eye(3, 4)[labels]
    return LabelledImages(pixels, labels, 3)


def run(seeds: list[int], epochs_seen: list[int] | None = None) -> tuple[nn.Module, pd.DataFrame]:
    network, data = stack([mlp(4, [8], 3, seed=seed) for seed in seeds]), images()
    smoothing = torch.full((len(seeds),), 0.05)

    def evaluate(network: nn.Module) -> dict[str, Tensor]:
        if epochs_seen is not None:
            epochs_seen.append(1)
        assert not network.training
        logits, _ = network(data.images.expand(len(seeds), -1, -1))
        return {"error": (logits.argmax(-1) != data.labels).double().mean(-1)}

    history = train(
        "toy",
        network,
        data,
        lambda logits, features, labels: smoothed_cross_entropy(logits, labels, smoothing),
        SCHEDULE,
        seeds=seeds,
        evaluate=evaluate,
        evaluate_at=[0, 2, 4],
    )
    return network, history


def test_together_as_one_by_one() -> None:
    together, history = run([3, 5, 3])
    assert history.shape == (12, 3) and sorted(history.epoch.unique()) == [0, 2, 4, 6]
    for s, seed in enumerate([3, 5, 3]):
        alone, own = run([seed])
        for mine, theirs in zip(together.parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(mine[s], theirs[0], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(history[history.model == s].error, own.error)
    assert history[history.epoch == 6].error.mean() < history[history.epoch == 0].error.mean()


def test_as_plain_pytorch() -> None:
    """The same batches through torch's own SGD, scheduler and loss."""
    together, _ = run([3])
    network, data = mlp(4, [8], 3, seed=3), images()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimiser, [3])
    for epoch in range(1, 7):
        order = torch.from_numpy(np.random.default_rng([3, epoch]).permutation(60))
        for batch in order[:48].split(16):
            loss = nn.functional.cross_entropy(
                network(data.images[batch])[0], data.labels[batch], label_smoothing=0.05
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        scheduler.step()
    for mine, theirs in zip(together.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(mine[0], theirs, rtol=1e-4, atol=1e-6)


def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, history = run([3, 5])
    monkeypatch.setenv("CLAIMBOOK_CHECKPOINTS", str(tmp_path))
    epoch = training._epoch
    passed: list[int] = []

    def interrupted(*args: object) -> None:
        passed.append(1)
        if len(passed) == 4:
            raise KeyboardInterrupt
        epoch(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(training, "_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run([3, 5])
    again, resumed = run([3, 5])
    assert len(passed) == 3 + 1 + 4, "two epochs were kept; the third, the fourth … run again"
    pd.testing.assert_frame_equal(resumed, history, check_exact=True)
    assert all(map(torch.equal, again.state_dict().values(), whole.state_dict().values()))

    looked: list[int] = []
    finished, same = run([3, 5], looked)
    assert not looked and len(passed) == 8, "a finished run is only read"
    pd.testing.assert_frame_equal(same, history, check_exact=True)
    assert all(map(torch.equal, finished.state_dict().values(), whole.state_dict().values()))


def test_divergence_names_the_models() -> None:
    data = images()
    network = stack([mlp(4, [8], 3, seed=seed) for seed in (0, 1)])
    scale = torch.tensor([1.0, float("nan")])
    with pytest.raises(FloatingPointError, match=r"models \[1\] is not finite"):
        train(
            "bad",
            network,
            data,
            lambda logits, features, labels: scale * logits.square().mean((1, 2)),
            SCHEDULE,
            seeds=[0, 1],
            evaluate=lambda network: {"nothing": torch.zeros(2)},
            evaluate_at=[],
        )


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size: 100 of 60"):
        train(
            "bad",
            stack([mlp(4, [8], 3, seed=0)]),
            images(),
            lambda logits, features, labels: logits.mean((1, 2)),
            Schedule(1, 100, 0.1),
            seeds=[0],
            evaluate=lambda network: {},
            evaluate_at=[],
        )


def test_log_spaced() -> None:
    assert log_spaced(10, per_decade=3) == [0, 1, 2, 5, 10]
    epochs = log_spaced(800)
    assert epochs[0] == 0 and epochs[-1] == 800 and epochs == sorted(set(epochs))
    assert len(epochs) < 60
    assert log_spaced(1) == [0, 1]

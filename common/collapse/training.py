"""Training many networks at once, looking at them at log-spaced epochs, surviving interruptions."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    import pandas as pd

    from common.images import LabelledImages

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Logits (S, B, K), features (S, B, d) and labels (S, B) -> losses (S,)."""

Evaluation = Callable[[nn.Module], Mapping[str, Tensor]]
"""Looks at the stack of networks: metrics by name, each (S,)."""


@dataclass(frozen=True)
class Schedule:
    """Stochastic gradient descent with momentum and a step-wise learning rate.

    Attributes:
        epochs: passes over the training set.
        batch_size: an incomplete last batch is skipped.
        learning_rate: at the start.
        momentum: of SGD.
        milestones: epochs after which the learning rate is multiplied by `factor`.
        factor: see `milestones`.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float = 0.9
    milestones: tuple[int, ...] = ()
    factor: float = 0.1


def log_spaced(last: int, per_decade: int = 20) -> list[int]:
    """0, 1, … `last`, with about `per_decade` whole numbers for each power of ten."""
    points = int(np.ceil(np.log10(max(last, 2)) * per_decade)) + 1
    return sorted({0, last, *np.geomspace(1, max(last, 1), points).round().astype(int).tolist()})


def train(
    name: str,
    network: nn.Module,
    data: LabelledImages,
    loss: Loss,
    schedule: Schedule,
    *,
    seeds: Sequence[int],
    evaluate: Evaluation,
    evaluate_at: Sequence[int],
) -> pd.DataFrame:
    """Train a stack of networks in place.

    Model s sees the images in an order that follows from `seeds[s]` and the epoch alone, so models
    with equal seeds see the same batches, and a resumed run is the same run: after every
    evaluation its state is kept in the runner's checkpoint folder, until the notebook is through.

    Args:
        name: tells the trainings of one notebook apart.
        network: (S, B, ...) -> logits (S, B, K), features (S, B, d); see `stacked.stack`.
        data: training set, on the device of the network.
        loss: one number per model; their sum is differentiated.
        schedule: how long and how fast.
        seeds: of the order of the data, one for each model.
        evaluate: called in evaluation mode, without gradients.
        evaluate_at: epochs after which `evaluate` is called; 0 is before training. The last epoch
            is always looked at.

    Returns:
        One row per model and evaluation: columns `model`, `epoch`, and the metrics.

    Raises:
        ValueError: the batch is larger than the training set.
        FloatingPointError: a loss is no longer finite; names the models.
    """
    from tqdm import tqdm

    if schedule.batch_size > len(data):
        raise ValueError(f"batch_size: {schedule.batch_size} of {len(data)} training images")
    optimiser = torch.optim.SGD(
        network.parameters(), lr=schedule.learning_rate, momentum=schedule.momentum, fused=True
    )
    run = _Run(name, network, optimiser)
    looks = {*evaluate_at, schedule.epochs}
    for epoch in tqdm(range(run.epoch, schedule.epochs + 1), desc=name, initial=run.epoch):
        if epoch:
            passed = sum(epoch > milestone for milestone in schedule.milestones)
            optimiser.param_groups[0]["lr"] = schedule.learning_rate * schedule.factor**passed
            _epoch(network, optimiser, data, loss, _batches(seeds, epoch, len(data), schedule))
        if epoch in looks:
            run.note(epoch, _evaluated(network, evaluate))
    network.eval()
    return run.history()


def _batches(seeds: Sequence[int], epoch: int, samples: int, schedule: Schedule) -> list[Tensor]:
    """Numbers of the images of each batch, (S, B); equal seeds give equal numbers."""
    orders = {s: np.random.default_rng([s, epoch]).permutation(samples) for s in set(seeds)}
    order = torch.from_numpy(np.stack([orders[seed] for seed in seeds]))
    size = schedule.batch_size
    return list(order[:, : samples // size * size].split(size, dim=1))


def _epoch(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    data: LabelledImages,
    loss: Loss,
    batches: Sequence[Tensor],
) -> None:
    """One pass over the data."""
    network.train()
    for batch in batches:
        numbers = batch.to(data.labels.device)
        labels = data.labels[numbers]
        logits, features = network(data.images[numbers])
        losses = loss(logits, features, labels)
        optimiser.zero_grad()
        losses.sum().backward()
        optimiser.step()
    if not bool(losses.isfinite().all()):
        models = (~losses.isfinite()).nonzero().flatten().tolist()
        raise FloatingPointError(f"the loss of the models {models} is not finite any more")


@torch.no_grad()
def _evaluated(network: nn.Module, evaluate: Evaluation) -> dict[str, Tensor]:
    network.eval()
    return {name: metric.detach().double().cpu() for name, metric in evaluate(network).items()}


class _Run:
    """The state of a training: what was measured, and everything that it needs to go on."""

    def __init__(self, name: str, network: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        folder = os.environ.get("CLAIMBOOK_CHECKPOINTS")
        self.file = Path(folder) / f"{name}.safetensors" if folder else None
        self.network, self.optimiser = network, optimiser
        self.epoch = 0
        self.names: list[str] = []
        self.epochs: list[int] = []
        self.measured: list[Tensor] = []
        if self.file and self.file.exists():
            from safetensors import SafetensorError

            with suppress(SafetensorError):  # damaged: train from the start
                self._load(self.file)

    def note(self, epoch: int, metrics: Mapping[str, Tensor]) -> None:
        """Keep what was measured after an epoch, and save the state."""
        self.names = list(metrics)
        self.epochs.append(epoch)
        self.measured.append(torch.stack([metrics[name] for name in self.names]))
        if self.file:
            self._save(self.file)

    def history(self) -> pd.DataFrame:
        """One row per model and evaluation."""
        import pandas as pd

        measured = torch.stack(self.measured).permute(0, 2, 1)  # evaluation, model, metric
        evaluations, models, _ = measured.shape
        frame = pd.DataFrame(measured.flatten(0, 1).numpy(), columns=self.names)
        frame.insert(0, "epoch", np.repeat(self.epochs, models))
        frame.insert(0, "model", np.tile(np.arange(models), evaluations))
        return frame

    def _save(self, file: Path) -> None:
        from safetensors.torch import save_file

        tensors = {f"network.{k}": v.contiguous() for k, v in self.network.state_dict().items()}
        for i, state in self.optimiser.state_dict()["state"].items():
            if state["momentum_buffer"] is not None:
                tensors[f"momentum.{i}"] = state["momentum_buffer"].contiguous()
        tensors["measured"] = torch.stack(self.measured)
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".partial")
        told = {"names": json.dumps(self.names), "epochs": json.dumps(self.epochs)}
        save_file(tensors, partial, metadata=told)
        os.replace(partial, file)

    def _load(self, file: Path) -> None:
        from safetensors import safe_open

        with safe_open(file, "pt") as saved:
            told = saved.metadata()
            tensors = {key: saved.get_tensor(key) for key in saved.keys()}  # noqa: SIM118
        self.names, self.epochs = json.loads(told["names"]), json.loads(told["epochs"])
        self.measured = list(tensors.pop("measured"))
        self.epoch = self.epochs[-1] + 1
        weights = {k.removeprefix("network."): v for k, v in tensors.items() if "network." in k}
        self.network.load_state_dict(weights)
        state = self.optimiser.state_dict()
        state["state"] = {
            int(key.removeprefix("momentum.")): {"momentum_buffer": value}
            for key, value in tensors.items()
            if key.startswith("momentum.")
        }
        self.optimiser.load_state_dict(state)

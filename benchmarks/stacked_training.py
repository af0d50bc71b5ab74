"""Steps per second of S small networks trained as one, against one after another.

The rival trains each network alone with the same loop on a plain `torch.nn` network, torch's
cross-entropy and torch's SGD with its own weight decay. Both sides see random data; medians over
repeats in one run, and the ratio that counts: how many separate trainings fit in the time of the
stack (16 would be perfect for 16 networks; 4 is asked for).

    python -m benchmarks.stacked_training --models 16 --width 64
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import nn

from common.collapse.losses import l2_penalty, smoothed_cross_entropy
from common.collapse.networks import mlp
from common.collapse.stacked import stack
from common.collapse.training import Schedule, train
from common.images import LabelledImages

CLASSES, SMOOTHING, DECAY = 10, 0.05, 5e-4


def together(data: LabelledImages, width: int, models: int, plan: Schedule) -> None:
    """`common.collapse.training.train` on a stack."""
    network = stack(
        [mlp(data.images.shape[1], [width, width], CLASSES, seed=s) for s in range(models)]
    )
    smoothing, decay = torch.full((models,), SMOOTHING), torch.full((models,), DECAY)
    train(
        "together",
        network,
        data,
        lambda logits, _, labels: (
            smoothed_cross_entropy(logits, labels, smoothing) + l2_penalty(network, decay)
        ),
        plan,
        seeds=range(models),
        evaluate=lambda network: {"nothing": torch.zeros(models)},
        evaluate_at=[],
    )


def one(data: LabelledImages, width: int, plan: Schedule, seed: int) -> None:
    """The obvious way."""
    network = mlp(data.images.shape[1], [width, width], CLASSES, seed=seed)
    optimiser = torch.optim.SGD(
        network.parameters(), lr=plan.learning_rate, momentum=plan.momentum, weight_decay=DECAY
    )
    generator = torch.Generator().manual_seed(seed)
    for _ in range(plan.epochs):
        order = torch.randperm(len(data), generator=generator)
        for batch in order[: len(data) // plan.batch_size * plan.batch_size].split(plan.batch_size):
            logits, _ = network(data.images[batch])
            loss = nn.functional.cross_entropy(
                logits, data.labels[batch], label_smoothing=SMOOTHING
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()


def seconds(work: Callable[[], None]) -> float:
    """Wall-clock time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Parse the command line and print one row per number of networks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--models", type=int, nargs="+", default=[4, 16, 64], help="S")
    parser.add_argument("--width", type=int, default=64, help="of both hidden layers")
    parser.add_argument("--inputs", type=int, default=64)
    parser.add_argument("--samples", type=int, default=1300)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()

    generator = torch.Generator().manual_seed(0)
    images = torch.randn(options.samples, options.inputs, generator=generator)
    labels = torch.randint(CLASSES, (options.samples,), generator=generator)
    data = LabelledImages(images, labels, CLASSES)
    plan = Schedule(options.epochs, options.batch_size, learning_rate=0.05)
    one(data, options.width, plan, 0)
    print(f"{torch.get_num_threads()} threads, width {options.width}, batch {options.batch_size}")
    print(f"{'S':>4} {'together':>10} {'one':>10} {'S times one / together':>24}")
    for models in options.models:
        pairs = [
            (
                seconds(lambda: together(data, options.width, models, plan)),  # noqa: B023
                seconds(lambda: one(data, options.width, plan, 0)),
            )
            for _ in range(options.repeats)
        ]
        ratio = median(models * single / stacked for stacked, single in pairs)
        stacked, single = (median(times) for times in zip(*pairs, strict=True))
        print(f"{models:>4} {stacked:>8.2f} s {single:>8.3f} s {ratio:>24.1f}")


if __name__ == "__main__":
    main()

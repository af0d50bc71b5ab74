"""Scores of training texts from one forward pass, against scores from gradients.

Every way scores the same texts for the same validation texts, whose representations are made
beforehand; what is measured is the training side, representation and inner products.

* `for_value`: states and errors, no gradient (arXiv 2508.10180); texts of like length together.
* `lora, batched`: every sample's gradient of adapters (rank 8, queries and values) from one
  batched pass, a sum over tokens of outer products; papers/for_value/lora_gradients.py.
* `lora, one by one`: the same gradients as official implementations of DataInf make them, a
  backward pass per sample.
* `full, one by one`: gradients of all parameters (TracIn).

The ways take turns; processor seconds are medians over turns.

    python -m benchmarks.for_value --threads 1
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from common.lm.gradient_scores import scores
from common.lm.output_gradients import output_gradients
from papers.for_value.lora_gradients import Adapters, attach, sample_gradients, token_losses
from papers.for_value.models import scorer, vocabulary_of
from papers.for_value.tasks import TASKS, draw
from papers.for_value.texts import Batch, encode

TARGET = 10.0  # times faster than gradients sample by sample
BATCH = 16


def forward_only(model: Any, train: Batch, val: Batch, ids: Tensor) -> Callable[[], Tensor]:
    """States and errors."""

    def represent(batch: Batch) -> Any:
        labels = batch.labels()
        return output_gradients(
            model, batch.input_ids, batch.attention_mask, labels, vocabulary=ids, batch_size=BATCH
        )

    target = represent(val)
    return lambda: scores(target, represent(train)).mean(0)


def batched_adapters(model: Any, train: Batch, val: Batch) -> Callable[[], Tensor]:
    """Gradients of adapters, many samples per pass."""

    def represent(batch: Batch) -> Tensor:
        parts = []
        order = batch.attention_mask.sum(1).argsort(descending=True, stable=True)
        for rows in order.split(BATCH):
            found = sample_gradients(model, batch.rows(rows))["full"]
            parts.append(torch.cat(list(found.values()), 1))
        return torch.cat(parts)[order.argsort()]

    target = represent(val).mean(0)
    return lambda: represent(train) @ target


def one_by_one(model: Any, train: Batch, val: Batch) -> Callable[[], Tensor]:
    """Gradients of whatever is trainable, a backward pass per sample."""
    parameters = [p for p in model.parameters() if p.requires_grad]

    def gradient(batch: Batch, row: int) -> tuple[Tensor, ...]:
        return torch.autograd.grad(token_losses(model, batch.rows([row])).sum(), parameters)

    target = [part / len(val) for part in gradient(val, 0)]
    for row in range(1, len(val)):
        for whole, part in zip(target, gradient(val, row), strict=True):
            whole += part / len(val)

    def one(row: int) -> Tensor:
        pairs = zip(target, gradient(train, row), strict=True)
        return torch.stack([(a * b).sum() for a, b in pairs]).sum()

    return lambda: torch.stack([one(row) for row in range(len(train))])


def durations(ways: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median processor seconds of each way, the ways taking turns; the first turn warms up."""
    measured: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            started = time.process_time()
            way()
            if turn:
                measured[name].append(time.process_time() - started)
    return {name: float(np.median(seconds)) for name, seconds in measured.items()}


def print_costs(model_name: str, task: str, per_class: int, repeats: int) -> None:
    """One table of processor seconds per text and ratios."""
    rng = np.random.default_rng(0)
    samples, judges = draw(task, per_class, rng), draw(task, 1, rng)[::3]
    model, tokenizer = scorer(model_name, [*samples, *judges], 0)
    train, val = encode(tokenizer, samples), encode(tokenizer, judges)
    adapted = attach(deepcopy(model), Adapters(), 0)
    ids = vocabulary_of(tokenizer, samples, judges)
    ways = {
        "for_value": forward_only(model, train, val, ids),
        "lora, batched": batched_adapters(adapted, train, val),
        "lora, one by one": one_by_one(adapted, train, val),
        "full, one by one": one_by_one(model, train, val),
    }
    took = durations(ways, repeats)
    tokens = float(train.attention_mask.sum(1).float().mean())
    print(f"\n{model_name}, task {task}: {len(train)} texts of {tokens:.0f} tokens")
    print(f"{'way':20}{'ms per text':>14}{'times For-Value':>18}")
    for name, seconds in took.items():
        ratio = seconds / took["for_value"]
        verdict = ""
        if "one by one" in name:
            verdict = f"   {'meets' if ratio >= TARGET else 'misses'} the target of {TARGET:g}"
        print(f"{name:20}{1e3 * seconds / len(train):14.1f}{ratio:18.2f}{verdict}", flush=True)


def main() -> None:
    """Parse the command line and print one table per task."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", default="smollm2-135m-instruct", help="or small, or a hub id")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=["math"])
    parser.add_argument("--per-class", type=int, default=2, help="texts of each of ten classes")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each way")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with threadpool_limits(arguments.threads):
        for task in arguments.tasks:
            print_costs(arguments.model, task, arguments.per_class, arguments.repeats)


if __name__ == "__main__":
    main()

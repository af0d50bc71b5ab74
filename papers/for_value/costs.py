"""What scores cost, counted: numbers that do not vary from run to run, as seconds do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from common.lm.output_gradients import output_gradients
from papers.for_value.lora_gradients import Adapters, attach, sample_gradients, token_losses
from papers.for_value.models import scorer, vocabulary_of
from papers.for_value.tasks import draw
from papers.for_value.texts import Batch, encode


class Calls(TorchDispatchMode):
    """Counts calls of tensor operations: what a device has to be told, whatever their size."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.number += 1
        return func(*args, **(kwargs or {}))


def counted(run: Callable[[], Any]) -> tuple[int, int]:
    """Floating-point operations of matrix products, and calls of tensor operations."""
    with FlopCounterMode(display=False) as flops, Calls() as calls:
        run()
    return flops.get_total_flops(), calls.number


def measure(model_name: str, per_class: int, batch_sizes: list[int], seed: int) -> pd.DataFrame:
    """Operations, calls and stored numbers per sample, by method and batch size.

    `ratio` is in units of For-Value with the largest batch; `calls_share` in units of the same
    method with single samples.
    """
    samples = draw("math", per_class, np.random.default_rng(seed))
    model, tokenizer = scorer(model_name, samples, seed)
    # Attention as plain matrix products, which the counter sees.
    model.set_attn_implementation("eager")
    batch, vocabulary = encode(tokenizer, samples), vocabulary_of(tokenizer, samples)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    tokens, width = int(batch.labels().sum()), model.get_output_embeddings().in_features
    stored = {"for_value": tokens * (width + len(vocabulary)) / len(batch), "full": parameters}
    found = {
        ("for_value", size): counted(partial(_for_value, model, batch, vocabulary, size))
        for size in batch_sizes
    }
    found["full", 1] = counted(partial(_full, model, batch))
    adapted = attach(model, Adapters(), seed)
    stored["lora"] = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    for size in batch_sizes:
        found["lora", size] = counted(partial(_lora, adapted, batch, size))
    rows = [
        {
            "method": method,
            "batch_size": size,
            "operations": operations / len(batch),
            "calls": calls / len(batch),
            "stored": stored[method],
        }
        for (method, size), (operations, calls) in found.items()
    ]
    table = pd.DataFrame(rows)
    ours = table[(table.method == "for_value") & (table.batch_size == max(batch_sizes))]
    single = table[table.batch_size == 1].set_index("method").calls
    table["ratio"] = table.operations / ours.operations.iloc[0]
    table["calls_share"] = table.calls / table.method.map(single)
    return table


def _for_value(model: Any, batch: Batch, vocabulary: torch.Tensor, size: int) -> None:
    output_gradients(
        model,
        batch.input_ids,
        batch.attention_mask,
        batch.labels(),
        vocabulary=vocabulary,
        batch_size=size,
    )


def _full(model: Any, batch: Batch) -> None:
    """Gradients with respect to all parameters, sample by sample."""
    for row in range(len(batch)):
        model.zero_grad()
        token_losses(model, batch.rows([row])).sum().backward()
    model.zero_grad()


def _lora(model: Any, batch: Batch, size: int) -> None:
    """Gradients with respect to the adapters, by batches of some samples."""
    for rows in torch.arange(len(batch)).split(size):
        sample_gradients(model, batch.rows(rows))

"""Supervised fine-tuning in a plain loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    import pandas as pd

IGNORED = -100  # the label that cross-entropy leaves out


@dataclass(frozen=True)
class Example:
    """A prompt and the completion to learn.

    Attributes:
        prompt_ids: token ids that are only read.
        completion_ids: token ids; the end-of-sequence token is one of them where it is to be
            learned.
        mask: 1 for completion tokens that are learned, 0 for those that are only read
            (observations); all are learned where it is absent.
    """

    prompt_ids: list[int]
    completion_ids: list[int]
    mask: list[int] | None = None

    def __post_init__(self) -> None:
        if self.mask is not None and len(self.mask) != len(self.completion_ids):
            raise ValueError("mask: needs one entry per completion token")

    @property
    def labels(self) -> list[int]:
        """One per token of prompt and completion; -100 where nothing is learned."""
        mask = self.mask or [1] * len(self.completion_ids)
        learned = [
            token if kept else IGNORED
            for token, kept in zip(self.completion_ids, mask, strict=True)
        ]
        return [IGNORED] * len(self.prompt_ids) + learned


def fine_tune(
    model: Any,
    examples: Sequence[Example],
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    warmup_steps: int = 20,
    max_grad_norm: float = 1.0,
    seed: int,
) -> pd.DataFrame:
    """Train a causal language model in place; the loss is the mean over a batch's learned tokens.

    AdamW without weight decay; the learning rate rises linearly over `warmup_steps` and falls
    linearly to zero at the end. Every example is seen once before any is seen twice. A trainer
    class would take longer for its bookkeeping than a small decoder for its steps. Equal seeds
    give equal weights if the model has no dropout.

    Args:
        model: a causal language model of transformers.
        examples: at least one.
        steps: optimiser steps.
        batch_size: examples per step.
        learning_rate: the highest one.
        warmup_steps: steps until it is reached.
        max_grad_norm: the gradient is scaled down to this norm.
        seed: of the order of the examples.

    Returns:
        One row per step, with the columns step (from 0) and loss (in nats).

    Raises:
        ValueError: no examples, or none with a token to learn.
    """
    import pandas as pd

    if not any(label != IGNORED for example in examples for label in example.labels[1:]):
        raise ValueError("examples: there is nothing to learn in them")
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: min((step + 1) / (warmup_steps + 1), (steps - step) / max(steps, 1)),
    )
    losses = []
    model.train()
    for batch in _batches(examples, steps, batch_size, np.random.default_rng(seed)):
        input_ids, attention_mask, labels = (part.to(model.device) for part in _padded(batch))
        logits = model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits
        loss = _mean_loss(logits[:, :-1], labels[:, 1:])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    return pd.DataFrame({"step": range(steps), "loss": losses})


def _mean_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy over learned tokens; 0 in a batch without any."""
    total = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    return total / (labels != IGNORED).sum().clamp(min=1)


def _batches(
    examples: Sequence[Example], steps: int, batch_size: int, rng: np.random.Generator
) -> Iterator[list[Example]]:
    order: list[int] = []
    for _ in range(steps):
        while len(order) < batch_size:
            order.extend(rng.permutation(len(examples)).tolist())
        chosen, order = order[:batch_size], order[batch_size:]
        yield [examples[index] for index in chosen]


def _padded(batch: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Token ids, attention mask and labels (B, T), padded on the right."""
    rows = [example.prompt_ids + example.completion_ids for example in batch]
    width = max(map(len, rows))
    ids = [row + [0] * (width - len(row)) for row in rows]
    mask = [[1] * len(row) + [0] * (width - len(row)) for row in rows]
    labels = [e.labels + [IGNORED] * (width - len(e.labels)) for e in batch]
    return torch.tensor(ids), torch.tensor(mask), torch.tensor(labels)

"""The policy from which all runs start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch

from common.tasks.lookup_qa import LookupQA

Weights = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Base:
    """A small decoder taught the grammar of searching, one demonstration in three wrong.

    Attributes:
        two_hop: share of demonstrations whose question takes two searches.
        demonstrations: number of transcripts to imitate.
        steps: optimiser steps of supervised fine-tuning, on 48 demonstrations each.
        width: of the hidden states.
        layers: of the decoder.
        corruption: share of wrong demonstrations.
        learning_rate: of the fine-tuning.
        seed: of the demonstrations, the initial weights and the order.
    """

    two_hop: float
    demonstrations: int
    steps: int
    width: int = 64
    layers: int = 2
    corruption: float = 0.3
    learning_rate: float = 4e-3
    seed: int = 1

    @property
    def task(self) -> LookupQA:
        """The task of the demonstrations."""
        return LookupQA(two_hop=self.two_hop)

    def tokenizer(self) -> Any:
        """One token per word of the task."""
        from common.lm.small import word_tokenizer

        return word_tokenizer(self.task.vocabulary())

    def untrained(self) -> Any:
        """The decoder with its initial weights."""
        from common.lm.small import small_decoder

        return small_decoder(self.tokenizer(), layers=self.layers, width=self.width, seed=self.seed)

    def policy(self, weights: Weights) -> Any:
        """A decoder of its own with these weights."""
        model = self.untrained()
        model.load_state_dict(dict(weights))
        return model


def taught(base: Base) -> tuple[dict[str, torch.Tensor], pd.DataFrame]:
    """The weights after supervised fine-tuning, and the loss of every step."""
    from common.tasks.demonstrations import supervised_start

    demonstrations = base.task.demonstrations(base.seed, base.demonstrations, base.corruption)
    model, _, losses = supervised_start(
        base.task,
        demonstrations,
        layers=base.layers,
        width=base.width,
        steps=base.steps,
        batch_size=48,
        learning_rate=base.learning_rate,
        seed=base.seed,
    )
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}, losses


def answer_span(tokenizer: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """Marks the last `<answer> … </answer>` of every row, tags included; nothing without one."""
    opening, closing = tokenizer.convert_tokens_to_ids(["<answer>", "</answer>"])

    def mark(completion_ids: torch.Tensor) -> torch.Tensor:
        positions = torch.arange(completion_ids.shape[1], device=completion_ids.device)
        end = torch.where(completion_ids == closing, positions, -1).amax(1, keepdim=True)
        before = (completion_ids == opening) & (positions < end)
        start = torch.where(before, positions, -1).amax(1, keepdim=True)
        return (positions >= start) & (positions <= end) & (start >= 0)

    return mark

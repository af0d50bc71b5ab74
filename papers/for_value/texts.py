"""Prompts with answers as rows of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Positions = Literal["full", "response"]


@dataclass(frozen=True)
class Sample:
    """A prompt with its answer.

    Attributes:
        prompt: what is given.
        answer: what follows it, with its leading blank.
        group: the class that influence should find again.
        clean: whether the answer is as it should be.
    """

    prompt: str
    answer: str
    group: int = 0
    clean: bool = True


@dataclass(frozen=True)
class Batch:
    """Rows of tokens, padded on the right.

    Attributes:
        input_ids: (B, T).
        attention_mask: (B, T), 1 for real tokens.
        response_mask: (B, T), 1 for the tokens of the answer.
    """

    input_ids: Tensor
    attention_mask: Tensor
    response_mask: Tensor

    def __len__(self) -> int:
        return len(self.input_ids)

    def labels(self, positions: Positions = "full") -> Tensor:
        """(B, T), 1 for the tokens whose log-likelihood counts; never the first of a row."""
        if positions not in ("full", "response"):
            raise ValueError(f"positions: {positions!r} is neither 'full' nor 'response'")
        chosen = self.attention_mask if positions == "full" else self.response_mask
        first = torch.arange(chosen.shape[1], device=chosen.device) == 0
        return chosen.masked_fill(first, 0)

    def rows(self, index: Sequence[int] | Tensor) -> Batch:
        """Some of the rows, without columns that are padding in all of them."""
        index = torch.as_tensor(index, dtype=torch.long)
        width = int(self.attention_mask[index].sum(1).max()) if len(index) else 0
        parts = (self.input_ids, self.attention_mask, self.response_mask)
        return Batch(*(part[index, :width] for part in parts))


def encode(
    tokenizer: PreTrainedTokenizerBase,
    samples: Sequence[Sample],
    device: torch.device | str = "cpu",
) -> Batch:
    """Tokens of all samples; nothing is added at either end.

    Prompt and answer are read one by one, so that it is known where the answer begins.

    Raises:
        ValueError: a sample has no token, or its prompt has none (nothing could predict).
    """
    prompts = [tokenizer.encode(sample.prompt, add_special_tokens=False) for sample in samples]
    answers = [tokenizer.encode(sample.answer, add_special_tokens=False) for sample in samples]
    for number, prompt in enumerate(prompts):
        if not prompt:
            raise ValueError(f"samples: the prompt of sample {number} has no token")
    width = max((len(p) + len(a) for p, a in zip(prompts, answers, strict=True)), default=0)
    shape = (len(prompts), width)
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0
    ids = torch.full(shape, padding, dtype=torch.long)
    attention, response = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        end = len(prompt) + len(answer)
        ids[row, :end] = torch.tensor([*prompt, *answer])
        attention[row, :end] = 1
        response[row, len(prompt) : end] = 1
    return Batch(ids.to(device), attention.to(device), response.to(device))

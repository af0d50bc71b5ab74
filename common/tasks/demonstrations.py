"""What a decoder is shown before reinforcement learning: prompts with completions to imitate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.lm.supervised import Example
from common.tasks.problem import Problem

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Demonstration:
    """A completion to imitate, not necessarily a right one; words are separated by blanks.

    Attributes:
        problem: what is asked; its `solution` is another completion.
        completion: without the end-of-sequence token.
        observations: indices of the completion's words that the environment wrote.
    """

    problem: Problem
    completion: str
    observations: frozenset[int] = frozenset()


def encode(demonstrations: Iterable[Demonstration], tokenizer: Any) -> list[Example]:
    """Token ids for `fine_tune`; the end-of-sequence token is learned, observations are not.

    Args:
        demonstrations: of a task.
        tokenizer: one token per word, see `common.lm.small.word_tokenizer`.

    Raises:
        ValueError: the tokenizer does not know a word.
    """
    return [_encode(demonstration, tokenizer) for demonstration in demonstrations]


def supervised_start(
    task: Any,
    demonstrations: Iterable[Demonstration],
    *,
    layers: int = 2,
    width: int = 64,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
) -> tuple[Any, Any, pd.DataFrame]:
    """A small decoder that has imitated demonstrations: where reinforcement learning begins.

    Args:
        task: gives the vocabulary.
        demonstrations: what is imitated.
        layers: of the decoder.
        width: of its hidden states.
        steps: of fine-tuning.
        batch_size: demonstrations per step.
        learning_rate: the highest one.
        seed: of the initial weights and of the order.

    Returns:
        The model, its tokenizer, and the loss of every step as `fine_tune` gives it.
    """
    from common.lm.small import small_decoder, word_tokenizer
    from common.lm.supervised import fine_tune

    tokenizer = word_tokenizer(task.vocabulary())
    model = small_decoder(tokenizer, layers=layers, width=width, seed=seed)
    losses = fine_tune(
        model,
        encode(demonstrations, tokenizer),
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
    )
    return model, tokenizer, losses


def _encode(demonstration: Demonstration, tokenizer: Any) -> Example:
    prompt, completion = (
        tokenizer.convert_tokens_to_ids(text.split())
        for text in (demonstration.problem.prompt, demonstration.completion)
    )
    if tokenizer.unk_token_id in prompt + completion:
        raise ValueError(f"tokenizer: does not know every word of {demonstration.completion!r}")
    mask = [int(index not in demonstration.observations) for index in range(len(completion))]
    return Example(prompt, [*completion, tokenizer.eos_token_id], [*mask, 1])

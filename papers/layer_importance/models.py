"""The base models: pretrained ones by name, and small decoders trained from scratch here."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.lm.supervised import Example
from papers.layer_importance.questions import TASKS, block, pool


@dataclass(frozen=True)
class Scratch:
    """How a small decoder is pre-trained on a mixture of all tasks.

    Attributes:
        layers: of the decoder.
        width: of its hidden states.
        steps: of AdamW.
        batch_size: texts per step.
        learning_rate: the highest one.
        largest: operand of its arithmetic.
        lines: of each text, all of one task.
        texts: different ones per task.
    """

    layers: int
    width: int
    steps: int
    batch_size: int = 32
    learning_rate: float = 3e-3
    largest: int = 9
    lines: int = 3
    texts: int = 2000


def base_model(name: str, scratch: Scratch, seed: int = 0) -> tuple[Any, Any]:
    """The model "small", trained from scratch, or a pretrained one; and its tokenizer.

    Args:
        name: "small", a bundled model, or a hub id.
        scratch: of "small".
        seed: of "small"; weights and texts depend on it.
    """
    if name == "small":
        model, tokenizer = small_model(scratch, seed)
        return copy.deepcopy(model), tokenizer
    import torch

    from common.lm.load import load

    model, tokenizer = load(name)
    return model.to("cuda" if torch.cuda.is_available() else "cpu").eval(), tokenizer


@functools.lru_cache(maxsize=1)
def small_model(scratch: Scratch, seed: int) -> tuple[Any, Any]:
    """A decoder of its own, pre-trained on all tasks in equal shares; the last one is kept."""
    from common.lm.small import small_decoder
    from common.lm.supervised import fine_tune
    from common.lm.text_tokenizer import text_tokenizer

    pools = {task: pool(task, scratch.largest) for task in TASKS}
    tokenizer = text_tokenizer(q + a for questions in pools.values() for q, a in questions)
    model = small_decoder(tokenizer, layers=scratch.layers, width=scratch.width, seed=seed)
    fine_tune(
        model,
        list(_texts(pools, tokenizer, scratch, seed)),
        steps=scratch.steps,
        batch_size=scratch.batch_size,
        learning_rate=scratch.learning_rate,
        seed=seed,
    )
    return model.eval(), tokenizer


def _texts(pools: dict[str, Any], tokenizer: Any, scratch: Scratch, seed: int) -> Iterator[Example]:
    """Texts of some lines; everything but the first token is learned, as in pre-training."""
    seeds = np.random.SeedSequence(seed).generate_state(scratch.texts)
    for one in seeds.tolist():
        for questions in pools.values():
            ids = tokenizer(block(questions, scratch.lines, 0, one).prompt).input_ids
            yield Example(ids[:1], ids[1:])

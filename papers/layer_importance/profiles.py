"""Layer profiles of base models and their post-trained variants, one row per block and layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from papers.layer_importance.models import Scratch, base_model
from papers.layer_importance.questions import Block, Question, block, of_length, pool
from papers.layer_importance.variants import Training, post_train

if TYPE_CHECKING:
    from common.lm.ablation import Component, ComponentMeans

BASE = "base"


@dataclass(frozen=True)
class Asked:
    """Which model is asked, and how.

    Attributes:
        model: "small", a bundled model, or a hub id.
        scratch: of the model "small".
        blocks: seeds of the blocks; each draws worked examples and items.
        shots: worked examples per block.
        items: per block.
        answer_tokens: that every answer has, line break included; None: any number.
    """

    model: str
    scratch: Scratch
    blocks: tuple[int, ...]
    shots: int
    items: int
    answer_tokens: int | None

    def questions(self, task: str, tokenizer: Any) -> list[Question]:
        """The task's questions whose answers have the right length."""
        return of_length(pool(task, self.scratch.largest), tokenizer, self.answer_tokens)

    def drawn(self, task: str, tokenizer: Any) -> dict[int, Block]:
        """The task's blocks by their seeds."""
        questions = self.questions(task, tokenizer)
        return {seed: block(questions, self.shots, self.items, seed) for seed in self.blocks}


def variant_profiles(
    asked: Asked,
    training: Training | None,
    tasks: Sequence[str],
    seed: int = 0,
    variant: str = BASE,
) -> pd.DataFrame:
    """A model, or what post-training on sums makes of it, with every block zero-ablated.

    Columns variant, task, block, layer (-1: intact), accuracy and logp: means over a block's items.

    Args:
        asked: the model and its blocks.
        training: None leaves the model as it is.
        tasks: whose questions are asked.
        seed: of the model "small".
        variant: what the model is called without training.
    """
    model, tokenizer = base_model(asked.model, asked.scratch, seed)
    if training is not None:
        post_train(model, tokenizer, asked.questions("addition", tokenizer), training)
    frames = [block_profiles(model, tokenizer, asked, task) for task in tasks]
    return pd.concat(frames, ignore_index=True).assign(
        variant=variant if training is None else training.method
    )


def component_profiles(
    asked: Asked, task: str, component: Component, mean: bool, reference: Sequence[int]
) -> pd.DataFrame:
    """The base model with a part of each layer ablated, by zero or by its mean.

    Args:
        asked: the model and its blocks.
        task: whose questions are asked.
        component: "block", "attention" or "mlp".
        mean: whether the part writes its mean over reference tokens, instead of zero.
        reference: seeds of the blocks that give these tokens.
    """
    model, tokenizer = base_model(asked.model, asked.scratch)
    means = reference_means(model, tokenizer, asked, task, reference) if mean else None
    frame = block_profiles(model, tokenizer, asked, task, component, means)
    return frame.assign(component=component, written="mean" if mean else "zero")


def reference_means(
    model: Any, tokenizer: Any, asked: Asked, task: str, reference: Sequence[int]
) -> ComponentMeans:
    """Mean outputs over the lines of other blocks of the same task."""
    from common.lm.ablation import component_means

    questions = asked.questions(task, tokenizer)
    lines = asked.shots + asked.items
    texts = [block(questions, lines, 0, seed).prompt for seed in reference]
    batch = tokenizer(texts, return_tensors="pt", padding=True).to(model.device)
    counted = batch["attention_mask"].bool()
    return component_means(model, batch["input_ids"], batch["attention_mask"], counted)


def block_profiles(
    model: Any,
    tokenizer: Any,
    asked: Asked,
    task: str,
    component: Component = "block",
    means: ComponentMeans | None = None,
) -> pd.DataFrame:
    """Columns task, block, layer, accuracy, logp."""
    from common.lm.layer_profile import layer_profile
    from common.lm.teacher_forced import pack

    frames = []
    for seed, drawn in asked.drawn(task, tokenizer).items():
        packed = pack(tokenizer, drawn.prompt, drawn.items)
        items = layer_profile(model, packed, component=component, means=means)
        means_of_items = items.groupby("layer")[["correct", "logp"]].mean().reset_index()
        frames.append(means_of_items.assign(block=seed))
    frame = pd.concat(frames, ignore_index=True).rename(columns={"correct": "accuracy"})
    return frame.assign(task=task)

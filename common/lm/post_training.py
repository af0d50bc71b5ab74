"""Post-training in a few steps: supervised fine-tuning and distillation through TRL's trainer.

Reinforcement learning is `common.grpo.training.run`. `common.lm.supervised` is a plain loop for
decoders so small that a trainer's bookkeeping would cost more than the steps.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from common.lm.quiet import QUIET

if TYPE_CHECKING:
    import pandas as pd

IGNORED = -100  # the label that cross-entropy leaves out

Teacher = Callable[[Sequence[str]], Sequence[str]]


def sft(
    model: Any,
    tokenizer: Any,
    examples: Sequence[tuple[str, str]],
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    freeze_embedding: bool = True,
    append_eos: bool = True,
    max_grad_norm: float = 1.0,
) -> pd.DataFrame:
    """Train a causal language model in place with `trl.SFTTrainer`.

    The loss is the mean over the completions' tokens of a batch. Padding is left out by position,
    not by token id, so that a model whose padding token is its end-of-sequence token still learns
    to stop. AdamW without weight decay; the learning rate falls linearly to zero. Every example is
    seen once before any is seen twice. Equal seeds give equal weights on one kind of machine; the
    global random state of torch is left alone.

    Args:
        model: a causal language model of transformers; its training mode is restored.
        tokenizer: its tokenizer.
        examples: pairs of prompt and completion; texts, without a chat template.
        steps: optimiser steps.
        batch_size: examples per step.
        learning_rate: of the first step.
        seed: of the examples' order, and of dropout.
        freeze_embedding: leave the embedding alone, and an output layer that is tied to it.
        append_eos: put the end-of-sequence token behind every completion.
        max_grad_norm: the gradient is scaled down to this norm.

    Returns:
        One row per step, with the columns step (from 0) and loss (in nats).

    Raises:
        ValueError: no examples, a completion without tokens, or tokens that merge where prompt and
            completion meet.
    """
    import pandas as pd

    if not examples:
        raise ValueError("examples: at least one is needed")
    tokens = [_tokens(tokenizer, number, *pair, append_eos) for number, pair in enumerate(examples)]
    order = _order(len(tokens), steps * batch_size, np.random.default_rng(seed))
    losses: list[float] = []
    if steps:
        from datasets import Dataset

        options = {
            "max_steps": steps,
            "per_device_train_batch_size": batch_size,
            "learning_rate": learning_rate,
            "max_grad_norm": max_grad_norm,
            "seed": seed,
        }
        rows = Dataset.from_list([tokens[index] for index in order])
        with _as_it_was(model, freeze_embedding):
            losses = _train(model, tokenizer, rows, options)
    return pd.DataFrame({"step": range(steps), "loss": losses})


def distil(
    model: Any, tokenizer: Any, teacher: Teacher, prompts: Sequence[str], **options: Any
) -> pd.DataFrame:
    """Train on what a teacher writes: sequence-level distillation.

    Args:
        model: the student, trained in place.
        tokenizer: its tokenizer.
        teacher: prompts to completions, one each: a model's generation, or a rule.
        prompts: texts.
        options: those of `sft`.

    Returns:
        That of `sft`.

    Raises:
        ValueError: as `sft` does, or the teacher's completions are not one per prompt.
    """
    completions = teacher(prompts)
    if len(completions) != len(prompts):
        raise ValueError(f"teacher: {len(completions)} completions for {len(prompts)} prompts")
    return sft(model, tokenizer, list(zip(prompts, completions, strict=True)), **options)


def _tokens(
    tokenizer: Any, number: int, prompt: str, completion: str, append_eos: bool
) -> dict[str, list[int]]:
    """Token ids and labels of one example."""
    before = tokenizer(prompt).input_ids if prompt else []
    whole = tokenizer(prompt + completion).input_ids
    if whole[: len(before)] != before:
        raise ValueError(f"examples: tokens of prompt and completion merge in example {number}")
    if append_eos:
        whole = [*whole, tokenizer.eos_token_id]
    if len(whole) == len(before):
        raise ValueError(f"examples: example {number} has no completion")
    return {"input_ids": whole, "labels": [IGNORED] * len(before) + whole[len(before) :]}


def _order(count: int, needed: int, rng: np.random.Generator) -> list[int]:
    """Permutations of the examples, one after the other."""
    order: list[int] = []
    while len(order) < needed:
        order.extend(rng.permutation(count).tolist())
    return order[:needed]


def _train(model: Any, tokenizer: Any, rows: Any, options: dict[str, Any]) -> list[float]:
    """The loss of every step."""
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    from transformers import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    gpu = torch.cuda.is_available()
    with warnings.catch_warnings(), tempfile.TemporaryDirectory(prefix="claimbook-") as scratch:
        # TRL sets an option of transformers under its old name.
        warnings.filterwarnings("ignore", r".*gradient_checkpointing.*", FutureWarning)
        arguments = SFTConfig(
            output_dir=scratch,
            lr_scheduler_type="linear",
            weight_decay=0.0,
            train_sampling_strategy="sequential",
            completion_only_loss=True,
            # The rows carry their labels already.
            dataset_kwargs={"skip_prepare_dataset": True},
            max_length=None,
            gradient_checkpointing=False,
            logging_steps=1,
            save_strategy="no",
            **QUIET,
            use_cpu=not gpu,
            bf16=gpu,
            **options,
        )
        trainer = SFTTrainer(
            model=model, args=arguments, train_dataset=rows, processing_class=tokenizer
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return [float(log["loss"]) for log in trainer.state.log_history if "loss" in log]


@contextmanager
def _as_it_was(model: Any, freeze_embedding: bool) -> Iterator[None]:
    """Restore what training needs to change besides weights: mode, forward, gradients' flags."""
    training, patched = model.training, "forward" in vars(model)
    embedding = list(model.get_input_embeddings().parameters()) if freeze_embedding else []
    flags = [parameter.requires_grad for parameter in embedding]
    for parameter in embedding:
        parameter.requires_grad_(False)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        for parameter, flag in zip(embedding, flags, strict=True):
            parameter.requires_grad_(flag)
        model.zero_grad(set_to_none=True)
        model.train(training)
        # TRL gives the instance a forward of its own and never takes it away.
        if not patched:
            vars(model).pop("forward", None)

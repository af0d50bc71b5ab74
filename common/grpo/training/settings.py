"""What a run is, whatever its recipe, and TRL's configuration of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from common.grpo.training.recipe import Recipe
from common.lm.quiet import QUIET

if TYPE_CHECKING:
    from trl import GRPOConfig


@dataclass(frozen=True)
class Settings:
    """What a run is, whatever its recipe.

    Attributes:
        max_new_tokens: longest completion, observations included.
        learning_rate: of AdamW, after the warm-up; constant.
        groups: prompts per generation batch, P.
        group_size: completions per prompt, G.
        minibatches: optimiser steps per generation batch; 1 is strictly on-policy.
        accumulation: micro-batches per optimiser step, where memory is short.
        warmup_steps: optimiser steps of linear warm-up.
        temperature: of sampling, and of the log-probabilities.
        max_grad_norm: gradients are clipped to this norm.
        sampler: "groups" is `common.grpo.sampling.rollouts`; "trl" is whatever the recipe's options
            of TRL choose (transformers, vLLM).
    """

    max_new_tokens: int
    learning_rate: float
    groups: int = 8
    group_size: int = 8
    minibatches: int = 4
    accumulation: int = 1
    warmup_steps: int = 15
    temperature: float = 1.0
    max_grad_norm: float = 1.0
    sampler: str = "groups"

    def __post_init__(self) -> None:
        rows = self.groups * self.group_size
        if rows % (self.minibatches * self.accumulation):
            raise ValueError(
                f"{self.groups} groups of {self.group_size} cannot be split evenly into "
                f"{self.minibatches} minibatches of {self.accumulation} micro-batches"
            )
        if self.sampler not in ("groups", "trl"):
            raise ValueError(f'sampler must be "groups" or "trl", not {self.sampler!r}')


def iterations(recipe: Recipe) -> int:
    """How often every generation batch is gone through: TRL's `num_iterations`, 1 by default."""
    return int(recipe.trl.get("num_iterations", 1))


def config(
    recipe: Recipe, settings: Settings, steps: int, seed: int, output: Path, model: Any = None
) -> GRPOConfig:
    """TRL's configuration of a run: the recipe's options, the settings, and quiet defaults.

    On a machine without a GPU everything runs in float32. Where the recipe does not say otherwise,
    KL is the plain k3 estimator (`use_bias_correction_kl=False`), as in the papers.
    """
    from trl import GRPOConfig

    gpu = torch.cuda.is_available()
    updates = settings.minibatches * iterations(recipe)
    rows = settings.groups * settings.group_size
    large = model is not None and sum(p.numel() for p in model.parameters()) > 1e8
    options: dict[str, Any] = {
        "bf16": gpu,
        "gradient_checkpointing": gpu and large,
        "use_bias_correction_kl": False,
        "shuffle_dataset": False,
        **QUIET,
        **recipe.trl,
    }
    return GRPOConfig(
        output_dir=str(output),
        max_steps=steps * updates,
        per_device_train_batch_size=rows // settings.minibatches // settings.accumulation,
        gradient_accumulation_steps=settings.accumulation,
        steps_per_generation=settings.minibatches * settings.accumulation,
        num_generations=settings.group_size,
        max_completion_length=settings.max_new_tokens,
        temperature=settings.temperature,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=settings.warmup_steps,
        max_grad_norm=settings.max_grad_norm,
        seed=seed,
        logging_steps=1,
        save_strategy="no",
        use_cpu=not gpu,
        **options,
    )

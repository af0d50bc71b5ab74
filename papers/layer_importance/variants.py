"""Three ways of post-training a model on sums: fine-tuning, distillation, reinforcement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from papers.layer_importance.questions import ExactAnswer, Question, block

METHODS = ("sft", "distil", "rl")


@dataclass(frozen=True)
class Training:
    """One way of post-training, with its budget.

    Attributes:
        method: one of `METHODS`.
        steps: optimiser steps.
        batch_size: examples per step; in reinforcement learning completions, 8 per prompt.
        learning_rate: of AdamW.
        shots: worked examples before each question that is trained on.
        seed: of everything that is drawn.
    """

    method: str
    steps: int
    batch_size: int
    learning_rate: float
    shots: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method: one of {', '.join(METHODS)}, got {self.method!r}")


def post_train(model: Any, tokenizer: Any, questions: Sequence[Question], how: Training) -> None:
    """Train the model in place on the questions of a pool of sums."""
    from common.lm.post_training import distil, sft

    options: dict[str, Any] = {
        "steps": how.steps,
        "batch_size": how.batch_size,
        "learning_rate": how.learning_rate,
        "seed": how.seed,
        "append_eos": False,
    }
    if how.method == "rl":
        _reinforce(model, tokenizer, questions, how)
    elif how.method == "sft":
        sft(model, tokenizer, _examples(questions, how), **options)
    else:
        prompts = [question for question, _ in _examples(questions, how)]
        distil(model, tokenizer, written_by_rule, prompts, **options)
    model.eval()


def _examples(questions: Sequence[Question], how: Training) -> list[Question]:
    """As many as the steps need, each with worked examples of its own."""
    seeds = np.random.SeedSequence([how.seed, 1]).generate_state(how.steps * how.batch_size)
    blocks = [block(questions, how.shots, 1, one) for one in seeds.tolist()]
    return [(one.prompt + one.items[0][0], one.items[0][1]) for one in blocks]


def written_by_rule(prompts: Sequence[str]) -> list[str]:
    r"""The teacher's completions of prompts that end with `a + b = `: the sum, then its derivation.

    For `8 + 7 = ` it writes `15\n8 + 2 = 10\n10 + 5 = 15\n`: the sum, and the way over ten.
    """
    completions = []
    for prompt in prompts:
        first, _, second = prompt.splitlines()[-1].removesuffix(" = ").split()
        a, b = int(first), int(second)
        step = 10 - a % 10
        way = f"{a} + {step} = {a + step}\n{a + step} + {b - step} = {a + b}\n" if step < b else ""
        completions.append(f"{a + b}\n{way}")
    return completions


def _reinforce(model: Any, tokenizer: Any, questions: Sequence[Question], how: Training) -> None:
    """GRPO, strictly on-policy, with reward 1 for the exact answer; the embedding stays frozen."""
    from common.grpo.training.recipe import Recipe
    from common.grpo.training.run import train
    from common.grpo.training.settings import Settings

    longest = max(
        len(tokenizer(q + a).input_ids) - len(tokenizer(q).input_ids) for q, a in questions
    )
    group_size = min(8, how.batch_size)
    settings = Settings(
        max_new_tokens=longest,
        learning_rate=how.learning_rate,
        groups=how.batch_size // group_size,
        group_size=group_size,
        minibatches=1,
        warmup_steps=2,
    )
    embedding = model.get_input_embeddings().weight
    embedding.requires_grad_(False)
    recipe = Recipe.parse("rl", {"advantage": "grpo", "trl": {"beta": 0.0, "loss_type": "grpo"}})
    task = ExactAnswer(questions, how.shots)
    train(model, tokenizer, task, recipe, settings, steps=how.steps, seed=how.seed)
    embedding.requires_grad_(True)

"""Recipes side by side: one start per seed, the same problems and random numbers for every arm."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from common.tasks.derivations import Derivations
from common.tasks.problem import Problem

if TYPE_CHECKING:
    import pandas as pd

    from common.grpo.training.settings import Settings

SMALL = "small"
"""The model that is made from scratch: a decoder that learned to imitate derivations."""

HELD_OUT, EXAMPLES = 10_000, 20_000
"""Added to a seed for the test problems, and for the problems of the demonstrations."""


@dataclass(frozen=True)
class Study:
    """What all arms share: derivations to find, a policy to start from, a training to run.

    Attributes:
        model: `SMALL`, or the name of a pretrained model, which sees `shots` solved problems.
        difficulties: steps per problem.
        modulus: of the arithmetic.
        demonstrations: for the supervised start of the small model.
        corruption: share of wrong ones among them.
        supervised_steps: of the supervised start.
        groups: problems per training step.
        group_size: G, completions per problem.
        steps: training steps.
        learning_rate: of AdamW.
        test_problems: problems that training does not see.
        samples: completions per test problem.
        ks: k of Pass@k.
        minibatches: optimiser steps per training step; 1 is strictly on-policy.
        shots: solved problems before every prompt of a pretrained model.
    """

    model: str
    difficulties: tuple[int, ...]
    modulus: int
    demonstrations: int
    corruption: float
    supervised_steps: int
    groups: int
    group_size: int
    steps: int
    learning_rate: float
    test_problems: int
    samples: int
    ks: tuple[int, ...]
    minibatches: int = 1
    shots: int = 4

    @property
    def task(self) -> Derivations:
        """Derivations, with solved problems before every prompt of a pretrained model."""
        plain = Derivations(steps=self.difficulties, modulus=self.modulus)
        return plain if self.model == SMALL else ShownDerivations(plain, self.shots)

    @property
    def max_new_tokens(self) -> int:
        """Six words for each step but the last; pretrained tokenizers may split words."""
        words = 6 * max(self.difficulties)
        return words if self.model == SMALL else 3 * words

    def settings(self) -> Settings:
        """Of the training."""
        from common.grpo.training.settings import Settings

        return Settings(
            max_new_tokens=self.max_new_tokens,
            learning_rate=self.learning_rate,
            groups=self.groups,
            group_size=self.group_size,
            minibatches=self.minibatches,
            warmup_steps=5,
        )


class ShownDerivations(Derivations):
    """Derivations whose prompts start with solved problems; a completion ends at its first line.

    Args:
        plain: the task.
        shots: solved problems before every prompt.
    """

    def __init__(self, plain: Derivations, shots: int) -> None:
        super().__init__(steps=plain.steps, modulus=plain.modulus)
        solved = plain.generate(EXAMPLES, shots)
        self._shown = "".join(f"{one.prompt} {one.solution}\n" for one in solved)

    def generate(self, seed: int, count: int) -> list[Problem]:
        """As `Derivations`, with the solved problems before each prompt."""
        problems = super().generate(seed, count)
        return [replace(problem, prompt=self._shown + problem.prompt) for problem in problems]

    def signature(self, problem: Problem, completion: str) -> str | None:
        """As `Derivations`, of the completion's first line."""
        lines = completion.strip().splitlines()
        return super().signature(problem, lines[0] if lines else "")


def start(study: Study, seed: int) -> tuple[Any, Any]:
    """The policy before reinforcement learning, and its tokenizer; equal seeds, equal weights."""
    from common.lm.load import load

    if study.model != SMALL:
        model, tokenizer = load(study.model)
        return model.to("cuda") if torch.cuda.is_available() else model, tokenizer
    from common.tasks.demonstrations import supervised_start

    shown = study.task.demonstrations(EXAMPLES + seed, study.demonstrations, study.corruption)
    model, tokenizer, _ = supervised_start(
        study.task,
        shown,
        steps=study.supervised_steps,
        batch_size=64,
        learning_rate=3e-3,
        seed=seed,
    )
    return model, tokenizer


def compare(study: Study, arms: Mapping[str, Mapping[str, Any]], seed: int) -> pd.DataFrame:
    """Train one seed's start with every arm.

    Args:
        study: what the arms share.
        arms: recipes by name.
        seed: of the start, the problems, and all sampling.

    Returns:
        One row per arm and training step (part "training", the columns of
        `common.grpo.training.run.train`), and one row of `tested` for every arm and for the start
        itself, "base" (part "test").
    """
    import pandas as pd

    from common.grpo.training.recipe import parse_recipes
    from common.grpo.training.run import train

    recipes = parse_recipes(arms)
    model, tokenizer = start(study, seed)
    frames = [tested(study, model, tokenizer, seed).assign(arm="base")]
    for name, recipe in recipes.items():
        policy = copy.deepcopy(model)
        curve = train(
            policy, tokenizer, study.task, recipe, study.settings(), steps=study.steps, seed=seed
        )
        frames.append(curve.assign(arm=name, part="training"))
        frames.append(tested(study, policy, tokenizer, seed).assign(arm=name))
    return pd.concat(frames, ignore_index=True).assign(seed=seed)


def tested(study: Study, model: Any, tokenizer: Any, seed: int) -> pd.DataFrame:
    """One row: means over held-out problems of greedy, pass_at_<k>, and the share unsolved."""
    from common.grpo.sampling.evaluate import evaluate

    ks = sorted({1, *study.ks})
    device = next(model.parameters()).device
    frame = evaluate(
        model,
        tokenizer,
        study.task,
        study.task.generate(HELD_OUT + seed, study.test_problems),
        samples=study.samples,
        max_new_tokens=study.max_new_tokens,
        ks=ks,
        generator=torch.Generator(device).manual_seed(seed),
    )
    means = frame[["greedy", *(f"pass_at_{k}" for k in ks)]].mean().to_frame().T
    unsolved = (frame.correct == 0).mean()
    return means.assign(unsolved=unsolved, step=study.steps, part="test")

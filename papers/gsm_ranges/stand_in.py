"""The stand-in: a small decoder trained from scratch on word problems with mostly small numbers."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from common.tasks.word_problem_templates import TEMPLATES
from common.tasks.word_problems import WordProblem

if TYPE_CHECKING:
    import pandas as pd

    from common.lm.supervised import Example

LARGE = (3, 4, 5, 6)
"""Levels whose growing numbers have four digits and more."""

HELD_OUT = 5
"""One in so many problems is never trained on."""

DIGITS = (0.2, 0.6, 0.08, 0.04, 0.03, 0.03, 0.02)
"""Shares of lengths 1 to 7 among the numbers of lines that stand alone: all magnitudes."""


@dataclass(frozen=True)
class Recipe:
    """How a stand-in is trained.

    Attributes:
        templates: names of the problems' templates.
        layers: of the decoder.
        width: of its hidden states.
        steps: of the optimiser.
        batch_size: rows per step.
        learning_rate: the highest one.
        hundreds_share: share of problems at level 2.
        large_share: share of problems at levels 3 to 6 together; the others are at level 1.
        alone_share: share of rows that hold arithmetic without a story.
    """

    templates: tuple[str, ...]
    layers: int
    width: int
    steps: int
    batch_size: int
    learning_rate: float
    hundreds_share: float
    large_share: float
    alone_share: float

    def __post_init__(self) -> None:
        if unknown := set(self.templates) - set(TEMPLATES):
            raise ValueError(f"templates: unknown {sorted(unknown)}")
        if self.hundreds_share + self.large_share > 1:
            raise ValueError("hundreds_share, large_share: more than 1 together")
        if not 0 < self.alone_share < 1:
            raise ValueError(f"alone_share: must lie between 0 and 1, is {self.alone_share}")


def is_held_out(problem: WordProblem) -> bool:
    """Whether a problem is kept for tests: by its text, so that no list has to be stored."""
    return zlib.crc32(problem.question.encode()) % HELD_OUT == 0


def draw(
    template: str, level: int, rng: np.random.Generator, *, held_out: bool, zeros: bool = False
) -> WordProblem:
    """A problem for tests or for training; the original one (level 0) is always for tests."""
    while True:
        problem = TEMPLATES[template].sample(level, rng, trailing_zeros=zeros)
        if level == 0 or is_held_out(problem) == held_out:
            return problem


def prompt(problem: WordProblem) -> str:
    """What the stand-in reads."""
    return f"{problem.question}\n"


def solution(problem: WordProblem) -> str:
    """What it learns to write: the steps, one a line, and the answer as in GSM8K."""
    return "\n".join([*problem.steps, f"#### {problem.answer}"])


def operation(rng: np.random.Generator) -> tuple[str, str]:
    """An operation without a story, and its result; the second number is often the shorter one.

    Sums, differences and products with a small factor: the stand-in's templates do not divide.
    """
    digits = min(int(np.searchsorted(np.cumsum(DIGITS), rng.random())), len(DIGITS) - 1)
    others = digits if rng.random() < 0.7 else int(rng.integers(digits + 1))
    first, second = (int(rng.integers(10**d, 10 ** (d + 1))) for d in (digits, others))
    kind = rng.random()
    if kind < 0.45:
        return f"{first}+{second}", str(first + second)
    if kind < 0.85:
        first, second = max(first, second), min(first, second)
        return f"{first}-{second}", str(first - second)
    small = int(rng.integers(2, 10))
    return f"{first}*{small}", str(first * small)


def training_problems(recipe: Recipe, count: int, rng: np.random.Generator) -> list[WordProblem]:
    """Problems with the recipe's shares of magnitudes, none of them held out."""
    small = 1 - recipe.hundreds_share - recipe.large_share
    shares = [small, recipe.hundreds_share, *[recipe.large_share / len(LARGE)] * len(LARGE)]
    levels = rng.choice([1, 2, *LARGE], size=count, p=shares).tolist()
    names = rng.choice(list(recipe.templates), size=count).tolist()
    pairs = zip(names, levels, strict=True)
    return [draw(name, level, rng, held_out=False) for name, level in pairs]


def new_tokenizer(recipe: Recipe) -> Any:
    """Its words are those of the templates; numbers are cut into digits."""
    from common.lm.text_tokenizer import text_tokenizer

    rng = np.random.default_rng(0)
    originals = [TEMPLATES[name].sample(0, rng) for name in recipe.templates]
    return text_tokenizer([*(one.question for one in originals), "#### 0", "1+1-1*1/1=1"])


def sheet(length: int, steps: Sequence[str], rng: np.random.Generator) -> tuple[str, list[int]]:
    """Operations without a story, one a line, and a mask: 1 for the characters of results.

    Args:
        length: of the sheet in characters, exceeded by less than a line.
        steps: of problems (`16-3=13`), for every other line; the others are of all magnitudes.
        rng: what the operations are drawn with.
    """
    text, mask = "", []
    while len(text) < length:
        if steps and rng.random() < 0.5:
            asked, value = steps[int(rng.integers(len(steps)))].split("=")
        else:
            asked, value = operation(rng)
        line = f"{asked}={value}\n"
        text += line
        mask += [0] * (len(asked) + 1) + [1] * (len(line) - len(asked) - 1)
    return text, mask


def examples(recipe: Recipe, tokenizer: Any, seed: int) -> list[Example]:
    """One row per place in a batch: a problem with its solution, or a sheet of operations.

    Sheets are as long as a typical problem, and only their results are learned.
    """
    from common.lm.supervised import Example

    rng = np.random.default_rng(seed)
    rows = recipe.steps * recipe.batch_size
    sheets = round(recipe.alone_share * rows)
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    problems = training_problems(recipe, rows - sheets, rng)
    asked = tokenizer([prompt(one) for one in problems])["input_ids"]
    told = tokenizer([solution(one) for one in problems])["input_ids"]
    made = [Example([start, *a], [*b, end]) for a, b in zip(asked, told, strict=True)]
    length = int(np.median([len(one.labels) for one in made]))
    steps = [step for one in problems for step in one.steps]
    texts, masks = zip(*(sheet(length, steps, rng) for _ in range(sheets)), strict=True)
    written = tokenizer(list(texts))["input_ids"]
    return made + [Example([start], *one) for one in zip(written, masks, strict=True)]


def trained(recipe: Recipe, seed: int) -> tuple[Any, Any, pd.DataFrame]:
    """A model, its tokenizer, and its loss by step; the seed gives weights, problems and order."""
    from common.lm.small import small_decoder
    from common.lm.supervised import fine_tune

    tokenizer = new_tokenizer(recipe)
    model = small_decoder(
        tokenizer, layers=recipe.layers, width=recipe.width, max_length=512, seed=seed
    )
    losses = fine_tune(
        model,
        examples(recipe, tokenizer, seed),
        steps=recipe.steps,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        warmup_steps=recipe.steps // 20,
        seed=seed,
    )
    return model, tokenizer, losses


def held_out_problems(
    templates: Sequence[str], level: int, sets: int, seed: int, *, zeros: bool = False
) -> list[WordProblem]:
    """`sets` held-out problems of every template; the original ones, for level 0, once."""
    rng = np.random.default_rng([seed, level, int(zeros)])
    return [
        draw(name, level, rng, held_out=True, zeros=zeros)
        for _ in range(sets if level else 1)
        for name in templates
    ]

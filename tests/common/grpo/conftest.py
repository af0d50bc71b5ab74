"""A task that a tiny decoder learns in seconds, and what a trainer needs for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from common.lm.small import small_decoder, word_tokenizer
from common.tasks.problem import Problem

WORDS = [f"w{i}" for i in range(12)]


@dataclass(frozen=True)
class FirstWord:
    """Reward 1 for a completion that begins with the prompt's first word."""

    name: str = "first_word"

    def generate(self, seed: int, count: int) -> list[Problem]:
        random = np.random.default_rng(seed)
        words = [[WORDS[i] for i in random.integers(12, size=3)] for _ in range(count)]
        return [Problem(" ".join(w), w[0], 1, {"answer": w[0]}) for w in words]

    def verify(self, problem: Problem, completion: str) -> float:
        return float(completion.split()[:1] == [problem.data["answer"]])


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    """Tiny networks: two threads on a core that somebody else uses wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    return word_tokenizer(WORDS)


@pytest.fixture
def decoder(tokenizer: Any) -> Callable[[], Any]:
    """Makes the same small decoder again and again."""
    return lambda: small_decoder(tokenizer, layers=1, width=32, heads=2, max_length=32, seed=0)


@pytest.fixture
def task() -> FirstWord:
    return FirstWord()

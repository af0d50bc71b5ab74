"""Who answers, and what it answers: the stand-in or a pretrained model, greedily or by sampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from common.tasks.word_problems import WordProblem
from papers.gsm_ranges.stand_in import Recipe, prompt, trained

BATCH = 256
"""Rows that are written side by side."""


@dataclass(frozen=True)
class Response:
    """What was written to one prompt.

    Attributes:
        text: without the token that ends it.
        tokens: how many were written.
        finished: false where the room for new tokens ran out.
    """

    text: str
    tokens: int
    finished: bool


class Respondent:
    """A model with the prompts that it understands.

    Args:
        source: how a stand-in is trained, or the name of a pretrained instruct model.
        seed: of the stand-in's training; unused for a pretrained model.
    """

    def __init__(self, source: Recipe | str, seed: int) -> None:
        self._trained_here = isinstance(source, Recipe)
        if isinstance(source, Recipe):
            self.model, self.tokenizer, self.losses = trained(source, seed)
            return
        from common.lm.load import load

        device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        self.model, self.tokenizer = load(source, dtype=dtype)
        self.model.to(device)

    def to_problem(self, problem: WordProblem) -> list[int]:
        """The prompt of a word problem as token ids."""
        if self._trained_here:
            return self._started(prompt(problem))
        return self._chat(
            f"{problem.question}\nSolve the problem step by step. Write every calculation as "
            'an equation, and end with "#### " and the answer as a number.'
        )

    def to_operation(self, expression: str) -> list[int]:
        """The prompt of an operation without a story."""
        if self._trained_here:
            return self._started(f"{expression}=")
        return self._chat(f"What is {expression}? Answer with the number only.")

    def respond(
        self,
        prompts: Sequence[list[int]],
        *,
        room: int,
        samples: int = 1,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> list[Response]:
        """`samples` responses to every prompt, those of a prompt one after the other.

        Args:
            prompts: token ids.
            room: for new tokens.
            samples: per prompt.
            temperature: 0 for the greedy response.
            seed: of the sampling.
        """
        from tqdm import tqdm

        generator = torch.Generator().manual_seed(seed)
        size = max(1, BATCH // samples)
        found: list[Response] = []
        for start in tqdm(range(0, len(prompts), size), disable=self._trained_here):
            found += self._batch(
                prompts[start : start + size], room, samples, temperature, generator
            )
        return found

    def _batch(
        self,
        prompts: Sequence[list[int]],
        room: int,
        samples: int,
        temperature: float,
        generator: torch.Generator,
    ) -> list[Response]:
        from common.grpo.sampling.rollouts import sample_groups

        rollouts = sample_groups(
            self.model,
            prompts,
            group_size=samples,
            max_new_tokens=room,
            eos_token_id=self._ends(),
            pad_token_id=self.tokenizer.pad_token_id,
            temperature=temperature or 1.0,
            greedy=temperature == 0,
            generator=generator,
        )
        lengths = rollouts.completion_mask.sum(1).tolist()
        texts = self.tokenizer.batch_decode(rollouts.completion_ids, skip_special_tokens=True)
        parts = zip(texts, lengths, rollouts.finished.tolist(), strict=True)
        return [Response(*part) for part in parts]

    def _started(self, text: str) -> list[int]:
        return [self.tokenizer.bos_token_id, *self.tokenizer(text)["input_ids"]]

    def _chat(self, text: str) -> list[int]:
        from common.tasks.chat import chat_prompt

        return list(self.tokenizer(chat_prompt(self.tokenizer, text))["input_ids"])

    def _ends(self) -> list[int]:
        ends = self.model.generation_config.eos_token_id
        return list(ends) if isinstance(ends, list) else [ends]

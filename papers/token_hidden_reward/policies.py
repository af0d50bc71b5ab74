"""The policies that are looked at, and their groups with correct and wrong responses."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from common.grpo.rules import kernel_scores as ks
from common.grpo.rules.batches import GroupBatch
from common.grpo.sampling.evaluate import completion_texts, end_tokens
from common.lm.scoring import TokenStates, score_completions, token_states
from common.tasks.problem import Problem, Task

if TYPE_CHECKING:
    from common.grpo.sampling.rollouts import Rollouts

ROWS = 16
"""Sequences per forward pass."""


@dataclass(frozen=True)
class Supervised:
    """How a small decoder is trained from scratch before it is looked at.

    Attributes:
        layers: of the decoder.
        width: of its hidden states.
        steps: of AdamW.
        learning_rate: the highest one.
        difficulty: steps of a derivation.
        modulus: of its arithmetic.
        corruption: share of wrong demonstrations.
        examples: demonstrations of the derivations task, 128 of them per step.
    """

    layers: int
    width: int
    steps: int
    learning_rate: float
    difficulty: int
    modulus: int
    corruption: float = 0.1
    examples: int = 20_000


@dataclass(frozen=True)
class Policy:
    """A model with the task that it is asked."""

    model: Any
    tokenizer: Any
    task: Task


def small_policy(supervised: Supervised, seed: int) -> Policy:
    """A decoder trained on demonstrations; the seed draws its weights and what it is shown."""
    from common.tasks.demonstrations import supervised_start
    from common.tasks.derivations import Derivations

    task = Derivations(steps=(supervised.difficulty,), modulus=supervised.modulus)
    shown = task.demonstrations(seed, supervised.examples, supervised.corruption)
    model, tokenizer, _ = supervised_start(
        task,
        shown,
        layers=supervised.layers,
        width=supervised.width,
        steps=supervised.steps,
        batch_size=128,
        learning_rate=supervised.learning_rate,
        seed=seed,
    )
    return Policy(model.eval(), tokenizer, task)


def language_policy(name: str, digits: int) -> Policy:
    """A pretrained language model, asked for sums of two numbers with so many digits."""
    from common.lm.load import load
    from common.tasks.arithmetic import Arithmetic

    model, tokenizer = load(name)
    chat = tokenizer if getattr(tokenizer, "chat_template", None) else None
    return Policy(model.eval(), tokenizer, Arithmetic(digits=digits, tokenizer=chat))


@dataclass(frozen=True)
class Groups:
    """Groups with correct and wrong responses; the G rows of a prompt stand together.

    Attributes:
        policy: that sampled.
        size: G.
        rollouts: of the groups that are kept.
        rewards: (B,).
        sampled: how many prompts were asked.
    """

    policy: Policy
    size: int
    rollouts: Rollouts
    rewards: Tensor
    sampled: int

    @property
    def count(self) -> int:
        """Number of groups."""
        return len(self.rewards) // self.size

    @property
    def mask(self) -> Tensor:
        """(B, C), true for tokens that the policy wrote."""
        return self.rollouts.env_mask.bool()

    def group(self, index: int) -> Rollouts:
        """The rollouts of one prompt."""
        rows = torch.arange(index * self.size, (index + 1) * self.size)
        return _rows(self.rollouts, rows)

    @functools.cached_property
    def states(self) -> TokenStates:
        """Behind every token."""
        return token_states(self.policy.model, *self.rollouts.sequences, rows=ROWS)

    @functools.cached_property
    def logps_and_entropies(self) -> tuple[Tensor, Tensor]:
        """(B, C) each, in nats."""
        with torch.no_grad():
            return score_completions(self.policy.model, *self.rollouts.sequences, rows=ROWS)

    def batch(self) -> GroupBatch:
        """As token weights take it."""
        return GroupBatch(
            self.size,
            self.rewards,
            self.rollouts.completion_ids,
            self.mask,
            lambda: self.logps_and_entropies[1],
            lambda: self.states,
        )

    def texts(self) -> list[str]:
        """What every row wrote."""
        return completion_texts(self.rollouts, self.policy.tokenizer)


def mixed_groups(
    policy: Policy, *, prompts: int, wanted: int, group_size: int, max_new_tokens: int, seed: int
) -> Groups:
    """Samples groups for `prompts` problems and keeps the first `wanted` that are mixed.

    Raises:
        ValueError: no group has both correct and wrong responses.
    """
    from common.grpo.sampling.rollouts import sample_groups

    problems = policy.task.generate(seed, prompts)
    rollouts = sample_groups(
        policy.model,
        [policy.tokenizer(problem.prompt)["input_ids"] for problem in problems],
        group_size=group_size,
        max_new_tokens=max_new_tokens,
        eos_token_id=end_tokens(policy.model, policy.tokenizer),
        pad_token_id=policy.tokenizer.pad_token_id,
        generator=torch.Generator().manual_seed(seed),
    )
    rewards = _rewards(policy, problems, rollouts, group_size)
    mixed = ks.is_mixed(rewards, group_size).nonzero().flatten()[:wanted]
    if not len(mixed):
        raise ValueError(f"prompts: none of {prompts} groups has correct and wrong responses")
    rows = (mixed.unsqueeze(1) * group_size + torch.arange(group_size)).flatten()
    return Groups(policy, group_size, _rows(rollouts, rows), rewards[rows], prompts)


def _rewards(
    policy: Policy, problems: list[Problem], rollouts: Rollouts, group_size: int
) -> Tensor:
    texts = completion_texts(rollouts, policy.tokenizer)
    repeated = [problem for problem in problems for _ in range(group_size)]
    pairs = zip(repeated, texts, strict=True)
    return torch.tensor([float(policy.task.verify(problem, text) >= 1) for problem, text in pairs])


def _rows(rollouts: Rollouts, rows: Tensor) -> Rollouts:
    chosen = {
        field.name: getattr(rollouts, field.name)[rows] for field in dataclasses.fields(rollouts)
    }
    return dataclasses.replace(rollouts, **chosen)

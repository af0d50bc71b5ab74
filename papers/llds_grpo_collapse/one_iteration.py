"""One iteration of GRPO, the same for every arm but for the regulariser: batch, order, optimiser.

Policy, optimiser state, responses and mini-batches are copied, so that two arms differ in nothing
else. Pure torch, the loss of the runs: clipped surrogate, token mean (TRL's "bnpo"), without KL.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from common.grpo.analysis.likelihood import LikelihoodStats, likelihood_stats
from common.grpo.rules.batches import GroupBatch, LossBatch
from common.grpo.sampling.rollouts import Rollouts, sample_groups
from common.grpo.training.recipe import Recipe
from common.lm.scoring import score_completions
from common.tasks.lookup_qa import LookupQA
from common.tasks.problem import Problem

EPSILON = 0.2
"""Clipping range of the ratio."""

GRPO = Recipe.parse("GRPO", {"advantage": {"name": "grpo", "std": "population", "eps": 1e-6}})
"""Advantages as in the paper's text."""


@dataclass(frozen=True)
class Batch:
    """Responses of a generation batch: B rows in groups of `group_size`.

    Attributes:
        rollouts: what was sampled.
        group_size: G.
        rewards: (B,).
        advantages: (B,).
        old_logps: (B, C), of the policy that sampled, by the training forward pass.
    """

    rollouts: Rollouts
    group_size: int
    rewards: Tensor
    advantages: Tensor
    old_logps: Tensor

    @property
    def mask(self) -> Tensor:
        """(B, C), true for tokens that the policy wrote."""
        return self.rollouts.env_mask.bool()

    def rows(self, chosen: Tensor) -> Batch:
        """Some of the rows."""
        fields = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "env_mask")
        parts = {name: getattr(self.rollouts, name)[chosen] for name in fields}
        return replace(
            self,
            rollouts=replace(self.rollouts, **parts, logps=self.rollouts.logps[chosen]),
            rewards=self.rewards[chosen],
            advantages=self.advantages[chosen],
            old_logps=self.old_logps[chosen],
        )


def score(model: Any, rollouts: Rollouts) -> Tensor:
    """(B, C): log-probabilities under the model, with gradient where gradients are on."""
    return score_completions(model, *rollouts.sequences)[0]


def sample(
    model: Any,
    tokenizer: Any,
    task: LookupQA,
    problems: Sequence[Problem],
    group_size: int,
    max_new_tokens: int,
    generator: torch.Generator,
) -> Batch:
    """Groups of responses with rewards, GRPO's advantages and old log-probabilities."""
    rollouts = sample_groups(
        model,
        [tokenizer(problem.prompt)["input_ids"] for problem in problems],
        group_size=group_size,
        max_new_tokens=max_new_tokens,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        generator=generator,
        environment=task.environment(problems, tokenizer),
    )
    texts = [
        tokenizer.decode(ids[kept.bool()], skip_special_tokens=True)
        for ids, kept in zip(rollouts.completion_ids, rollouts.completion_mask, strict=True)
    ]
    rewards = torch.tensor(
        [task.verify(problems[i // group_size], text) for i, text in enumerate(texts)]
    )
    groups = GroupBatch(group_size, rewards, rollouts.completion_ids, rollouts.env_mask.bool())
    with torch.no_grad():
        old = score(model, rollouts)
    return Batch(rollouts, group_size, rewards, GRPO.advantages(groups), old)


def loss(logps: Tensor, batch: Batch, recipe: Recipe) -> Tensor:
    """Clipped surrogate, averaged over the policy's tokens, plus the recipe's loss terms."""
    ratio = (logps - batch.old_logps).exp()
    advantages = batch.advantages[:, None]
    clipped = ratio.clamp(1 - EPSILON, 1 + EPSILON)
    gain = torch.minimum(ratio * advantages, clipped * advantages).masked_fill(~batch.mask, 0)
    penalty, _ = recipe.penalty(LossBatch(logps, batch.old_logps, batch.advantages, batch.mask))
    return penalty - gain.sum() / batch.mask.sum().clamp(min=1)


def update(
    model: Any,
    optimiser: torch.optim.Optimizer,
    batch: Batch,
    recipe: Recipe,
    minibatches: Sequence[Tensor],
) -> None:
    """One optimiser step per mini-batch (row numbers), gradients clipped to norm 1."""
    model.train()
    for rows in minibatches:
        part = batch.rows(rows)
        optimiser.zero_grad()
        loss(score(model, part.rollouts), part, recipe).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()


def after_update(
    model: Any,
    optimiser: torch.optim.Optimizer,
    batch: Batch,
    recipe: Recipe,
    minibatches: Sequence[Tensor],
) -> LikelihoodStats:
    """What the update does to the batch's likelihoods; model and optimiser stay as they are."""
    trial = copy.deepcopy(model)
    twin = type(optimiser)(trial.parameters(), lr=1.0)  # type: ignore[call-arg]
    # The state brings learning rate and all other options with it.
    twin.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    update(trial, twin, batch, recipe, minibatches)
    with torch.no_grad():
        new = score(trial, batch.rollouts)
    return likelihood_stats(batch.old_logps, new, batch.mask, batch.rewards)


def order(rows: int, minibatches: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """A random split of the rows into mini-batches."""
    return torch.randperm(rows, generator=generator).chunk(minibatches)

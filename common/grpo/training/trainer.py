"""GRPO through TRL with a recipe: the few hooks of `trl.GRPOTrainer` that recipes need."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from trl import GRPOConfig, GRPOTrainer

from common.grpo.rules.batches import GroupBatch, LossBatch
from common.grpo.training.recipe import Recipe
from common.grpo.training.rewards import checked
from common.lm.scoring import (
    TokenStates,
    score_completions,
    states_from_hidden,
    token_states,
)


@dataclass(frozen=True)
class GenerationBatch:
    """What one generation batch was, before its rows are shuffled and split.

    Attributes:
        rows: the rows of the data set, B of them, each prompt G times in a row.
        tensors: what TRL hands to the loss: `prompt_ids`, `completion_ids`, `advantages`, ...
        rewards: (B,), NaN where no function gave one.
        mask: (B, C), true for tokens that the policy wrote.
    """

    rows: list[dict[str, Any]]
    tensors: dict[str, Any]
    rewards: torch.Tensor
    mask: torch.Tensor

    @property
    def sequences(self) -> tuple[torch.Tensor, ...]:
        """Prompts and completions with their masks, as `score_completions` takes them."""
        return sequences_of(self.tensors)


def sequences_of(tensors: dict[str, Any]) -> tuple[torch.Tensor, ...]:
    """Prompts and completions with their masks, of what TRL hands to the loss."""
    names = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
    return tuple(tensors[name] for name in names)


class RecipeTrainer(GRPOTrainer):
    """`trl.GRPOTrainer` with the advantages, token weights and loss terms of a recipe.

    Everything else is TRL's: loss types, clipping, KL, sampling, logging, checkpoints. With an
    empty recipe nothing is changed at all.

    Args:
        recipe: what to compute; its options of TRL belong in `args` already
            (`common.grpo.training.settings.config`).
        answer_span: marks the tokens of the final answer, (B, C) ids to (B, C) booleans, for
            rules that need them.
        args: TRL's configuration.
        reward_funcs: as TRL takes them; their errors name the prompt.
        kwargs: everything else that TRL takes.

    Raises:
        ValueError: the recipe needs log-probabilities of the sampling policy, and the
            configuration is strictly on-policy, where they equal the current ones; or it needs an
            answer span and none is given.
    """

    def __init__(
        self,
        *,
        recipe: Recipe,
        args: GRPOConfig,
        reward_funcs: Any,
        answer_span: Callable[[torch.Tensor], torch.Tensor] | None = None,
        **kwargs: Any,
    ) -> None:
        functions = reward_funcs if isinstance(reward_funcs, list) else [reward_funcs]
        plain = [checked(f) if callable(f) and not _is_model(f) else f for f in functions]
        super().__init__(args=args, reward_funcs=plain, **kwargs)
        self.recipe = recipe
        self.answer_span = answer_span
        self.rows: list[dict[str, Any]] = []
        self.generation_batch: GenerationBatch | None = None
        self._rewards_per_function = torch.empty(0)
        self._logps = torch.empty(0)
        self._recorded = _Recorded()
        _refuse(recipe, args, answer_span)

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        self._rewards_per_function = super()._calculate_rewards(*args, **kwargs)
        return self._rewards_per_function

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self.rows = inputs  # group_rollouts asks which problem each prompt belongs to
        self._recorded = _Recorded()
        output = super()._generate_and_score_completions(inputs)
        mask = output["completion_mask"].bool()
        if "tool_mask" in output:
            mask = mask & output["tool_mask"].bool()
        rewards = self._rewards()
        local = slice(
            self.accelerator.process_index * len(inputs),
            (self.accelerator.process_index + 1) * len(inputs),
        )
        if self.recipe.advantage or self.recipe.token_weights:
            self._reshape_advantages(output, rewards, local, mask)
        self.generation_batch = GenerationBatch(inputs, dict(output), rewards[local], mask)
        return output

    def _reshape_advantages(
        self, output: dict[str, Any], rewards: torch.Tensor, local: slice, mask: torch.Tensor
    ) -> None:
        """Replace TRL's advantages; with token weights they become (B, C), row by row (B,)."""
        training = self.model.training
        group_size = self.num_generations if training else self.num_generations_eval
        batch = GroupBatch(
            group_size,
            rewards[local],
            output["completion_ids"],
            mask,
            entropies=functools.cache(functools.partial(self._entropies, output)),
            states=functools.cache(functools.partial(self._states, output)),
        )
        if len(batch.rewards) % group_size:
            raise ValueError(
                f"{len(batch.rewards)} rows of this process do not make whole groups of "
                f"{group_size}: choose per_device_train_batch_size × steps_per_generation as a "
                "multiple of num_generations"
            )
        if self.recipe.advantage:
            output["advantages"] = self.recipe.advantages(batch)
        weights = self.recipe.weights(batch, output["advantages"])
        if weights is not None:
            output["row_advantages"] = output["advantages"]
            output["advantages"] = output["advantages"][:, None] * weights
            share = (weights[mask] != 0).float().mean() if mask.any() else torch.tensor(0.0)
            mode = "train" if training else "eval"
            self._metrics[mode]["weighted_tokens"].append(share.item())

    def _rewards(self) -> torch.Tensor:
        """Weighted sums over the reward functions, NaN where none gave a reward; all processes."""
        per_function = self._rewards_per_function
        rewards = (per_function * self.reward_weights.to(per_function.device)).nansum(1)
        return rewards.masked_fill(per_function.isnan().all(1), torch.nan)

    def _entropies(self, output: dict[str, Any]) -> torch.Tensor:
        if self._recorded.entropies is not None:
            return self._recorded.entropies
        model = self.accelerator.unwrap_model(self.model)
        rows = self.args.per_device_train_batch_size
        with torch.no_grad():
            return score_completions(
                model, *sequences_of(output), temperature=self.temperature, rows=rows
            )[1]

    def _states(self, output: dict[str, Any]) -> TokenStates:
        model = self.accelerator.unwrap_model(self.model)
        completion = output["completion_ids"], output["completion_mask"]
        if self._recorded.hidden:
            kept = completion[0].shape[1]
            hidden = torch.cat(self._recorded.hidden)[:, -kept - 1 : -1]
            return states_from_hidden(
                model.get_output_embeddings(),
                hidden,
                output["old_per_token_logps"],
                *completion,
                temperature=self.temperature,
            )
        return token_states(
            model,
            output["prompt_ids"],
            output["prompt_mask"],
            *completion,
            temperature=self.temperature,
            rows=self.args.per_device_train_batch_size,
        )

    def _get_per_token_logps_and_entropies(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        if torch.is_grad_enabled() or model is not self.model or not self._recorded.wanted(self):
            result = super()._get_per_token_logps_and_entropies(model, *args, **kwargs)
            self._logps = result[0]  # of the micro-batch whose loss is being computed
            return result
        # TRL scores the sampling policy: what token weights need comes from the same pass.
        base = self.accelerator.unwrap_model(model).base_model
        hook = base.register_forward_hook(self._recorded.take)
        try:
            kwargs["compute_entropy"] = self.recipe.needs("entropies")
            result = super()._get_per_token_logps_and_entropies(model, *args, **kwargs)
        finally:
            hook.remove()
        self._recorded.entropies = result[1]
        return result

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        loss = super()._compute_loss(model, inputs)
        if not self.recipe.loss_terms:
            return loss
        training = self.model.training
        mask = inputs["completion_mask"].bool()
        if "tool_mask" in inputs:
            mask = mask & inputs["tool_mask"].bool()
        penalty, logged = self.recipe.penalty(
            LossBatch(
                self._logps,
                inputs.get("old_per_token_logps", self._logps.detach()),
                inputs.get("row_advantages", inputs["advantages"]),
                mask,
                self.answer_span(inputs["completion_ids"]) if self.answer_span else None,
            )
        )
        for name, value in logged.items():
            self._metrics["train" if training else "eval"][name].append(value)
        return loss + penalty / (self.current_gradient_accumulation_steps if training else 1)


@dataclass
class _Recorded:
    """What TRL's own pass over a generation batch has shown of the sampling policy."""

    hidden: list[torch.Tensor] = field(default_factory=list)
    entropies: torch.Tensor | None = None

    def wanted(self, trainer: RecipeTrainer) -> bool:
        """Once a batch, where a rule needs it and TRL scores the sampling policy at all."""
        rules = trainer.recipe.needs("states") or trainer.recipe.needs("entropies")
        fresh = not self.hidden and self.entropies is None
        return rules and fresh and not is_on_policy(trainer.args)

    def take(self, module: Any, args: Any, output: Any) -> None:
        self.hidden.append(output.last_hidden_state)


def is_on_policy(args: GRPOConfig) -> bool:
    """Whether every batch serves one optimiser step only: TRL then keeps no old log-probs."""
    per_generation = args.steps_per_generation * args.num_iterations
    corrected = args.use_vllm and args.vllm_importance_sampling_correction
    return bool(args.gradient_accumulation_steps % per_generation == 0 and not corrected)


def _refuse(recipe: Recipe, args: GRPOConfig, answer_span: object) -> None:
    names = ", ".join(str(part) for part in recipe.parts)
    if recipe.needs("old_logps") and is_on_policy(args):
        raise ValueError(
            f"recipe {recipe.name!r} ({names}) compares the policy with the one that sampled, but "
            f"every batch is used for a single optimiser step (steps_per_generation="
            f"{args.steps_per_generation}, num_iterations={args.num_iterations}, "
            f"gradient_accumulation_steps={args.gradient_accumulation_steps}): the two are equal "
            "and the term would always be zero. Raise steps_per_generation or num_iterations."
        )
    if recipe.needs("answer_mask") and answer_span is None:
        raise ValueError(f"recipe {recipe.name!r} ({names}) needs `answer_span`")


def _is_model(function: Any) -> bool:
    return isinstance(function, torch.nn.Module)

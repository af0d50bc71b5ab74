"""`sample_groups` as TRL's `rollout_func`, with tool use in the middle of completions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from common.grpo.sampling.rollouts import Environment, Rollouts, sample_groups
from common.tasks.problem import Problem

RolloutFunc = Callable[[list[Any], Any], dict[str, Any]]


def group_rollouts(
    problems: Sequence[Problem] = (),
    environment: Callable[[list[Problem]], Environment] | None = None,
    *,
    dtype: torch.dtype | None = None,
) -> RolloutFunc:
    """A `rollout_func` for `trl.GRPOTrainer` on `common.grpo.sampling.rollouts`.

    Model, group size, temperature, length and end tokens are the trainer's. Prompts are plain
    text or conversations, which go through the chat template. The random numbers depend on the
    trainer's seed and step alone, so that a resumed run samples what an uninterrupted one would.
    Reward functions get the argument `finished`, one boolean per completion. For one process, or
    several with a whole model each.

    TRL hands over prompts only. The problem behind a prompt is looked up in `trainer.rows`, the
    rows of the generation batch with an index `problem` into `problems`, if the trainer keeps
    them, and else by the prompt's text.

    Args:
        problems: all problems that may be asked; needed with an environment only.
        environment: makes what answers the policy, for a list of problems, one per completion.
        dtype: as for `sample_groups`.

    Raises:
        ValueError: on a call: a sampling option of the trainer that `sample_groups` does not
            have, or a prompt that belongs to no problem or to several.
    """
    by_prompt: dict[str, list[Problem]] = {}
    for problem in problems:
        same = by_prompt.setdefault(problem.prompt, [])
        if problem not in same:
            same.append(problem)
    calls: dict[str, Any] = {"at": None, "count": 0}

    def rollout(prompts: list[Any], trainer: Any) -> dict[str, Any]:
        _refuse_other_sampling(trainer)
        answerer = None
        if environment is not None:
            answerer = environment(_problems(prompts, trainer, problems, by_prompt))
        at = (trainer.state.global_step, trainer.model.training)
        calls["count"] = calls["count"] + 1 if calls["at"] == at else 0
        calls["at"] = at
        # Prompts come repeated; equal ones are read once.
        rollouts = sample_groups(
            trainer.accelerator.unwrap_model(trainer.model),
            trainer._tokenize_prompts(prompts)[0],
            group_size=1,
            max_new_tokens=trainer.max_completion_length,
            eos_token_id=trainer.eos_token_ids,
            pad_token_id=trainer._tokenizer.pad_token_id,
            temperature=trainer.temperature,
            generator=_generator(trainer, calls["count"]),
            environment=answerer,
            dtype=dtype,
        )
        return _as_lists(rollouts, with_environment=environment is not None)

    return rollout


def _problems(
    prompts: list[Any],
    trainer: Any,
    problems: Sequence[Problem],
    by_prompt: Mapping[str, list[Problem]],
) -> list[Problem]:
    rows = getattr(trainer, "rows", None)
    if rows is not None and [row["prompt"] for row in rows] == prompts:
        return [problems[row["problem"]] for row in rows]
    found = []
    for prompt in prompts:
        text = prompt if isinstance(prompt, str) else prompt[-1]["content"]
        candidates = by_prompt.get(text, [])
        if len(candidates) != 1:
            raise ValueError(
                f"prompts: {text!r} belongs to {len(candidates)} of the problems; one is needed"
            )
        found.append(candidates[0])
    return found


def _generator(trainer: Any, call: int) -> torch.Generator:
    """Seeded by the seed, the step, the number of the call in this step, mode and process."""
    entropy = [
        trainer.args.seed,
        trainer.state.global_step,
        call,
        int(trainer.model.training),
        trainer.accelerator.process_index,
    ]
    (state,) = np.random.SeedSequence(entropy).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state >> 1))


def _refuse_other_sampling(trainer: Any) -> None:
    plain: dict[str, tuple[Any, ...]] = {
        "top_p": (1, 1.0),
        "top_k": (0, None),
        "min_p": (0, None),
        "repetition_penalty": (1, 1.0),
    }
    for name, values in plain.items():
        if getattr(trainer, name) not in values:
            raise ValueError(f"{name}: {getattr(trainer, name)}; group_rollouts has no such option")
    if trainer.args.generation_kwargs:
        raise ValueError("generation_kwargs: group_rollouts has no such option")


def _as_lists(rollouts: Rollouts, *, with_environment: bool) -> dict[str, Any]:
    def real(table: torch.Tensor, mask: torch.Tensor) -> list[list[Any]]:
        return [row[kept].tolist() for row, kept in zip(table, mask.bool(), strict=True)]

    mask = rollouts.completion_mask
    lists: dict[str, Any] = {
        "prompt_ids": real(rollouts.prompt_ids, rollouts.prompt_mask),
        "completion_ids": real(rollouts.completion_ids, mask),
        "logprobs": real(rollouts.logps, mask),
        "finished": rollouts.finished.tolist(),
    }
    if with_environment:
        lists["env_mask"] = real(rollouts.env_mask, mask)
    return lists

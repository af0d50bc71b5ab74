"""Training with a recipe: one call, one tidy table, for small decoders and for real models alike.

TRL's trainer does the work. For a decoder of 2 layers × 64 its own cost was about as large as that
of the network when it was measured: too little to justify a second trainer.
"""

from __future__ import annotations

import functools
import json
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import TrainerCallback

from common.grpo.training.recipe import Recipe
from common.grpo.training.settings import Settings, config, iterations
from common.lm.scoring import score_completions
from common.tasks.problem import Problem, Task

if TYPE_CHECKING:
    import pandas as pd
    from trl import GRPOConfig

    from common.grpo.sampling.rollouts import Environment
    from common.grpo.training.trainer import GenerationBatch, RecipeTrainer


@dataclass(frozen=True)
class StepRecord:
    """A generation batch after the policy was updated with it.

    Attributes:
        step: number of the generation batch, from 0.
        model: the policy after the batch's updates.
        problems: P problems.
        batch: rows, tensors, rewards and mask (`common.grpo.training.trainer.GenerationBatch`).
        temperature: of sampling.
    """

    step: int
    model: Any
    problems: list[Problem]
    batch: GenerationBatch
    temperature: float

    @property
    def rewards(self) -> torch.Tensor:
        """(B,), NaN where there was none."""
        return self.batch.rewards

    @property
    def mask(self) -> torch.Tensor:
        """(B, C), true for tokens that the policy wrote."""
        return self.batch.mask

    @property
    def completion_ids(self) -> torch.Tensor:
        """(B, C), right-padded."""
        return self.batch.tensors["completion_ids"]

    @property
    def advantages(self) -> torch.Tensor:
        """(B,), before token weights."""
        tensors = self.batch.tensors
        return tensors.get("row_advantages", tensors["advantages"])

    @property
    def old_logps(self) -> torch.Tensor:
        """(B, C) under the policy that sampled.

        Raises:
            KeyError: the run is strictly on-policy, where TRL does not compute them.
        """
        return self.batch.tensors["old_per_token_logps"]

    @functools.cached_property
    def _new_logps(self) -> torch.Tensor:
        with torch.no_grad():
            return score_completions(
                self.model, *self.batch.sequences, temperature=self.temperature
            )[0]

    def new_logps(self) -> torch.Tensor:
        """(B, C) under the policy after the batch's updates; one more forward pass."""
        return self._new_logps


Watch = Callable[[StepRecord], Mapping[str, float]]


def train(
    model: Any,
    tokenizer: Any,
    task: Task,
    recipe: Recipe,
    settings: Settings,
    *,
    steps: int,
    seed: int,
    environment: Callable[[list[Problem]], Environment] | None = None,
    watch: Watch | None = None,
    problems: Callable[[int], list[Problem]] | None = None,
    answer_span: Callable[[torch.Tensor], torch.Tensor] | None = None,
    folder: Path | None = None,
    save_every: int | None = None,
) -> pd.DataFrame:
    """Train a policy with a recipe and return what happened, one row per generation batch.

    Args:
        model: a causal language model of transformers, trained in place.
        tokenizer: its tokenizer.
        task: gives problems and rewards.
        recipe: what to compute.
        settings: batch sizes, learning rate and the like.
        steps: generation batches.
        seed: of problems, sampling and shuffling.
        environment: makes the answerer of tool calls for the problems of a batch.
        watch: called after each generation batch's updates; its numbers become columns.
        problems: the problems of step s; by default `task.generate` with a seed of `seed` and s.
        answer_span: marks the final answer for rules that need it.
        folder: where checkpoints go; a run that finds one there goes on from it.
        save_every: generation batches between checkpoints; none without `folder`.

    Returns:
        Columns step, reward, reward_std, zero_variance (share of groups), entropy, grad_norm
        (largest of the batch's updates), clip_fraction, kl, length, loss, logp_correct and
        logp_wrong (mean log-probability per token of rows with reward 1 and 0, under the policy
        that sampled, in nats; NaN without such rows or strictly on-policy), and those of `watch`.

    Raises:
        ValueError: recipe and settings do not fit, as `RecipeTrainer` says.
        RewardError: the verifier failed; the message names the prompt.
    """
    import pandas as pd

    batches = [
        problems(step) if problems else task.generate(_seed(seed, step), settings.groups)
        for step in range(steps)
    ]
    with warnings.catch_warnings(), tempfile.TemporaryDirectory(prefix="claimbook-") as scratch:
        # TRL sets an option of transformers under its old name.
        warnings.filterwarnings("ignore", r".*gradient_checkpointing.*", FutureWarning)
        output = Path(folder or scratch) / "checkpoints"
        arguments = config(recipe, settings, steps, seed, output, model)
        if save_every:
            arguments.save_strategy = "steps"
            arguments.save_steps = save_every * settings.minibatches * iterations(recipe)
        if arguments.beta:
            _remember_where(model, tokenizer, Path(scratch) / "reference")
        journal = _Journal(recipe, settings, batches, watch)
        trainer = _trainer(
            model, tokenizer, task, recipe, arguments, batches, environment, answer_span, settings
        )
        journal.attach(trainer)
        trainer.train(resume_from_checkpoint=_last_checkpoint(output))
    return pd.DataFrame(journal.rows)


def _trainer(
    model: Any,
    tokenizer: Any,
    task: Task,
    recipe: Recipe,
    arguments: GRPOConfig,
    batches: list[list[Problem]],
    environment: Callable[[list[Problem]], Environment] | None,
    answer_span: Callable[[torch.Tensor], torch.Tensor] | None,
    settings: Settings,
) -> RecipeTrainer:
    from datasets import Dataset

    from common.grpo.training.rewards import task_reward
    from common.grpo.training.trainer import RecipeTrainer

    every = [problem for batch in batches for problem in batch]
    rows = [{"prompt": problem.prompt, "problem": i} for i, problem in enumerate(every)]
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    rollout = None
    if settings.sampler == "groups":
        from common.grpo.sampling.trl_rollouts import group_rollouts

        rollout = group_rollouts(every, environment)
    trainer = RecipeTrainer(
        recipe=recipe,
        model=model,
        args=arguments,
        reward_funcs=task_reward(task, every),
        answer_span=answer_span,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        rollout_func=rollout,
    )
    return trainer


class _Journal(TrainerCallback):
    """Collects TRL's logs, one optimiser step each, into rows of one generation batch each."""

    def __init__(
        self,
        recipe: Recipe,
        settings: Settings,
        batches: list[list[Problem]],
        watch: Watch | None,
    ) -> None:
        self.rows: list[dict[str, float]] = []
        self._settings, self._batches, self._watch = settings, batches, watch
        self._updates = settings.minibatches * iterations(recipe)
        self._terms = tuple(f"{part.rule.name}/" for part in recipe.loss_terms)
        self._logs: list[dict[str, float]] = []
        self._trainer: RecipeTrainer | None = None

    def attach(self, trainer: RecipeTrainer) -> None:
        from transformers import PrinterCallback

        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(self)
        self._trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After a resumption, take up the rows up to the checkpoint."""
        import pandas as pd

        if state.global_step:
            rows = pd.read_parquet(_checkpoint(args, state) / JOURNAL).to_dict("records")
            self.rows = [{str(name): value for name, value in row.items()} for row in rows]

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        if not logs or "loss" not in logs:
            return
        self._logs.append(logs)
        if state.global_step % self._updates == 0:
            self._close(state.global_step // self._updates - 1)

    def _close(self, step: int) -> None:
        assert self._trainer is not None
        assert self._trainer.generation_batch is not None
        batch = self._trainer.generation_batch
        model = self._trainer.accelerator.unwrap_model(self._trainer.model)
        row = {"step": step} | _rewards(batch, self._settings.group_size)
        row |= _updates(self._logs, self._terms)
        if self._watch:
            looked = StepRecord(step, model, self._batches[step], batch, self._settings.temperature)
            row |= self._watch(looked)
        self.rows.append(row)
        self._logs = []

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The rows so far belong to the checkpoint, which is whole from now on."""
        import pandas as pd

        folder = _checkpoint(args, state)
        pd.DataFrame(self.rows).to_parquet(folder / JOURNAL)
        mark_whole(folder)


def _rewards(batch: GenerationBatch, group_size: int) -> dict[str, float]:
    rewards = batch.rewards.double()
    groups = rewards.view(-1, group_size)
    known = rewards[~rewards.isnan()]
    spread = groups.nan_to_num(nan=0.0).amax(1) - groups.nan_to_num(nan=0.0).amin(1)
    lengths = batch.mask.sum(1).double()
    old = batch.tensors.get("old_per_token_logps")
    return {
        "reward": float(known.mean()) if len(known) else math.nan,
        "reward_std": float(known.std()) if len(known) > 1 else math.nan,
        "zero_variance": float((spread == 0).double().mean()),
        "length": float(lengths.mean()),
        "logp_correct": _mean_logp(old, batch.mask, rewards == 1),
        "logp_wrong": _mean_logp(old, batch.mask, rewards == 0),
    }


def _mean_logp(old: torch.Tensor | None, mask: torch.Tensor, rows: torch.Tensor) -> float:
    """Mean over the tokens of these rows."""
    if old is None or not mask[rows].any():
        return math.nan
    return float(old[rows][mask[rows]].double().mean())


def _updates(logs: list[dict[str, float]], terms: tuple[str, ...]) -> dict[str, float]:
    """Means over the batch's optimiser steps; of the gradient's norm the largest.

    Args:
        logs: what TRL logged, a step each.
        terms: how the names of what loss terms want logged begin.
    """
    names = {"loss": "loss", "entropy": "entropy", "clip_ratio/region_mean": "clip_fraction"}
    columns = {ours: _mean(logs, theirs) for theirs, ours in names.items()}
    columns["kl"] = _mean(logs, "kl")
    columns["grad_norm"] = max(float(log["grad_norm"]) for log in logs)
    ours = {key for log in logs for key in log if key.startswith(terms) or key == "weighted_tokens"}
    return columns | {key: _mean(logs, key) for key in sorted(ours)}


def _mean(logs: list[dict[str, float]], name: str) -> float:
    values = [float(log[name]) for log in logs if log.get(name) is not None]
    return float(np.mean(values)) if values else math.nan


def _seed(seed: int, step: int) -> int:
    """A seed of its own for every step of every run."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1)[0])


def _remember_where(model: Any, tokenizer: Any, folder: Path) -> None:
    """Save the policy as it starts: TRL loads its reference model from a path."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    model.config._name_or_path = str(folder)


JOURNAL = "journal.parquet"
MARK = "whole.json"


def _checkpoint(args: Any, state: Any) -> Path:
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"


def mark_whole(checkpoint: Path) -> None:
    """Write down which files a checkpoint consists of, now that all of them are there."""
    sizes = {file.name: file.stat().st_size for file in checkpoint.iterdir() if file.is_file()}
    partial = checkpoint / f"{MARK}.partial"
    partial.write_text(json.dumps(sizes))
    os.replace(partial, checkpoint / MARK)


def is_whole(checkpoint: Path) -> bool:
    """Whether every file of a checkpoint is there as it was when the checkpoint was finished."""
    try:
        sizes = json.loads((checkpoint / MARK).read_text())
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def _last_checkpoint(folder: Path) -> str | None:
    """The newest whole checkpoint: a run may be killed while it saves."""
    found = [(int(one.name.rpartition("-")[2]), one) for one in folder.glob("checkpoint-*[0-9]")]
    whole = [one for _, one in sorted(found) if is_whole(one)]
    return str(whole[-1]) if whole else None

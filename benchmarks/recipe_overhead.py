"""What recipes add to a GRPO step, against TRL's own trainer on the same batches.

One step is everything that follows from one generation batch: sampling, rewards, advantages, old
log-probabilities, and the optimiser steps. All trainers are stepped in turn in one process; the
numbers are medians, and ratios to `trl.GRPOTrainer` with the same sampler. Targets: 5 % for a
recipe, 10 % for token hidden rewards.

    python -m benchmarks.recipe_overhead                                # 2 layers × 64
    python -m benchmarks.recipe_overhead --model smollm2-135m-instruct --repeats 5
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from datasets import Dataset
from tqdm import tqdm
from trl import GRPOTrainer
from trl.trainer.utils import shuffle_sequence_dict, split_tensor_dict

from common.grpo.sampling.trl_rollouts import group_rollouts
from common.grpo.training.recipe import Recipe
from common.grpo.training.settings import Settings, config
from common.grpo.training.trainer import RecipeTrainer
from common.lm.load import load
from common.lm.small import small_decoder, word_tokenizer

RECIPES: dict[str, dict[str, Any]] = {
    "TRL": {},
    "empty recipe": {},
    "RLOO": {"advantage": "rloo"},
    "Pass@4-GRPO": {"advantage": {"name": "passk_grpo", "k": 4}},
    "LLDS": {"advantage": "grpo", "loss_terms": {"llds": {"weight": 0.2}}},
    "THR": {"advantage": "grpo", "token_weights": {"name": "thr", "p": 0.1}},
    "NTHR": {"advantage": "grpo", "token_weights": "nthr"},
}


def parity(completion_ids: list[list[int]], **_: Any) -> list[float]:
    """A reward that differs within groups and costs nothing."""
    return [float(sum(ids) % 2) for ids in completion_ids]


def policy(name: str, context: int) -> tuple[Any, Any, list[str]]:
    """Model, tokenizer and prompts."""
    words = [f"w{i}" for i in range(196)]
    if name == "small":
        tokenizer = word_tokenizer(words)
        prompts = [" ".join(words[i : i + 16]) for i in range(64)]
        return small_decoder(tokenizer, max_length=context, seed=0), tokenizer, prompts
    model, tokenizer = load(name)
    return model, tokenizer, [f"Write {i} words about the number {i} and why." for i in range(64)]


def make(name: str, arguments: argparse.Namespace, folder: Path) -> GRPOTrainer:
    """A trainer of one arm, with its own copy of the policy."""
    model, tokenizer, prompts = policy(arguments.model, 32 + arguments.new_tokens)
    settings = Settings(
        arguments.new_tokens,
        1e-4,
        groups=arguments.groups,
        group_size=arguments.group_size,
        minibatches=arguments.minibatches,
    )
    recipe = Recipe.parse(name, RECIPES[name])
    options: dict[str, Any] = {
        "model": model,
        "args": config(recipe, settings, 1, 0, folder, model),
        "reward_funcs": parity,
        "train_dataset": Dataset.from_dict({"prompt": prompts}),
        "processing_class": tokenizer,
        "rollout_func": group_rollouts(),
    }
    trainer = GRPOTrainer(**options) if name == "TRL" else RecipeTrainer(recipe=recipe, **options)
    trainer.current_gradient_accumulation_steps = 1
    trainer.optimizer = torch.optim.AdamW(trainer.model.parameters(), lr=1e-4)
    trainer.model.train()
    return trainer


def step(trainer: GRPOTrainer, groups: int, group_size: int) -> float:
    """Seconds of one generation batch, from prompts to new weights."""
    prompts = trainer.train_dataset["prompt"][:groups]
    rows = [{"prompt": prompt} for prompt in prompts for _ in range(group_size)]
    started = time.perf_counter()
    batch = shuffle_sequence_dict(trainer._generate_and_score_completions(rows))
    for part in split_tensor_dict(batch, trainer.args.steps_per_generation):
        trainer.optimizer.zero_grad()
        trainer._compute_loss(trainer.model, part).backward()
        torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0)
        trainer.optimizer.step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", default="small", help='"small", a bundled model or a hub id')
    parser.add_argument("--groups", type=int, default=8)
    parser.add_argument("--group-size", type=int, default=8)
    parser.add_argument("--minibatches", type=int, default=4)
    parser.add_argument("--new-tokens", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    names = ["TRL", *(name for name in arguments.recipes if name != "TRL")]
    with tempfile.TemporaryDirectory() as folder:
        trainers = {name: make(name, arguments, Path(folder)) for name in names}
        times: dict[str, list[float]] = {name: [] for name in names}
        for repeat in tqdm(range(arguments.repeats + 2), desc="steps"):
            # Every other round backwards: whoever comes after a slow arm must not pay for it.
            for name in names if repeat % 2 else reversed(names):
                seconds = step(trainers[name], arguments.groups, arguments.group_size)
                if repeat >= 2:  # the first ones warm up
                    times[name].append(seconds)
    print(f"{arguments.model}, {arguments.threads} threads, {arguments.repeats} repeats")
    for name in names:
        pairs = zip(times[name], times["TRL"], strict=True)
        ratio = median(ours / theirs for ours, theirs in pairs)
        print(f"{name:14} {median(times[name]):7.3f} s a step   {100 * (ratio - 1):+6.1f} %")


if __name__ == "__main__":
    main()

"""How good a policy is: greedy accuracy and Pass@k on given problems."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from common.grpo.sampling.rollouts import Environment, Rollouts, sample_groups
from common.lm.pass_at_k import pass_at_k
from common.tasks.problem import Problem, Task

if TYPE_CHECKING:
    import pandas as pd
    import torch


def evaluate(
    model: Any,
    tokenizer: Any,
    task: Task,
    problems: Sequence[Problem],
    *,
    samples: int,
    max_new_tokens: int,
    ks: Sequence[int],
    generator: torch.Generator,
    temperature: float = 1.0,
    environment: Callable[[list[Problem]], Environment] | None = None,
    correct_from: float = 1.0,
) -> pd.DataFrame:
    """Greedy and sampled success, one row per problem.

    Args:
        model: a causal language model of transformers.
        tokenizer: its tokenizer.
        task: verifies.
        problems: what to ask, usually problems that training has not seen.
        samples: n, completions sampled per problem.
        max_new_tokens: longest completion, observations included.
        ks: the k of Pass@k, each at most n.
        generator: of the sampling.
        temperature: of the sampling.
        environment: makes the answerer of tool calls for a list of problems.
        correct_from: smallest reward that counts as correct.

    Returns:
        Columns problem (its number), difficulty, greedy (0 or 1), samples (n), correct (c), and
        pass_at_<k>, unbiased.
    """
    import pandas as pd

    prompts = [tokenizer(problem.prompt)["input_ids"] for problem in problems]

    def run(**options: Any) -> list[bool]:
        rollouts = sample_groups(
            model,
            prompts,
            max_new_tokens=max_new_tokens,
            eos_token_id=end_tokens(model, tokenizer),
            pad_token_id=tokenizer.pad_token_id,
            temperature=temperature,
            environment=environment(list(problems)) if environment else None,
            **options,
        )
        repeated = [p for p in problems for _ in range(options["group_size"])]
        texts = completion_texts(rollouts, tokenizer)
        return [task.verify(p, t) >= correct_from for p, t in zip(repeated, texts, strict=True)]

    greedy = run(group_size=1, greedy=True)
    sampled = run(group_size=samples, generator=generator)
    correct = [sum(sampled[i : i + samples]) for i in range(0, len(sampled), samples)]
    frame = pd.DataFrame(
        {
            "problem": range(len(problems)),
            "difficulty": [problem.difficulty for problem in problems],
            "greedy": [int(success) for success in greedy],
            "samples": samples,
            "correct": correct,
        }
    )
    return frame.assign(**{f"pass_at_{k}": pass_at_k(samples, correct, k) for k in ks})


def completion_texts(rollouts: Rollouts, tokenizer: Any) -> list[str]:
    """What every row wrote, observations included, as TRL hands it to reward functions."""
    ids, mask = rollouts.completion_ids.tolist(), rollouts.completion_mask.bool().tolist()
    rows = [
        [t for t, real in zip(*row, strict=True) if real] for row in zip(ids, mask, strict=True)
    ]
    texts: list[str] = tokenizer.batch_decode(rows, skip_special_tokens=True)
    return texts


def end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """The tokens that end a completion: the tokenizer's and those of the generation settings."""
    configured = model.generation_config.eos_token_id
    several = configured if isinstance(configured, list) else [configured]
    return sorted({token for token in [tokenizer.eos_token_id, *several] if token is not None})

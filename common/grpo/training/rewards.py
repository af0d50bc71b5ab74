"""Reward functions for TRL: verifiers of tasks, and errors that name what they failed on."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, SupportsFloat

from common.tasks.problem import Problem, Task

RewardFunction = Callable[..., Sequence[float | None]]


class RewardError(RuntimeError):
    """A reward function failed; the message names it and the prompt."""


def task_reward(task: Task, problems: Sequence[Problem]) -> RewardFunction:
    """The task's verifier as TRL's reward function.

    Args:
        task: its verifier gives the rewards.
        problems: what the column `problem` of the data set numbers.
    """

    def reward(
        completions: Sequence[Any], problem: Sequence[int], **_: Any
    ) -> Sequence[float | None]:
        texts = (_text(completion) for completion in completions)
        pairs = zip(problem, texts, strict=True)
        return [_in_range(task.verify(problems[i], text)) for i, text in pairs]

    reward.__name__ = task.name
    return reward


def _in_range(reward: float | None) -> float | None:
    """A verifier's reward, which lies between 0 and 1; None and NaN are none.

    Raises:
        ValueError: it lies elsewhere.
    """
    if reward is not None and (reward < 0 or reward > 1):
        raise ValueError(f"a verifier gives rewards from 0 to 1, not {reward}")
    return reward


def checked(reward: RewardFunction) -> RewardFunction:
    """The same function, whose failures name the prompt.

    A reward of None or NaN stays what TRL takes it for: the row has no reward.

    Raises (when called):
        RewardError: the function raised, gave an infinite reward, or no number per prompt.
    """

    @functools.wraps(reward)
    def call(
        prompts: Sequence[Any], completions: Sequence[Any], **columns: Any
    ) -> Sequence[float | None]:
        try:
            rewards = reward(prompts=prompts, completions=completions, **columns)
        except Exception as error:
            row = _failing_row(reward, prompts, completions, columns)
            place = "no single row" if row is None else f"prompt {_short(prompts[row])}"
            raised = f"raised {type(error).__name__} on {place}: {error}"
            raise RewardError(f"reward function {_name(reward)!r} {raised}") from error
        if not isinstance(rewards, Iterable):
            raise RewardError(
                f"reward function {_name(reward)!r} gave {_short(rewards)} for {len(prompts)} "
                f"prompts, the first of which is {_short(prompts[0])}: one number each is expected"
            )
        for prompt, value in zip(prompts, rewards, strict=False):
            if value is not None and not isinstance(value, SupportsFloat):
                raise RewardError(
                    f"reward function {_name(reward)!r} gave {_short(value)}, which is no number, "
                    f"on prompt {_short(prompt)}"
                )
            if value is not None and math.isinf(value):
                raise RewardError(
                    f"reward function {_name(reward)!r} gave {value} on prompt {_short(prompt)}"
                )
        return rewards

    return call


def _failing_row(
    reward: RewardFunction,
    prompts: Sequence[Any],
    completions: Sequence[Any],
    columns: dict[str, Any],
) -> int | None:
    """The first row on which the function fails alone: it saw the whole batch at once."""
    for row in range(len(prompts)):
        alone = {
            key: [value[row]] if isinstance(value, list) and len(value) == len(prompts) else value
            for key, value in columns.items()
        }
        try:
            reward(prompts=[prompts[row]], completions=[completions[row]], **alone)
        except Exception:
            return row
    return None


def _text(completion: Any) -> str:
    """A completion as text; TRL gives conversations as lists of messages."""
    if isinstance(completion, str):
        return completion
    return "".join(message["content"] for message in completion)


def _name(reward: RewardFunction) -> str:
    return getattr(reward, "__name__", type(reward).__name__)


def _short(value: Any, most: int = 200) -> str:
    text = repr(value)
    return text if len(text) <= most else text[: most - 1] + "…"

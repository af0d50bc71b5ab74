"""Reward functions: a failure names the function and the prompt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from common.grpo.training.rewards import RewardError, checked, task_reward
from common.tasks.problem import Problem
from tests.common.grpo.conftest import FirstWord


def test_the_verifier_is_asked_with_the_row_s_own_problem() -> None:
    task = FirstWord()
    problems = task.generate(0, 3)
    reward = task_reward(task, problems)
    assert reward.__name__ == "first_word"
    solutions = [problem.solution for problem in problems]
    assert list(reward(completions=solutions, problem=[0, 1, 2])) == [1, 1, 1]
    talk = [[{"role": "assistant", "content": solutions[1]}]]
    assert list(reward(completions=talk, problem=[1])) == [1]
    assert list(reward(completions=["nothing"], problem=[1])) == [0]


def raise_on_bad(prompts: Sequence[str], completions: Sequence[str], **_: Any) -> list[float]:
    if "bad" in prompts:
        raise KeyError("no answer")
    return [0.5] * len(prompts)


def test_an_exception_names_function_and_prompt() -> None:
    call = checked(raise_on_bad)
    assert list(call(prompts=["good"], completions=["x"])) == [0.5]
    with pytest.raises(RewardError, match=r"'raise_on_bad' raised KeyError on prompt 'bad'") as e:
        call(prompts=["good", "bad"], completions=["x", "y"], answer=["1", "2"])
    assert isinstance(e.value.__cause__, KeyError)


def test_a_failure_of_the_batch_alone_says_so() -> None:
    def whole_batch(prompts: Sequence[str], **_: Any) -> list[float]:
        raise_if = len(prompts) > 1
        if raise_if:
            raise ValueError("too many")
        return [1.0]

    with pytest.raises(RewardError, match="on no single row"):
        checked(whole_batch)(prompts=["a", "b"], completions=["x", "y"])


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_an_infinite_reward_is_refused(value: float) -> None:
    def reward(prompts: Sequence[str], **_: Any) -> list[float]:
        return [value for _ in prompts]

    with pytest.raises(RewardError, match=r"'reward' gave -?inf on prompt 'a'"):
        checked(reward)(prompts=["a"], completions=["x"])


def test_nan_and_none_pass_as_no_reward() -> None:
    def reward(prompts: Sequence[str], **_: Any) -> list[float | None]:
        return [math.nan, None]

    given = checked(reward)(prompts=["a", "b"], completions=["x", "y"])
    assert given[1] is None


@pytest.mark.parametrize("value", [-1.0, 1.5, float("inf")])
def test_a_verifier_outside_its_range_is_an_error(value: float) -> None:
    class Wrong(FirstWord):
        def verify(self, problem: Problem, completion: str) -> float:
            return value

    problems = Wrong().generate(0, 1)
    reward = checked(task_reward(Wrong(), problems))
    with pytest.raises(RewardError, match="gives rewards from 0 to 1, not"):
        reward(prompts=["a"], completions=["b"], problem=[0])


@pytest.mark.parametrize("value", [1.0, None, ["1"], [[1.0]]])
def test_a_reward_function_that_gives_no_number_each_is_named(value: Any) -> None:
    def odd(**_: Any) -> Any:
        return value

    with pytest.raises(RewardError, match=r"reward function 'odd' gave .*'where'"):
        checked(odd)(prompts=["where"], completions=["b"])

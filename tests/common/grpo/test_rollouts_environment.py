"""Observations in the middle of completions."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.common.grpo.test_rollouts import completions, sample, scored
from tests.common.grpo.tiny_models import EOS, gpt2, llama

TRIGGERS = frozenset({5, 8, 11, 14, 17, 20})


class Scripted:
    """Answers with what it is told, and writes down what it was asked."""

    triggers = TRIGGERS

    def __init__(self, answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[int, list[int]]] = []

    def respond(self, prompt_index: int, completion: list[int]) -> list[int] | None:
        self.asked.append((prompt_index, completion))
        return self.answers(prompt_index, completion)


@pytest.mark.parametrize("make", [llama, gpt2])
def test_observations_are_forced_and_masked(make: Any) -> None:
    model = make()
    environment = Scripted(lambda prompt, completion: [3, EOS, 5])  # end and trigger mean nothing
    rollouts = sample(model, environment=environment, eos_token_id=[])
    forced = 0
    for ids, mask in zip(completions(rollouts), rollouts.env_mask.tolist(), strict=True):
        position = 0
        while position < len(ids):
            assert mask[position] == 1
            position += 1
            if ids[position - 1] in TRIGGERS:
                observed = [3, EOS, 5][: len(ids) - position]
                assert ids[position : position + 3] == observed
                assert mask[position : position + 3] == [0] * len(observed)
                forced += len(observed)
                position += 3
    assert forced > 20
    assert (rollouts.completion_mask - rollouts.env_mask).sum() == forced
    torch.testing.assert_close(rollouts.logps, scored(model, rollouts), atol=2e-5, rtol=0)
    assert rollouts.logps[rollouts.env_mask == 0].eq(0).all()
    assert not rollouts.finished.any()


def test_the_environment_sees_the_prompt_and_everything_written() -> None:
    environment = Scripted(lambda prompt, completion: [3])
    rollouts = sample(llama(), environment=environment)
    written = completions(rollouts)
    assert environment.asked
    for prompt, completion in environment.asked:
        assert completion[-1] in TRIGGERS
        group = written[3 * prompt : 3 * prompt + 3]
        assert any(row[: len(completion)] == completion for row in group)


def test_none_ends_a_row_with_its_trigger() -> None:
    rollouts = sample(llama(), environment=Scripted(lambda prompt, completion: None))
    for ids, finished in zip(completions(rollouts), rollouts.finished, strict=True):
        assert not TRIGGERS & set(ids[:-1])
        assert bool(finished) == (ids[-1] in TRIGGERS | {EOS})


def test_an_empty_observation_changes_nothing() -> None:
    model = llama()
    silent = sample(model, environment=Scripted(lambda prompt, completion: []))
    assert completions(silent) == completions(sample(model))
    assert silent.env_mask.equal(silent.completion_mask)


def test_an_observation_longer_than_the_room_is_cut_and_the_row_unfinished() -> None:
    rollouts = sample(llama(), environment=Scripted(lambda prompt, completion: [3] * 100))
    for ids, mask, finished in zip(
        completions(rollouts), rollouts.env_mask.tolist(), rollouts.finished, strict=True
    ):
        asked = [index for index, token in enumerate(ids) if token in TRIGGERS]
        if asked:
            assert len(ids) == 12 and not finished
            assert ids[asked[0] + 1 :] == [3] * (11 - asked[0])
            assert sum(mask) == asked[0] + 1


def test_the_end_token_comes_before_the_environment() -> None:
    environment = Scripted(lambda prompt, completion: [3])
    rollouts = sample(llama(), environment=environment, eos_token_id=sorted(TRIGGERS))
    assert not environment.asked and rollouts.finished.any()


def test_the_environment_cannot_change_what_was_written() -> None:
    def vandal(prompt: int, completion: list[int]) -> list[int]:
        completion.clear()
        return [3]

    model = llama()
    kept = sample(model, environment=Scripted(lambda prompt, completion: [3]))
    assert completions(sample(model, environment=Scripted(vandal))) == completions(kept)


def test_rows_do_not_shift_the_randomness_of_one_another() -> None:
    """Asking for one prompt only leaves the rows of the others as they were."""
    model = llama()
    alone = sample(model)
    asked = sample(
        model,
        environment=Scripted(lambda prompt, completion: [3, 4] if prompt == 0 else []),
    )
    assert completions(asked)[3:] == completions(alone)[3:]
    assert torch.equal(asked.finished[3:], alone.finished[3:])

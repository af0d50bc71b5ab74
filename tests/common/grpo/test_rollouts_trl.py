"""`group_rollouts` inside `trl.GRPOTrainer`, on the processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from common.grpo.sampling.decoding_llama import is_llama_type
from common.grpo.sampling.trl_rollouts import group_rollouts
from common.lm.small import small_decoder, word_tokenizer
from common.tasks.problem import Problem

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("silent"),
]
WORDS = ["one", "two", "three", "user", "assistant", "search", "info", "done"]
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] + ' ' + m['content'] + ' ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant' }}{% endif %}"
)
PROBLEMS = [Problem("one two", "three", 1), Problem("three", "one", 1, {"world": 3})]


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")


class Answerer:
    """Writes `info` and the difficulty's worth of `one` after every `search`."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        self.triggers = frozenset({WORDS.index("search") + 4})

    def respond(self, prompt_index: int, completion: list[int]) -> list[int] | None:
        return [WORDS.index("info") + 4, *[4] * self.problems[prompt_index].difficulty]


class Seen:
    """A reward function that keeps what it is given."""

    __name__ = "seen"

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(self, **given: Any) -> list[float]:
        self.calls.append(given)
        return [len(ids) / 10 for ids in given["completion_ids"]]


def trainer(folder: Path, rollout: Any, reward: Any, rows: list[dict[str, Any]], **options: Any):  # type: ignore[no-untyped-def]
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    tokenizer = word_tokenizer(WORDS)
    tokenizer.chat_template = TEMPLATE
    arguments: dict[str, Any] = dict(
        output_dir=str(folder),
        max_steps=4,
        per_device_train_batch_size=4,
        steps_per_generation=2,
        num_generations=4,
        max_completion_length=8,
        learning_rate=0.01,
        seed=3,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        logging_steps=1,
    )
    return GRPOTrainer(
        model=small_decoder(tokenizer, layers=1, width=16, heads=2, seed=0),
        args=GRPOConfig(**(arguments | options)),
        reward_funcs=reward,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        rollout_func=rollout,
    )


ROWS = [{"prompt": problem.prompt} for problem in PROBLEMS]


def test_a_few_steps_with_plain_prompts(tmp_path: Path) -> None:
    reward = Seen()
    run = trainer(tmp_path, group_rollouts(), reward, ROWS)
    assert is_llama_type(run.accelerator.unwrap_model(run.model))  # TRL's patches do not hide it
    run.train()
    assert len(reward.calls) == 2  # generation batches
    first = reward.calls[0]
    assert len(first["finished"]) == len(first["completion_ids"]) == 8
    for prompts in (first["prompts"][:4], first["prompts"][4:]):
        assert len(set(prompts)) == 1  # groups stand together
    for ids, finished in zip(first["completion_ids"], first["finished"], strict=True):
        assert finished == (ids[-1] == 2) and (finished or len(ids) == 8)
    assert len({tuple(ids) for ids in first["completion_ids"]}) > 4
    assert all(log["grad_norm"] > 0 for log in run.state.log_history if "grad_norm" in log)
    assert run.model.training


def test_conversations_go_through_the_template(tmp_path: Path) -> None:
    rows = [{"prompt": [{"role": "user", "content": row["prompt"]}]} for row in ROWS]
    run = trainer(tmp_path, None, Seen(), rows)
    lists = group_rollouts()([rows[0]["prompt"]] * 4, run)
    ids = run.processing_class("user one two assistant")["input_ids"]
    assert lists["prompt_ids"] == [ids] * 4


def test_observations_reach_trl_as_its_mask(tmp_path: Path) -> None:
    asked: list[list[Problem]] = []

    def environment(problems: list[Problem]) -> Answerer:
        asked.append(problems)
        return Answerer(problems)

    reward = Seen()
    run = trainer(tmp_path, group_rollouts(PROBLEMS, environment), reward, ROWS, max_steps=2)
    inputs = [row for row in ROWS for _ in range(4)]
    batch = run._generate_and_score_completions(inputs)
    assert [problem.prompt for problem in asked[0]] == [row["prompt"] for row in inputs]
    mask, ids = batch["tool_mask"], batch["completion_ids"]
    info = WORDS.index("info") + 4
    searched = (ids[:, :-1] == WORDS.index("search") + 4) & mask[:, :-1].bool()
    searched &= batch["completion_mask"][:, 1:].bool()
    assert searched.any()
    assert ids[:, 1:][searched].eq(info).all() and mask[:, 1:][searched].eq(0).all()
    run.train()
    assert all(log["grad_norm"] >= 0 for log in run.state.log_history if "grad_norm" in log)


def test_logprobs_are_those_of_trl(tmp_path: Path) -> None:
    run = trainer(tmp_path, None, Seen(), ROWS, temperature=0.7)
    lists = group_rollouts()([row["prompt"] for row in ROWS] * 4, run)
    for prompt, ids, logps in zip(
        lists["prompt_ids"], lists["completion_ids"], lists["logprobs"], strict=True
    ):
        whole = torch.tensor([prompt + ids])
        with torch.no_grad():
            expected = run._get_per_token_logps_and_entropies(
                run.model, whole, torch.ones_like(whole), len(ids)
            )[0]
        torch.testing.assert_close(torch.tensor([logps]), expected, atol=1e-5, rtol=0)


def test_randomness_depends_on_seed_step_mode_and_call(tmp_path: Path) -> None:
    run = trainer(tmp_path, None, Seen(), ROWS)
    prompts = [ROWS[0]["prompt"]] * 8

    def ids(rollout: Any) -> Any:
        return rollout(prompts, run)["completion_ids"]

    rollout = group_rollouts()
    first, again = ids(rollout), ids(rollout)
    assert first != again
    run.state.global_step = 5
    fifth = ids(rollout)
    resumed = group_rollouts()  # knows nothing of the calls before
    assert ids(resumed) == fifth and fifth not in (first, again)
    run.model.eval()
    assert ids(resumed) != fifth
    run.model.train()
    run.args.seed = 4
    assert ids(group_rollouts()) != fifth


@pytest.mark.parametrize(
    "options",
    [{"top_k": 3}, {"top_p": 0.9}, {"min_p": 0.1}, {"repetition_penalty": 1.1}],
)
def test_sampling_that_it_does_not_have_is_refused(tmp_path: Path, options: Any) -> None:
    run = trainer(tmp_path, None, Seen(), ROWS, **options)
    with pytest.raises(ValueError, match=next(iter(options))):
        group_rollouts()(["one"], run)


def test_problems_of_equal_prompts_are_told_apart_by_rows_only(tmp_path: Path) -> None:
    twins = [Problem("one", "two", 1), Problem("one", "three", 2)]
    got: list[Problem] = []

    def environment(problems: list[Problem]) -> Answerer:
        got[:] = problems
        return Answerer(problems)

    run = trainer(tmp_path, None, Seen(), ROWS)
    rollout = group_rollouts(twins, environment)
    with pytest.raises(ValueError, match="'one' belongs to 2 of the problems"):
        rollout(["one"], run)
    with pytest.raises(ValueError, match="'two' belongs to 0 of the problems"):
        rollout(["two"], run)
    run.rows = [{"prompt": "one", "problem": 1}, {"prompt": "one", "problem": 0}]
    rollout(["one", "one"], run)
    assert got == [twins[1], twins[0]]

"""Whole runs: they learn, they repeat, they go on after an interruption."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from common.grpo.sampling.evaluate import evaluate
from common.grpo.training.recipe import Recipe
from common.grpo.training.run import StepRecord, train
from common.grpo.training.settings import Settings, config
from tests.common.grpo.conftest import FirstWord

Make = Callable[[], Any]

SMALL = Settings(max_new_tokens=3, learning_rate=1e-2, groups=4, group_size=4, minibatches=2)
LLDS = Recipe.parse("llds", {"advantage": "grpo", "loss_terms": {"llds": {"weight": 0.2}}})


def run(make: Make, tokenizer: Any, recipe: Recipe = LLDS, **options: Any) -> pd.DataFrame:
    options = {"steps": 4, "seed": 0} | options
    settings = options.pop("settings", SMALL)
    return train(make(), tokenizer, FirstWord(), recipe, settings, **options)


def test_equal_seeds_give_equal_runs_and_others_others(decoder: Make, tokenizer: Any) -> None:
    first = run(decoder, tokenizer)
    torch.rand(5)  # the global random state must not matter
    pd.testing.assert_frame_equal(first, run(decoder, tokenizer), check_exact=True)
    assert not first.equals(run(decoder, tokenizer, seed=1))
    assert list(first["step"]) == [0, 1, 2, 3]


def test_a_run_goes_on_where_it_was_interrupted(
    decoder: Make, tokenizer: Any, tmp_path: Path
) -> None:
    whole = run(decoder, tokenizer, steps=6)

    def stop(looked: StepRecord) -> dict[str, float]:
        if looked.step == 3:
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt):
        run(decoder, tokenizer, steps=6, watch=stop, folder=tmp_path, save_every=1)
    resumed_at: list[int] = []

    def note(looked: StepRecord) -> dict[str, float]:
        resumed_at.append(looked.step)
        return {}

    resumed = run(decoder, tokenizer, steps=6, watch=note, folder=tmp_path, save_every=1)
    assert resumed_at == [3, 4, 5]
    pd.testing.assert_frame_equal(resumed, whole, check_exact=True)


@pytest.mark.parametrize(
    "damage",
    (
        *("trainer_state.json", "half of model.safetensors", "optimizer.pt", "scheduler.pt"),
        *("rng_state.pth", "journal.parquet", "whole.json"),
    ),
)
def test_a_checkpoint_that_is_not_whole_is_passed_over(
    decoder: Make, tokenizer: Any, tmp_path: Path, damage: str
) -> None:
    """The one before is taken, and the table is never shorter than the run."""
    whole = run(decoder, tokenizer, steps=5)

    def stop(looked: StepRecord) -> dict[str, float]:
        if looked.step == 3:
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt):
        run(decoder, tokenizer, steps=5, watch=stop, folder=tmp_path, save_every=1)
    found = (tmp_path / "checkpoints").glob("checkpoint-*")
    newest = max(found, key=lambda one: int(one.name.rpartition("-")[2]))
    name = damage.removeprefix("half of ")
    file = newest / name
    if name == damage:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    seen: list[int] = []

    def note(looked: StepRecord) -> dict[str, float]:
        seen.append(looked.step)
        return {}

    resumed = run(decoder, tokenizer, steps=5, watch=note, folder=tmp_path, save_every=1)
    assert seen == [2, 3, 4]
    pd.testing.assert_frame_equal(resumed, whole, check_exact=True)


def test_the_watcher_sees_the_policy_before_and_after(decoder: Make, tokenizer: Any) -> None:
    def watch(looked: StepRecord) -> dict[str, float]:
        assert len(looked.problems) == 4
        assert looked.advantages.shape == (16,)
        assert looked.old_logps.shape == looked.new_logps().shape == looked.mask.shape
        moved = (looked.new_logps() - looked.old_logps)[looked.mask].abs().max()
        return {"moved": float(moved), "reward_again": float(looked.rewards.mean())}

    frame = run(decoder, tokenizer, watch=watch)
    assert (frame["moved"].iloc[1:] > 1e-3).all()  # the warm-up starts at a rate of zero
    assert frame["reward_again"].to_list() == pytest.approx(frame["reward"].to_list())


@pytest.mark.parametrize("sampler", ["groups", "trl"])
def test_log_probabilities_are_those_of_the_sampling_policy(
    decoder: Make, tokenizer: Any, sampler: str
) -> None:
    """With a learning rate of zero nothing may have moved after the updates."""
    settings = Settings(
        max_new_tokens=3, learning_rate=0.0, groups=4, group_size=4, sampler=sampler
    )

    def watch(looked: StepRecord) -> dict[str, float]:
        torch.testing.assert_close(looked.new_logps()[looked.mask], looked.old_logps[looked.mask])
        return {}

    frame = run(decoder, tokenizer, steps=1, settings=settings, watch=watch)
    assert frame["clip_fraction"].to_list() == [0.0]
    assert frame["llds/llds_active"].item() < 0.6


def test_strictly_on_policy_has_no_old_log_probabilities(decoder: Make, tokenizer: Any) -> None:
    settings = Settings(max_new_tokens=3, learning_rate=1e-2, groups=4, group_size=4, minibatches=1)
    frame = run(decoder, tokenizer, Recipe.parse("grpo", {}), settings=settings, steps=2)
    assert frame["logp_wrong"].isna().all()
    with pytest.raises(ValueError, match="always be zero"):
        run(decoder, tokenizer, settings=settings)


def test_kl_is_measured_against_the_start(decoder: Make, tokenizer: Any) -> None:
    kl = run(decoder, tokenizer, Recipe.parse("kl", {"trl": {"beta": 0.01}}))["kl"]
    assert kl.iloc[0] < 0.1 * kl.iloc[-1]
    assert math.isnan(run(decoder, tokenizer)["kl"].iloc[0])


@pytest.mark.parametrize("minibatches", [3, 32])
def test_uneven_batches_are_refused(minibatches: int) -> None:
    with pytest.raises(ValueError, match="cannot be split evenly"):
        Settings(4, 0.1, groups=4, group_size=4, minibatches=minibatches)


def test_an_unknown_sampler_is_refused() -> None:
    with pytest.raises(ValueError, match="sampler must be"):
        Settings(4, 0.1, sampler="vllm")


@pytest.mark.slow
def test_grpo_learns(decoder: Make, tokenizer: Any) -> None:
    settings = Settings(
        max_new_tokens=2, learning_rate=5e-3, groups=16, group_size=8, minibatches=2
    )
    model, task = decoder(), FirstWord()
    held_out = task.generate(10_000, 30)

    def greedy() -> float:
        frame = evaluate(
            model,
            tokenizer,
            task,
            held_out,
            samples=4,
            max_new_tokens=2,
            ks=[1, 4],
            generator=torch.Generator().manual_seed(0),
        )
        assert (frame["pass_at_4"] >= frame["pass_at_1"]).all()
        return float(frame["greedy"].mean())

    before = greedy()
    grpo = Recipe.parse("grpo", {"advantage": "grpo"})
    frame = train(model, tokenizer, task, grpo, settings, steps=60, seed=0)
    assert frame["reward"].tail(10).mean() > 3 * frame["reward"].head(5).mean()
    assert greedy() > before + 0.15


def test_every_generation_batch_is_gone_through_as_often_as_the_recipe_says(
    decoder: Make, tokenizer: Any
) -> None:
    """As many batches as asked for, and each row speaks of its own problems."""
    twice = Recipe.parse("twice", {"advantage": "grpo", "trl": {"num_iterations": 2}})
    seen: list[bool] = []

    def note(record: StepRecord) -> dict[str, float]:
        asked = [tokenizer.decode(ids, skip_special_tokens=True) for ids in prompts(record)]
        seen.append(asked == [problem.prompt for problem in record.problems])
        return {}

    def prompts(record: StepRecord) -> Any:
        order = {row["problem"]: i for i, row in enumerate(record.batch.rows)}
        return record.batch.tensors["prompt_ids"][[order[number] for number in sorted(order)]]

    frame = run(decoder, tokenizer, twice, watch=note)
    assert list(frame["step"]) == [0, 1, 2, 3]
    assert seen == [True] * 4


def test_what_any_loss_term_logs_becomes_columns(
    decoder: Make, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from common.grpo.rules.loss_terms import LOSS_TERMS

    monkeypatch.setattr(LOSS_TERMS, "_rules", dict(LOSS_TERMS._rules))

    @LOSS_TERMS.register("nothing", equation="0", source="a test")
    def nothing(batch: Any) -> Any:
        return batch.logps.sum() * 0.0, {"seen": 1.0}

    recipe = Recipe.parse("two", {"advantage": "grpo", "loss_terms": {"nothing": {"weight": 1}}})
    assert (run(decoder, tokenizer, recipe)["nothing/seen"] == 1).all()


def test_options_of_trl_that_change_no_number_may_be_chosen(tmp_path: Path) -> None:
    recipe = Recipe.parse("told", {"trl": {"report_to": "tensorboard", "disable_tqdm": False}})
    arguments = config(recipe, SMALL, 1, 0, tmp_path)
    assert arguments.report_to == ["tensorboard"]
    assert config(LLDS, SMALL, 1, 0, tmp_path).report_to in ("none", [])

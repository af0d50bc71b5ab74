"""RecipeTrainer against TRL's own trainer, and the hooks that it stands on."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from common.grpo.training.recipe import Recipe
from common.grpo.training.rewards import RewardError
from common.grpo.training.trainer import RecipeTrainer, is_on_policy

Make = Callable[[], Any]

PROMPTS = [f"w{i} w{(3 * i) % 12}" for i in range(8)]


def length_reward(completions: list[str], **_: Any) -> list[float]:
    return [float(len(completion.split()) % 2) for completion in completions]


def arguments(folder: Path, **changes: Any) -> GRPOConfig:
    options: dict[str, Any] = {
        "output_dir": str(folder),
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": "none",
        "save_strategy": "no",
        "per_device_train_batch_size": 8,
        "steps_per_generation": 2,
        "num_generations": 4,
        "max_completion_length": 5,
        "max_steps": 4,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "seed": 3,
    } | changes
    return GRPOConfig(**options)


def trainer(
    make: Make,
    tokenizer: Any,
    folder: Path,
    entry: dict[str, Any] | None,
    reward: Any = length_reward,
    **changes: Any,
) -> GRPOTrainer:
    """TRL's own trainer without a recipe, ours with one."""
    common = {
        "model": make(),
        "args": arguments(folder, **changes),
        "reward_funcs": reward,
        "train_dataset": Dataset.from_dict({"prompt": PROMPTS}),
        "processing_class": tokenizer,
    }
    if entry is None:
        return GRPOTrainer(**common)
    return RecipeTrainer(recipe=Recipe.parse("test", entry), **common)


def losses(trainer: GRPOTrainer) -> list[float]:
    trainer.train()
    return [log["loss"] for log in trainer.state.log_history if "loss" in log]


# ------------------------------------------------------------------------------ against stock TRL


@pytest.mark.parametrize("loss_type", ["dapo", "bnpo", "grpo", "dr_grpo"])
def test_an_empty_recipe_changes_no_bit(
    decoder: Make, tokenizer: Any, tmp_path: Path, loss_type: str
) -> None:
    # The constructor seeds, so each is trained before the next one is made.
    stock = trainer(decoder, tokenizer, tmp_path, None, loss_type=loss_type)
    expected = losses(stock)
    ours = trainer(decoder, tokenizer, tmp_path, {}, loss_type=loss_type)
    assert losses(ours) == expected
    for a, b in zip(stock.model.parameters(), ours.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_trl_s_rule_as_a_recipe_gives_trl_s_advantages(
    decoder: Make, tokenizer: Any, tmp_path: Path
) -> None:
    expected = losses(trainer(decoder, tokenizer, tmp_path, None))
    ours = trainer(decoder, tokenizer, tmp_path, {"advantage": "grpo"})
    torch.testing.assert_close(losses(ours), expected, rtol=1e-6, atol=1e-7)


def test_a_recipe_with_another_rule_differs(decoder: Make, tokenizer: Any, tmp_path: Path) -> None:
    stock = losses(trainer(decoder, tokenizer, tmp_path, None))
    assert losses(trainer(decoder, tokenizer, tmp_path, {"advantage": "psr"})) != stock


# ---------------------------------------------------------------------- what recipes do to a batch


def batch_of(made: GRPOTrainer) -> dict[str, Any]:
    rows = [{"prompt": prompt} for prompt in PROMPTS[:4] for _ in range(4)]
    made.current_gradient_accumulation_steps = 1
    return made._generate_and_score_completions(rows)


def test_token_weights_multiply_the_advantages(
    decoder: Make, tokenizer: Any, tmp_path: Path
) -> None:
    entry = {"advantage": "rloo", "token_weights": {"name": "random_mask", "share": 0.5}}
    batch = batch_of(trainer(decoder, tokenizer, tmp_path, entry))
    plain = batch["row_advantages"][:, None].expand_as(batch["advantages"])
    mask = batch["completion_mask"].bool()
    kept = batch["advantages"] == plain
    dropped = batch["advantages"] == 0
    assert (kept | dropped)[mask].all()
    assert (dropped & (plain != 0))[mask].any()
    assert (kept & (plain != 0))[mask].any()


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_what_token_weights_need_comes_from_trl_s_own_pass(
    decoder: Make, tokenizer: Any, tmp_path: Path, temperature: float
) -> None:
    """As from passes made for the purpose, which a strictly on-policy run still makes."""
    entry = {
        "advantage": "grpo",
        "token_weights": [{"name": "thr", "p": 0.5}, {"name": "entropy_mask", "quantile": 0.1}],
    }
    off = trainer(decoder, tokenizer, tmp_path, entry, temperature=temperature)
    batch = batch_of(off)
    assert off._recorded.hidden
    real = batch["completion_mask"].bool()
    recorded, entropies = off._states(batch), off._entropies(batch)
    off._recorded = type(off._recorded)()
    extra = off._states(batch)
    assert torch.equal(recorded.vocabulary, extra.vocabulary)
    torch.testing.assert_close(recorded.hidden[real], extra.hidden[real], rtol=0, atol=1e-5)
    torch.testing.assert_close(recorded.probs[real], extra.probs[real], rtol=0, atol=1e-5)
    torch.testing.assert_close(entropies[real], off._entropies(batch)[real], rtol=0, atol=1e-5)


def test_the_penalty_reaches_loss_and_gradient(
    decoder: Make, tokenizer: Any, tmp_path: Path
) -> None:
    entry = {"loss_terms": {"llds": {"weight": 0.5, "gate": "token"}}}
    ours = trainer(decoder, tokenizer, tmp_path, entry)
    batch = batch_of(ours)
    # As if the policy had been surer of every token when it sampled.
    batch["old_per_token_logps"] = batch["old_per_token_logps"] + 0.1
    batch["advantages"] = torch.zeros_like(batch["advantages"])
    loss = ours._compute_loss(ours.model, batch)
    assert float(loss.detach()) == pytest.approx(0.5 * 0.1, rel=1e-4)
    loss.backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in ours.model.parameters())


def test_accumulated_penalties_add_up_to_one(decoder: Make, tokenizer: Any, tmp_path: Path) -> None:
    entry = {"loss_terms": {"llds": {"weight": 0.5, "gate": "token"}}}
    ours = trainer(decoder, tokenizer, tmp_path, entry)
    batch = batch_of(ours)
    batch["old_per_token_logps"] = batch["old_per_token_logps"] + 0.1
    batch["advantages"] = torch.zeros_like(batch["advantages"])
    whole = float(ours._compute_loss(ours.model, batch).detach())
    ours.current_gradient_accumulation_steps = 4
    assert float(ours._compute_loss(ours.model, batch).detach()) == pytest.approx(whole / 4)


# ------------------------------------------------------------------------------- what goes wrong


def test_a_strictly_on_policy_run_refuses_what_would_be_zero(
    decoder: Make, tokenizer: Any, tmp_path: Path
) -> None:
    entry = {"loss_terms": {"llds": {"weight": 0.2}}}
    with pytest.raises(ValueError, match=r"would always be zero.*Raise steps_per_generation"):
        trainer(decoder, tokenizer, tmp_path, entry, steps_per_generation=1)
    assert is_on_policy(arguments(tmp_path, steps_per_generation=1))
    assert not is_on_policy(arguments(tmp_path, steps_per_generation=1, num_iterations=2))


def test_trl_keeps_old_log_probabilities_exactly_when_we_think_so(
    decoder: Make, tokenizer: Any, tmp_path: Path
) -> None:
    for changes in ({"steps_per_generation": 1}, {"steps_per_generation": 2}):
        made = trainer(decoder, tokenizer, tmp_path, {}, **changes)
        assert ("old_per_token_logps" in batch_of(made)) != is_on_policy(made.args)


def test_an_answer_weight_needs_an_answer_span(
    decoder: Make, tokenizer: Any, tmp_path: Path
) -> None:
    entry = {"loss_terms": {"llds": {"weight": 0.2, "answer_weight": 0.0}}}
    with pytest.raises(ValueError, match="answer"):
        losses(trainer(decoder, tokenizer, tmp_path, entry))


def test_rows_without_a_reward_do_not_move_the_policy(
    decoder: Make, tokenizer: Any, tmp_path: Path
) -> None:
    def none(completions: list[str], **_: Any) -> list[float]:
        return [math.nan] * len(completions)

    made = trainer(decoder, tokenizer, tmp_path, {"advantage": "rloo"}, reward=none)
    before = [p.clone() for p in made.model.parameters()]
    made.train()
    for a, b in zip(before, made.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_reward_function_that_raises_is_named(
    decoder: Make, tokenizer: Any, tmp_path: Path
) -> None:
    def broken(completions: list[str], prompts: list[str], **_: Any) -> list[float]:
        raise ZeroDivisionError("nothing to divide")

    made = trainer(decoder, tokenizer, tmp_path, {}, reward=broken)
    with pytest.raises(RewardError, match=r"'broken' raised ZeroDivisionError on prompt 'w\d+ w"):
        made.train()


# --------------------------------------------------------------------------- TRL's private methods

HOOKS = {
    "_calculate_rewards": ["self", "inputs", "prompts", "completions", "completion_ids_list"],
    "_generate_and_score_completions": ["self", "inputs"],
    "_compute_loss": ["self", "model", "inputs"],
}


@pytest.mark.parametrize("name", HOOKS)
def test_trl_still_has_the_hook(name: str) -> None:
    method = inspect.unwrap(getattr(GRPOTrainer, name))
    assert list(inspect.signature(method).parameters) == HOOKS[name], (
        f"TRL changed {name}: read its new source and adapt common/grpo/training/trainer.py"
    )


def test_trl_still_scores_once_per_loss(
    decoder: Make, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[bool] = []
    scored = GRPOTrainer._get_per_token_logps_and_entropies

    def count(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = scored(self, *args, **kwargs)
        calls.append(result[0].requires_grad)
        return result

    made = trainer(decoder, tokenizer, tmp_path, {})
    batch = batch_of(made)
    monkeypatch.setattr(GRPOTrainer, "_get_per_token_logps_and_entropies", count)
    made._compute_loss(made.model, batch)
    assert calls == [True]


def test_trl_still_hands_these_tensors_to_the_loss(
    decoder: Make, tokenizer: Any, tmp_path: Path
) -> None:
    batch = batch_of(trainer(decoder, tokenizer, tmp_path, {}))
    known = {
        "prompt_ids",
        "prompt_mask",
        "completion_ids",
        "completion_mask",
        "advantages",
        "num_items_in_batch",
        "old_per_token_logps",
    }
    assert set(batch) == known
    assert batch["advantages"].shape == (16,)

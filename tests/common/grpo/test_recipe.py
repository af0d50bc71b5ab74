"""Recipes: what is refused, with which words, and how parts combine."""

from __future__ import annotations

import inspect
import math
from typing import Any

import pytest
import torch

from common.grpo.rules.advantages import ADVANTAGES
from common.grpo.rules.batches import GroupBatch, LossBatch
from common.grpo.rules.loss_terms import LOSS_TERMS
from common.grpo.rules.registry import Registry
from common.grpo.rules.token_weights import TOKEN_WEIGHTS
from common.grpo.training.recipe import Recipe, parse_recipes


def batch(rewards: list[float], group_size: int, width: int = 3) -> GroupBatch:
    rows = len(rewards)
    return GroupBatch(
        group_size,
        torch.tensor(rewards),
        torch.ones(rows, width, dtype=torch.long),
        torch.ones(rows, width, dtype=torch.bool),
    )


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"advantages": "grpo"}, "unknown part 'advantages'.*Did you mean 'advantage'"),
        (
            {"advantage": "grop"},
            "unknown advantage rule 'grop'. Did you mean 'grpo'.*Known: .*rloo",
        ),
        ({"advantage": {"name": "grpo", "ddof": 1}}, "unknown option 'ddof'"),
        ({"advantage": {"name": "passk_grpo"}}, r"the options \['k'\] must be given"),
        ({"advantage": 3}, "expected the name of a rule"),
        ({"loss_terms": {"llds": {"gate": "action"}}}, "'llds' needs a weight"),
        ({"loss_terms": {"llds": {"weight": "much"}}}, "could not convert"),
        ({"trl": {"epsilonn": 0.1}}, "unknown option of TRL 'epsilonn'.*Did you mean 'epsilon'"),
        ({"trl": {"learning_rate": 0.1}}, "belongs to the run's settings"),
    ],
)
def test_mistakes_are_named(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"(?s)recipe 'mine'.*{message}"):
        Recipe.parse("mine", entry)


@pytest.mark.parametrize("registry", [ADVANTAGES, TOKEN_WEIGHTS, LOSS_TERMS])
def test_every_rule_has_an_equation_and_a_source(registry: Registry[Any]) -> None:
    assert len(registry)
    for rule in registry.values():
        assert rule.equation
        assert "$" not in rule.equation
        assert rule.equation.count("{") == rule.equation.count("}")
        assert rule.source
        assert (rule.function.__doc__ or "").strip()


def test_equations_are_printed_with_options_and_weights() -> None:
    recipe = Recipe.parse(
        "mix",
        {
            "advantage": [
                {"name": "passk_grpo", "k": 4, "weight": 0.25},
                {"name": "grpo", "weight": 0.75},
            ],
            "loss_terms": {"llds": {"weight": 0.2, "gate": "token"}},
            "trl": {"epsilon": 0.1},
        },
    )
    text = recipe.equations()
    assert "0.25 × `passk_grpo(k=4)`" in text
    assert "0.2 × `llds(gate=token)`" in text
    assert "`epsilon=0.1`" in text
    assert "2512.04220" in text
    assert "TRL's own" in Recipe.parse("grpo", {}).equations()


def test_advantages_are_a_weighted_sum() -> None:
    rewards = [1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0]
    parts = {name: Recipe.parse(name, {"advantage": name}) for name in ("grpo", "rloo")}
    mixed = Recipe.parse(
        "mixed", {"advantage": [{"name": n, "weight": w} for n, w in (("grpo", 0.3), ("rloo", 2))]}
    )
    one, other = (recipe.advantages(batch(rewards, 4)) for recipe in parts.values())
    torch.testing.assert_close(mixed.advantages(batch(rewards, 4)), 0.3 * one + 2 * other)


def test_lengths_reach_the_rules_that_need_them() -> None:
    lengths = [1, 4, 8, 3, 5, 7]
    rows = batch([1.0, 1.0, 1.0, 0.0, 0.0, 0.0], 6, width=8)
    mask = torch.arange(8)[None] < torch.tensor(lengths)[:, None]
    rows = GroupBatch(6, rows.rewards, rows.completion_ids, mask)
    name = next(name for name in ADVANTAGES if "lengths" in ADVANTAGES[name].needs)
    recipe = Recipe.parse("canon", {"advantage": {"name": name, "mu": 1.0}})
    expected = torch.tensor([2 / 3, 2 / 3, 1 / 3, -1 / 3, -2 / 3, -2 / 3])
    torch.testing.assert_close(recipe.advantages(rows), expected)


def test_a_row_without_reward_has_no_advantage() -> None:
    for name in ADVANTAGES:
        rule = ADVANTAGES[name]
        if rule.needs:
            continue
        required = [o for o, value in rule.options.items() if value is inspect.Parameter.empty]
        options = {option: 2 if option == "k" else 0.5 for option in required}
        recipe = Recipe.parse(name, {"advantage": {"name": name, **options}})
        advantages = recipe.advantages(batch([1.0, math.nan, 0.0, 1.0, *[math.nan] * 4], 4))
        assert advantages.isfinite().all(), name
        assert (advantages[[1, 4, 5, 6, 7]] == 0).all(), name


def test_a_rule_that_gives_nan_stops_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    registry: Registry[Any] = Registry("advantage")
    registry.register("broken", equation="0/0", source="none")(lambda rewards: rewards / 0)
    monkeypatch.setattr("common.grpo.training.recipe.ADVANTAGES", registry)
    recipe = Recipe.parse("mine", {"advantage": "broken"})
    with pytest.raises(FloatingPointError, match="broken gave"):
        recipe.advantages(batch([1.0, 0.0], 2))


def test_penalties_are_weighted_and_their_numbers_named() -> None:
    logps = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    rows = LossBatch(logps, torch.tensor([[-0.5, -1.0]]), torch.ones(1), torch.ones(1, 2).bool())
    weights = (1.0, 0.2)
    values = []
    for weight in weights:
        recipe = Recipe.parse("llds", {"loss_terms": {"llds": {"weight": weight}}})
        value, logged = recipe.penalty(rows)
        values.append(float(value.detach()))
        assert all(key.startswith("llds/") for key in logged)
    assert values[0] == pytest.approx(0.75)
    assert values[1] == pytest.approx(0.2 * values[0])


def test_no_loss_term_is_no_penalty() -> None:
    rows = LossBatch(torch.zeros(1, 2), torch.zeros(1, 2), torch.ones(1), torch.ones(1, 2).bool())
    value, logged = Recipe.parse("grpo", {}).penalty(rows)
    assert value == 0
    assert logged == {}


def test_several_recipes_are_read_at_once() -> None:
    recipes = parse_recipes({"grpo": {}, "rloo": {"advantage": "rloo"}})
    assert list(recipes) == ["grpo", "rloo"]
    with pytest.raises(ValueError, match="recipe 'second'"):
        parse_recipes({"first": {}, "second": {"advantage": "nothing"}})

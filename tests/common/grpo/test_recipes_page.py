"""docs/recipes.md says what there is, and its code runs."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ruamel.yaml import YAML

from common.grpo.rules.advantages import ADVANTAGES
from common.grpo.rules.loss_terms import LOSS_TERMS
from common.grpo.rules.token_weights import TOKEN_WEIGHTS
from common.grpo.training.recipe import parse_recipes
from common.workflow.base.project import ROOT

PAGE = (ROOT / "docs/recipes.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_table_names_every_rule_and_no_other() -> None:
    rows = "".join(line.split("|")[2] for line in PAGE.splitlines() if line.startswith("| "))
    assert set(re.findall(r"`(\w+)`", rows)) == {*ADVANTAGES, *TOKEN_WEIGHTS, *LOSS_TERMS}


def test_the_recipes_are_recipes() -> None:
    (text,) = blocks("yaml")
    recipes = parse_recipes(YAML(typ="safe").load(text))
    assert "TRL" in recipes["grpo"].equations()
    assert len(recipes["mixed"].advantage) == 2


@pytest.mark.slow
def test_the_code_runs() -> None:
    names: dict[str, Any] = {}
    for block in blocks("python"):
        exec(block, names)
    assert len(names["table"]) == 5

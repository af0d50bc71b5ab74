"""The examples in the docstrings run."""

import doctest
from importlib import import_module

import pytest


@pytest.mark.parametrize(
    "name", ["ssp", "exact", "budget", "simulate", "outcomes", "exploring_starts"]
)
def test_examples(name: str) -> None:
    outcome = doctest.testmod(import_module(f"common.tabular.{name}"))
    assert outcome.attempted > 0
    assert outcome.failed == 0

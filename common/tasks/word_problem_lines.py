"""Short forms for writing templates of word problems down."""

from __future__ import annotations

from collections.abc import Mapping

from common.tasks.step_expressions import Expression
from common.tasks.word_problems import Slot, Template

MINUEND = (5, 10)
SUBTRAHEND = (1, 2)
"""Multiples of the multiplier between which numbers are drawn whose difference has to be positive
(arXiv 2502.08680, published generator): two or three subtrahends stay below the minuend."""


def growing(original: int, low: int, high: int) -> Slot:
    """A number that grows with the level; `low` … `high` at level 1."""
    return Slot(original, (low, high))


def minuend(original: int, low: int, high: int) -> Slot:
    """A growing number from which others are taken."""
    return Slot(original, (low, high), MINUEND)


def subtrahend(original: int, low: int, high: int) -> Slot:
    """A growing number that is taken from another."""
    return Slot(original, (low, high), SUBTRAHEND)


def fixed_range(original: int, low: int, high: int, grid: int = 1) -> Slot:
    """A number that stays small at every level: a factor, a unit price, a percentage."""
    return Slot(original, (low, high), None, grid)


def line(result: str, expression: str, text: str) -> tuple[tuple[str, str], str]:
    """A step and its line of the solution.

    Args:
        result: name of the result.
        expression: in slots, earlier results and constants.
        text: with `{}` where `expr=<<expr=value>>value` stands.
    """
    tokens = Expression(expression).tokens
    written = "".join(f"{{{token}}}" if token.isidentifier() else token for token in tokens)
    return (result, expression), text.replace("{}", f"{written}={{={result}}}")


def template(
    name: str,
    question: str,
    slots: Mapping[str, Slot],
    *lines: tuple[tuple[str, str], str],
    require: tuple[str, ...] = (),
) -> Template:
    """A template from its lines, see `line`."""
    steps, texts = zip(*lines, strict=True)
    return Template(name, " ".join(question.split()), slots, steps, "\n".join(texts), require)

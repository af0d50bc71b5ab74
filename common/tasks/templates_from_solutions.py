"""Items in the form of GSM8K to templates, automatically and with care.

An item becomes a template only if its annotations hold exactly, every operand has a known origin
and no phrase suggests that other numbers need another solution; the others are listed with the
reason. The published templates of GSM-Ranges (arXiv 2502.08680) were made by hand from 100 items.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.tasks.question_numbers import depends_on_size
from common.tasks.solution_steps import BoundSolution, NotATemplate, Reason, bind
from common.tasks.solution_text import named_lines
from common.tasks.template_ranges import growing_numbers, ranks, slots
from common.tasks.word_problems import Template

TRIED = (6, 2, 1)
TRIALS, SUCCESSES = 300, 3
"""Ranges are kept if at these levels three of at most 300 draws are consistent; the levels between
2 and 6 have the same remainders and proportions."""


@dataclass(frozen=True)
class Rejected:
    """An item that became no template.

    Attributes:
        index: its position among the items.
        reason: see `Reason`.
        detail: what decided it.
    """

    index: int
    reason: Reason
    detail: str


def templates_from_items(
    items: Iterable[Mapping[str, Any]], prefix: str
) -> tuple[dict[str, Template], list[Rejected]]:
    """Templates by name, `<prefix>-<index>`, and the items that cannot be turned.

    Args:
        items: with texts `question` and `answer`, see `common.tasks.gsm8k.read_jsonl`.
        prefix: of the names.
    """
    templates, rejected = {}, []
    for index, item in enumerate(items):
        try:
            one = template_from_solution(item["question"], item["answer"], f"{prefix}-{index}")
            templates[one.name] = one
        except NotATemplate as error:
            rejected.append(Rejected(index, error.reason, error.detail))
    return templates, rejected


def template_from_solution(question: str, answer: str, name: str) -> Template:
    """The template of one item.

    Numbers are drawn anew only where that is safe (see `common.tasks.question_numbers` and
    `common.tasks.solution_steps.bind`); they keep the order of their sizes.

    Args:
        question: its text.
        answer: lines of text with `<<expr=value>>`, the last line `#### N`.
        name: of the template.

    Raises:
        NotATemplate: the item cannot be turned; says why.
    """
    if re.search(r"[{}]", question + answer):
        raise NotATemplate(Reason.UNREADABLE, "braces")
    bound = bind(question, answer)
    if phrase := depends_on_size(question):
        raise NotATemplate(Reason.DEPENDS_ON_SIZE, phrase)
    growing = growing_numbers(bound)
    text, solution = _with_slots(question, bound), named_lines(question, answer, bound)
    for in_ratio in (False, True):
        drawn = slots(bound, growing, in_ratio=in_ratio)
        order = ranks(bound, growing)
        one = Template(name, text, drawn, bound.steps, solution, ascending=order)
        if _draws_well(one):
            return one
    raise NotATemplate(Reason.NO_VALUES)


def _with_slots(question: str, bound: BoundSolution) -> str:
    for i in reversed(bound.drawn):
        number = bound.numbers[i]
        question = question[: number.start] + f"{{n{i}}}" + question[number.end :]
    return question


def _draws_well(one: Template) -> bool:
    """Whether draws are consistent often enough."""
    return all(_successes(one, level) for level in TRIED)


def _successes(one: Template, level: int) -> bool:
    rng = np.random.default_rng(level)
    found = 0
    for _ in range(TRIALS):
        found += one.draw(level, rng) is not None
        if found == SUCCESSES:
            return True
    return False

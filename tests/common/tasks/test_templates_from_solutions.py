"""Items to templates: what is turned stays consistent, and what is doubtful is listed."""

from __future__ import annotations

import random
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from common.tasks import gsm8k
from common.tasks.exact_arithmetic import evaluate
from common.tasks.gsm8k import read_jsonl
from common.tasks.question_numbers import (
    Role,
    depends_on_size,
    implied_constants,
    number_words,
    question_numbers,
)
from common.tasks.solution_steps import NotATemplate, Reason
from common.tasks.templates_from_solutions import template_from_solution, templates_from_items
from common.tasks.word_problems import LEVELS, Template, generate

OWN = Path(__file__).parents[3] / "papers/gsm_ranges/own_items.jsonl"


def check(one: Template, level: int, seed: int) -> None:
    """The invariants of a drawn problem, recomputed by another parser."""
    original = one.sample(0, np.random.default_rng(0))
    problem = one.sample(level, np.random.default_rng(seed))
    results = [evaluate(step.split("=")[0]) for step in problem.steps]
    assert all(value.denominator == 1 and value > 0 for value in results)
    assert [str(value) for value in results] == [step.split("=")[1] for step in problem.steps]
    assert results[-1] == problem.answer
    assert re.findall(r"<<([^<>]*)>>", problem.solution) == list(problem.steps)
    assert problem.solution.endswith(f"#### {problem.answer}")
    assert [re.sub(r"[\d.]+", "", step) for step in problem.steps] == [
        re.sub(r"[\d.]+", "", step) for step in original.steps
    ]
    text = re.sub(r"\{(\w+)\}", lambda match: str(problem.values[match[1]]), one.question)
    assert problem.question == text
    growing = [name for name, slot in one.slots.items() if slot.scaled is not None]
    assert growing
    if level > 1:
        assert max(problem.values[name] for name in growing) >= LEVELS[level]
    for group in one.ascending:
        values = [problem.values[name] for name in group]
        assert values == sorted(values)


def test_own_items() -> None:
    templates, rejected = templates_from_items(read_jsonl(OWN), "own")
    assert list(templates) == [f"own-{i}" for i in range(6)]
    assert [item.index for item in rejected] == list(range(6, 12))
    assert [item.reason for item in rejected] == [
        Reason.NOT_WHOLE,
        Reason.DEPENDS_ON_SIZE,
        Reason.NO_FREEDOM,
        Reason.OPERAND_NOT_FOUND,
        Reason.UNUSED_NUMBER,
        Reason.NO_ANNOTATION,
    ]
    for level in LEVELS:
        for problem in generate(templates, level, 5, seed=0):
            check(templates[problem.template], level, seed=problem.answer % 1000)


def test_the_original_comes_back() -> None:
    item = read_jsonl(OWN)[4]
    one = template_from_solution(item["question"], item["answer"], "t")
    problem = one.sample(0, np.random.default_rng(0))
    assert problem.question == item["question"].replace("1,200", "1200")
    assert problem.solution == item["answer"].replace("1,200", "1200")
    assert (
        template_from_solution(problem.question, problem.solution, "t").sample(
            0, np.random.default_rng(0)
        )
        == problem
    )


def turned(question: str, answer: str) -> Template | Reason:
    try:
        return template_from_solution(question, answer, "t")
    except NotATemplate as error:
        assert error.reason.value in str(error)
        return error.reason


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("Has 20 and 30?", "<<20+30=50>>50", Reason.UNREADABLE),
        ("Has {20} and 30?", "<<20+30=50>>50\n#### 50", Reason.UNREADABLE),
        ("Has 20 and 30?", "20+30=50\n#### 50", Reason.NO_ANNOTATION),
        ("Has 20 and 30?", "<<20+x=50>>50\n#### 50", Reason.NO_ANNOTATION),
        ("Has 20 and 30?", "<<50=50>>50\n#### 50", Reason.NO_ANNOTATION),
        ("Has 20 and 30?", "<<20+30=50\n#### 50", Reason.NO_ANNOTATION),
        ("Has 20 and 30?", "20/2 = $10\n<<20+30=50>>50\n#### 50", Reason.NO_ANNOTATION),
        ("Has 20 and 30?", "<<20+30=51>>51\n#### 51", Reason.WRONG_ANNOTATION),
        ("Has 10 by 30?", "<<10/30=0.33>>0.33\n#### 0", Reason.WRONG_ANNOTATION),
        ("Has 20 and 30?", "<<20-30=-10>>-10\n#### -10", Reason.NOT_WHOLE),
        ("Has 20 and 30?", "<<20/0=0>>0\n#### 0", Reason.NOT_WHOLE),
        ("Has 20 and 30?", "<<20+30=50>>50\n#### 51", Reason.OTHER_ANSWER),
        ("Has 20 and 30?", "<<20+31=51>>51\n#### 51", Reason.OPERAND_NOT_FOUND),
        ("Has 20, 5 and 30?", "<<20+30=50>>50\n#### 50", Reason.UNUSED_NUMBER),
        ("Has 20, 30?", "<<20+30=50>>50\n<<20*30=600>>600\n#### 600", Reason.UNUSED_RESULT),
        ("Has at least 20 and 30?", "<<20+30=50>>50\n#### 50", Reason.DEPENDS_ON_SIZE),
        ("Has 20 and again 20?", "<<20+20=40>>40\n#### 40", Reason.AMBIGUOUS),
        ("Has 7 a week?", "<<7*7=49>>49\n#### 49", Reason.AMBIGUOUS),
        ("Works 9 hours for 8 days?", "<<9*8=72>>72\n#### 72", Reason.NO_FREEDOM),
    ],
)
def test_what_cannot_be_turned_says_why(question: str, answer: str, reason: Reason) -> None:
    assert turned(question, answer) is reason


def test_ambiguous_numbers_stay_while_others_are_drawn() -> None:
    """The second 12 could be the result of 6+6; both sixes therefore stay."""
    one = turned(
        "A shelf has 6 cups and 6 mugs, and 40 plates. A box takes 12 things.",
        "<<6+6=12>>12 vessels.\n<<12+40=52>>52 things.\n<<52*12=624>>624\n#### 624",
    )
    assert isinstance(one, Template)
    assert set(one.slots) == {"n2"}
    assert "6 cups and 6 mugs, and {n2} plates. A box takes 12" in one.question


def test_products_have_one_growing_factor_and_divisors_stay_small() -> None:
    one = turned(
        "Buys 15 trees for $32 each and shares the cost among 6 friends.",
        "<<15*32=480>>480 in all.\n<<480/6=80>>80 each.\n#### 80",
    )
    assert isinstance(one, Template)
    scaled = {name: slot.scaled is not None for name, slot in one.slots.items()}
    assert scaled == {"n0": True, "n1": False, "n2": False}


def test_numbers_of_lines_without_certain_origin_are_dropped() -> None:
    one = turned(
        "Has 48 eggs and buys 20.",
        "There were 99 before.\nIn line 7 there are 48+20 = <<48+20=68>>68 eggs.\nGood.\n#### 68",
    )
    assert isinstance(one, Template)
    assert one.solution == "{n0}+{n1}={=r0}\nGood."


@pytest.mark.parametrize(
    ("question", "roles"),
    [
        ("60 apples", "FREE"),
        ("4 apples", "FIXED"),
        ("$4 each", "FREE"),
        ("$1 each", "FIXED"),
        ("$2.50 each", "FIXED"),
        ("20% of 50", "FIXED FREE"),
        ("20 percent of 50", "FIXED FREE"),
        ("3/4 of 50", "FIXED FREE"),
        ("5:30 and 6 pm", "FIXED FIXED FIXED"),
        ("8 hours, 12 school days, a 30-minute walk", "FIXED FIXED FIXED"),
        ("$50 a week, 20 per day, 12 a year", "FREE FREE FREE"),
        ("12 years old", "FREE"),
        ("in 1995, for $1995", "FIXED FREE"),
        ("the 20th of 50", "FIXED FREE"),
        ("room A12 of 50", "FIXED FREE"),
        ("6 times as many, 25 times", "SMALL FIXED"),
        ("every 6 of 50", "FIXED FREE"),
        ("10-15 or 20 to 30", "FIXED FIXED FIXED FIXED"),
        ("6 sons; the first got 50", "FIXED FREE"),
    ],
)
def test_roles_of_numbers(question: str, roles: str) -> None:
    found = [number.role for number in question_numbers(question)]
    assert found == [Role[name] for name in roles.split()]


def test_words_imply_constants() -> None:
    assert number_words("Twenty-one of thirty, one, and twelve") == [21, 30, 12]
    assert Fraction(7) in implied_constants("a week") and not implied_constants("weak")
    shares = implied_constants("30% are red")
    assert {Fraction(3, 10), Fraction(7, 10), Fraction(13, 10), Fraction(70)} <= shares
    assert {Fraction(3), Fraction(4), Fraction(1, 4)} <= implied_constants("3/4 of it")


@pytest.mark.parametrize(
    ("question", "phrase"),
    [
        ("At least 5", "At least"),
        ("rounded up", "rounded"),
        ("if she has more than 5", "more than 5"),
        ("She has 5 more than 20", None),
        ("How many more than Tom?", None),
    ],
)
def test_phrases_that_make_a_solution_depend_on_size(question: str, phrase: str | None) -> None:
    assert depends_on_size(question) == phrase


def sample(split: str, count: int) -> dict[str, Template]:
    try:
        items = gsm8k.load_gsm8k(split)
    except FileNotFoundError:
        pytest.skip("GSM8K is not on this machine")
    chosen = random.Random(0).sample(items, count)
    return templates_from_items(chosen, split)[0]


def test_a_sample_of_gsm8k() -> None:
    templates = sample("test", 60)
    assert 10 < len(templates) < 40
    for one in templates.values():
        for level in LEVELS:
            check(one, level, seed=level)


@pytest.mark.slow
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_large_sample_of_gsm8k(split: str) -> None:
    for one in sample(split, 600).values():
        for level in LEVELS:
            for seed in range(10):
                check(one, level, seed)

"""Word problems: every draw is consistent, for our templates and for made-up ones."""

from __future__ import annotations

import re
from fractions import Fraction
from statistics import median

import numpy as np
import pytest

from common.tasks.exact_arithmetic import evaluate
from common.tasks.step_expressions import Expression, Inconsistent, whole
from common.tasks.word_problem_lines import fixed_range, growing, line, template
from common.tasks.word_problem_templates import TEMPLATES
from common.tasks.word_problems import LEVELS, Slot, Template, WordProblem, generate

NUMBER = re.compile(r"\d+")


def check(one: Template, problem: WordProblem) -> None:
    """All that has to hold for a drawn problem, recomputed by another parser."""
    results = [evaluate(step.split("=")[0]) for step in problem.steps]
    assert all(value.denominator == 1 and value > 0 for value in results)
    assert [str(value) for value in results] == [step.split("=")[1] for step in problem.steps]
    assert results[-1] == problem.answer
    assert problem.solution.split("\n")[-1] == f"#### {problem.answer}"
    written = re.findall(r"<<([^<>]*)>>(\d+)", problem.solution)
    assert [step for step, _ in written] == list(problem.steps)
    assert all(step.endswith(f"={number}") for step, number in written)
    original = one.sample(0, np.random.default_rng(0))
    assert [re.sub(r"[\d.]+", "", step) for step in problem.steps] == [
        re.sub(r"[\d.]+", "", step) for step in original.steps
    ]
    asked = re.sub(r"\{(\w+)\}", lambda match: str(problem.values[match[1]]), one.question)
    assert problem.question == asked
    assert set(problem.values) == set(one.slots)


def check_ranges(one: Template, problem: WordProblem) -> None:
    m = LEVELS[problem.level]
    for name, slot in one.slots.items():
        value = problem.values[name]
        if problem.level == 0:
            assert value == slot.original
        elif problem.level == 1 or slot.scaled is None:
            assert slot.small[0] <= value <= slot.small[1]
            assert (value - slot.small[0]) % slot.grid == 0
            assert value != slot.original or slot.small[0] == slot.small[1]
        else:
            assert slot.scaled[0] * m <= value < slot.scaled[1] * m


def inner_values(expression: str) -> list[Fraction]:
    """The partial results of `a+b+c`, `a*b/c`, …: values of its prefixes without brackets."""
    parts = re.findall(r"[-+*/]?\d+", expression)
    return [evaluate("".join(parts[: i + 1])) for i in range(len(parts))]


@pytest.mark.parametrize("level", LEVELS)
def test_every_problem_is_consistent(level: int) -> None:
    for problem in generate(TEMPLATES, level, 12, seed=7):
        one = TEMPLATES[problem.template]
        check(one, problem)
        check_ranges(one, problem)
        for step in problem.steps:
            assert all(v.denominator == 1 and v >= 0 for v in inner_values(step.split("=")[0]))


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
def test_a_thousand_sets_are_consistent(level: int) -> None:
    for problem in generate(TEMPLATES, level, 1000, seed=1):
        check(TEMPLATES[problem.template], problem)
        check_ranges(TEMPLATES[problem.template], problem)


def test_there_are_enough_templates_of_two_to_four_operations() -> None:
    assert len(TEMPLATES) >= 24
    operations = {
        name: "".join(Expression(text).operations for _, text in one.steps)
        for name, one in TEMPLATES.items()
    }
    assert {len(used) for used in operations.values()} <= {2, 3, 4}
    assert set("".join(operations.values())) == set("+-*/")
    assert len(set(operations.values())) >= 8


def test_magnitudes_are_those_of_the_published_data() -> None:
    """Medians of the largest number of a question: 40, 734.5, 7471, 73918, 743375, 7369160."""
    published = {0: 20, 1: 40, 2: 734.5, 3: 7471, 4: 73918, 5: 743375, 6: 7369160}
    for level, expected in published.items():
        problems = generate(TEMPLATES, level, 4, seed=3)
        largest = median(max(map(int, NUMBER.findall(p.question))) for p in problems)
        assert expected / 2.5 < largest < expected * 2.5
        assert max(problem.answer for problem in problems) < 10**11


def test_a_worked_example() -> None:
    one = template(
        "pens",
        "A box holds {pens} pens. How many pens do {boxes} boxes hold?",
        {"pens": Slot(12, (10, 20)), "boxes": Slot(3, (2, 5), None)},
        line("total", "pens*boxes", "They hold {} pens."),
    )
    problem = one.sample(0, np.random.default_rng(0))
    assert problem == WordProblem(
        question="A box holds 12 pens. How many pens do 3 boxes hold?",
        solution="They hold 12*3=<<12*3=36>>36 pens.\n#### 36",
        answer=36,
        template="pens",
        level=0,
        values={"pens": 12, "boxes": 3},
        steps=("12*3=36",),
    )


def test_separators_and_trailing_zeros() -> None:
    rng = np.random.default_rng(5)
    problem = TEMPLATES["stamps"].sample(4, rng, separators=True)
    assert re.search(r"\d{2},\d{3} stamps", problem.question)
    assert f"#### {problem.answer:,}" in problem.solution
    assert "," not in "".join(problem.steps)
    for problem in generate(TEMPLATES, 5, 3, seed=2, trailing_zeros=True):
        one = TEMPLATES[problem.template]
        check(one, problem)
        for name, slot in one.slots.items():
            value = problem.values[name]
            if slot.scaled is not None:
                assert value % 100_000 == 0
                value //= 100_000
            assert slot.small[0] <= value <= slot.small[1]


def test_equal_seeds_give_equal_problems_whatever_else_is_drawn() -> None:
    first = generate(TEMPLATES, 3, 2, seed=4)
    assert first == generate(TEMPLATES, 3, 2, seed=4)
    assert first != generate(TEMPLATES, 3, 2, seed=5)
    alone = generate([TEMPLATES["choir"]], 3, 2, seed=4)
    assert alone == [problem for problem in first if problem.template == "choir"]
    assert alone[0] != alone[1]


def test_ascending_slots_keep_their_order() -> None:
    slots = {"a": growing(5, 2, 20), "b": growing(9, 2, 20), "n": fixed_range(2, 2, 4)}
    one = Template(
        "gap", "{a} {b} {n}", slots, (("r", "(b-a)*n"),), "{=r}", ascending=(("a", "b"),)
    )
    for level in range(1, 7):
        problem = one.sample(level, np.random.default_rng(level))
        assert problem.values["a"] < problem.values["b"]
        check_ranges(one, problem)


def test_what_the_story_needs_can_be_required() -> None:
    slots = {"seats": Slot(9, (2, 20)), "guests": Slot(4, (2, 20))}
    one = Template(
        "room", "{seats} {guests}", slots, (("r", "seats+guests"),), "{=r}", ("seats-guests",)
    )
    for seed in range(50):
        problem = one.sample(2, np.random.default_rng(seed))
        assert problem.values["seats"] > problem.values["guests"]


def test_a_template_without_consistent_values_says_so() -> None:
    slots = {"few": Slot(9, (1, 3)), "many": Slot(4, (5, 9))}
    one = Template("never", "{few} {many}", slots, (("r", "few-many"),), "{=r}")
    with pytest.raises(ValueError, match="'never' found no consistent values at level 1"):
        one.sample(1, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": "{a} {c}"}, r"slots.*'b', 'c'"),
        ({"steps": (("r", "a+z"),)}, "unknown.*'z'"),
        ({"steps": (("r", "a+1"),)}, "'b'.*never used"),
        ({"steps": (("a", "a+b"),)}, "taken twice"),
        ({"steps": ()}, "there are none"),
        ({"solution": "{=q}"}, "solution.*'q'"),
        ({"steps": (("r", "b-a"),)}, "inconsistent: a negative difference"),
        ({"steps": (("r", "a/b"),)}, "inconsistent: 9/4"),
    ],
)
def test_mistakes_in_templates_are_named(change: dict[str, object], message: str) -> None:
    right: dict[str, object] = {
        "name": "t",
        "question": "{a} {b}",
        "slots": {"a": growing(9, 2, 20), "b": growing(4, 2, 20)},
        "steps": (("r", "a-b"),),
        "solution": "{=r}",
    }
    Template(**right)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        Template(**(right | change))  # type: ignore[arg-type]


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="level: one of 0, 1, 2, 3, 4, 5, 6, got 7"):
        TEMPLATES["choir"].sample(7, np.random.default_rng(0))
    with pytest.raises(ValueError, match="templates: there are none"):
        generate({}, 1, 1, seed=0)
    with pytest.raises(ValueError, match="sets, seed"):
        generate(TEMPLATES, 1, -1, seed=0)
    assert generate(TEMPLATES, 1, 0, seed=0) == []


@pytest.mark.parametrize(
    ("text", "value"),
    [("2+3*4", 14), ("(2+3)*4", 20), ("7/2*4", 14), (".5*8", 4), ("20-5-3", 12), ("12/4/3", 1)],
)
def test_expressions_are_exact(text: str, value: int) -> None:
    assert Expression(text).value({}) == value == evaluate(text)
    assert Expression("9/10*3").value({}) == Fraction(27, 10)


@pytest.mark.parametrize("text", ["", "2+", "(2", "2)", "2**3", "2 2)", "-3", "__import__('os')"])
def test_what_is_no_plain_arithmetic_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expression"):
        Expression(text)


def test_long_expressions_are_refused_and_divisions_by_zero_are_inconsistent() -> None:
    with pytest.raises(ValueError, match="up to 60 tokens"):
        Expression("(" * 500 + "1" + ")" * 500)
    with pytest.raises(Inconsistent, match="division by zero"):
        Expression("4/(a-a)").value({"a": 3})
    with pytest.raises(Inconsistent, match="no positive integer"):
        whole(Fraction(1, 2))

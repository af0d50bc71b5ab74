import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.lm.small import word_tokenizer
from common.tasks.demonstrations import encode
from common.tasks.derivations import Derivations
from common.tasks.problem import Problem

TASK = Derivations()
PROBLEMS = TASK.generate(0, 12)


def problem(numbers, target, modulus=11):
    return Problem(
        "", "", len(numbers) - 1, {"numbers": numbers, "target": target, "modulus": modulus}
    )


EXAMPLE = problem([3, 7, 5], 6)


@pytest.mark.parametrize(
    "completion",
    ["3 + 7 = 10 ; 10 * 5 = 6", "7 + 3 = 10 ; 5 * 10 = 6", "  3 + 7 = 10 ;\n10 * 5 = 6 "],
)
def test_right_derivations_that_are_one_and_the_same(completion):
    assert TASK.verify(EXAMPLE, completion) == 1
    assert TASK.signature(EXAMPLE, completion) == "((3+7)*5)"


@pytest.mark.parametrize(
    "completion",
    [
        "",
        "3 + 7 = 10",  # a number is left
        "3 + 7 = 9 ; 9 * 5 = 1",  # a slip
        "3 + 7 = 10 ; 10 + 5 = 4",  # right, but not the target
        "3 + 3 = 6 ; 6 * 1 = 6",  # numbers that are not there
        "3 + 7 = 10 ; 10 * 5 = 6 ; 6 + 0 = 6",
        "3 + 7 = 10 ; 10 * 5 = 6 ;",
        "3 + 7 = 10 ; 10 * 5 = 6 6",
        "3 + 7 = 10 10 * 5 = 6",
        "3+7=10;10*5=6",
        "3 + 7 = 10 ; 10 * 5 = 06",
        "3 + 7 = 10 ; 10 * 5 = 17",
        "3 + 7 = 10 ; 10 * 5 = ٦",
        "3 + 7 = 10 ; 10 * " + "5" * 5000 + " = 6",
        "3 / 7 = 10 ; 10 * 5 = 6",
    ],
)
def test_what_is_no_right_derivation(completion):
    assert TASK.verify(EXAMPLE, completion) == 0
    assert TASK.signature(EXAMPLE, completion) is None


def test_subtraction_keeps_its_order():
    assert TASK.signature(problem([3, 7], 4), "7 - 3 = 4") == "(7-3)"
    assert TASK.signature(problem([3, 7], 7), "3 - 7 = 7") == "(3-7)"


def test_steps_that_do_not_depend_on_one_another_may_come_in_any_order():
    four = problem([2, 4, 9, 10], 3)
    one = TASK.signature(four, "2 + 4 = 6 ; 9 + 10 = 8 ; 6 + 8 = 3")
    other = TASK.signature(four, "10 + 9 = 8 ; 4 + 2 = 6 ; 8 + 6 = 3")
    assert one == other == "((10+9)+(2+4))"


def test_of_equal_values_the_newest_is_taken():
    four = problem([1, 2, 3, 4], 10)
    assert TASK.signature(four, "1 + 2 = 3 ; 3 + 4 = 7 ; 3 + 7 = 10") == "(((1+2)+4)+3)"


@pytest.mark.parametrize("difficulty", [1, 2, 3])
def test_problems_have_a_solution_and_as_many_steps_as_they_say(difficulty):
    task = Derivations(steps=[difficulty])
    for made in task.generate(1, 10):
        assert made.difficulty == difficulty
        assert made.solution.count("=") == difficulty
        assert task.verify(made, made.solution) == 1
        assert task.signature(made, made.solution) in task.distinct_solutions(made)
        assert made.prompt.split()[1:-3] == [str(n) for n in made.data["numbers"]]
        assert made.prompt.split()[-2:] == [str(made.data["target"]), ":"]
        stored = Problem("", "", 0, json.loads(json.dumps(made.data)))
        assert task.verify(stored, made.solution) == 1


def all_right_texts(task, made):
    """Every text of two steps that the verifier accepts, by trying them all."""
    numbers = range(task.modulus)
    for a, b, c, d in itertools.product(numbers, repeat=4):
        for first, second in itertools.product("+-*", repeat=2):
            x = eval(f"({a} {first} {b}) % {task.modulus}")
            y = eval(f"({c} {second} {d}) % {task.modulus}")
            text = f"{a} {first} {b} = {x} ; {c} {second} {d} = {y}"
            if task.verify(made, text):
                yield text


def test_the_enumeration_finds_exactly_what_the_verifier_accepts():
    task = Derivations(steps=[2], modulus=5)
    for made in task.generate(2, 2):
        texts = list(all_right_texts(task, made))
        signatures = {task.signature(made, text) for text in texts}
        # Where equal values could be told apart by their history, one text stands for both.
        assert signatures <= set(task.distinct_solutions(made))
        if len({*made.data["numbers"]}) == 3:
            assert len(signatures) > 1
        assert {eval(s) % 5 for s in task.distinct_solutions(made)} == {made.data["target"]}


def test_there_are_several_solutions_per_problem():
    for task, fewest in ((Derivations(steps=[2]), 4), (Derivations(steps=[3]), 40)):
        counts = [len(task.distinct_solutions(made)) for made in task.generate(3, 20)]
        assert np.mean(counts) > fewest


def test_every_listed_solution_has_a_text_that_is_accepted():
    task = Derivations(steps=[2], modulus=7)
    for made in task.generate(4, 10):
        if len(set(made.data["numbers"])) < 3:
            continue
        for formula in task.distinct_solutions(made):
            inner = formula[formula.rindex("(") + 1 : formula.index(")")]
            value = eval(inner) % 7
            spaced = f"{inner[0]} {inner[1]} {inner[2]} = {value}"
            rest = formula.replace(f"({inner})", str(value))[1:-1]
            last = f"{rest[0]} {rest[1]} {rest[2]} = {eval(rest) % 7}"
            assert task.verify(made, f"{spaced} ; {last}") == 1


def test_demonstrations():
    for corruption, low, high in ((0.0, 1.0, 1.0), (0.3, 0.65, 0.8), (1.0, 0.0, 0.2)):
        shown = TASK.demonstrations(5, 300, corruption)
        assert shown[:3] == TASK.demonstrations(5, 3, corruption)
        right = np.mean([TASK.verify(d.problem, d.completion) for d in shown])
        assert low <= right <= high


def test_sequences_are_short_and_of_known_words():
    task = Derivations(steps=[4])
    tokenizer = word_tokenizer(task.vocabulary())
    for example in encode(task.demonstrations(0, 20), tokenizer):
        assert len(example.prompt_ids + example.completion_ids) <= 40


def test_problems_are_their_seed():
    assert TASK.generate(1, 5) == TASK.generate(1, 5) != TASK.generate(2, 5)
    assert {made.difficulty for made in TASK.generate(1, 30)} == {2, 3}


WORDS = st.sampled_from([*TASK.vocabulary(), "12", "٣", "-1", "1e3"])


@given(st.one_of(st.text(max_size=100), st.lists(WORDS, max_size=24).map(" ".join)))
@settings(deadline=None, max_examples=120)
def test_any_text_can_be_verified(text):
    for made in PROBLEMS[:3]:
        reward = TASK.verify(made, text)
        assert reward in (0.0, 1.0)
        assert (reward == 1) == (TASK.signature(made, text) is not None)


@given(st.integers(0, 11), st.integers(0, 200))
@settings(deadline=None, max_examples=60)
def test_no_part_of_a_solution_is_one(index, cut):
    solution = PROBLEMS[index].solution
    if cut < len(solution.rstrip("0123456789")):
        assert TASK.verify(PROBLEMS[index], solution[:cut]) == 0


@pytest.mark.parametrize("options", [{"steps": []}, {"steps": [0]}, {"steps": [5]}, {"modulus": 1}])
def test_what_the_task_cannot_be(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Derivations(**options)

import operator
import re
import time
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from common.tasks.copy_repair import edit_distance
from common.tasks.number_reading import COMMON_CONSTANTS, known_numbers
from common.tasks.step_grading import LONGEST_RESPONSE, grade
from common.tasks.step_reading import MOST_STEPS
from common.tasks.word_problem_templates import TEMPLATES
from common.tasks.word_problems import generate

DUCKS = (
    "Janet's ducks lay 16 eggs per day. She eats three for breakfast and bakes muffins with four. "
    "She sells the remainder for $2 per egg. How much does she make every day?"
)
FARM = "A farm has 7345 hens and 2318 geese. It sells 1204 birds, each for 13 euros. How much?"
FARM_ANSWER = (7345 + 2318 - 1204) * 13


@pytest.mark.parametrize(
    ("response", "label", "without_repair", "wrong", "repairs"),
    [
        ("16-3-4=<<16-3-4=9>>9\n9*2=<<9*2=18>>18\n#### 18", "correct", "correct", 0, 0),
        ("16-3-4=<<16-3-4=8>>8\n8*2=<<8*2=16>>16\n#### 16", "non_logical", "non_logical", 1, 0),
        ("16 - 3 - 4 = 9 eggs. 9 * 2 = 17.\nThe answer is 17.", "non_logical", "non_logical", 1, 0),
        ("16 - 3 - 4 = 9 eggs. 9 * 2 = 18.\nThe answer is 81.", "non_logical", "non_logical", 0, 0),
        ("16-3=<<16-3=13>>13\n13*2=<<13*2=26>>26\nA: 26", "logical", "logical", 0, 0),
        ("I do not know.", "logical", "logical", 0, 0),
        ("#### 18", "correct", "correct", 0, 0),
        ("16/0 = 5\n#### 5", "logical", "logical", 1, 0),
        ("", "logical", "logical", 0, 0),
    ],
)
def test_labels(response, label, without_repair, wrong, repairs):
    found = grade(response, DUCKS, 18)
    assert (found.label, found.label_without_repair) == (label, without_repair)
    assert (found.wrong_steps, found.repairs) == (wrong, repairs)


def test_a_wrong_result_is_recomputed_and_a_wrong_copy_repaired():
    response = "7354+2318=<<7346+2318=9664>>9664\n9664-1204=<<9664-1204=8450>>8450\n"
    response += "8450*13=<<8450*13=109850>>109850\n#### 109850"
    found = grade(response, FARM, FARM_ANSWER)
    assert (found.label, found.label_without_repair) == ("non_logical", "logical")
    assert (found.repairs, found.wrong_steps) == (1, 1)
    assert found.steps[0].repairs == ((7346, 7345),)
    assert [step.recomputed for step in found.steps] == [9663, 8459, FARM_ANSWER]
    assert [step.wrong for step in found.steps] == [False, True, False]
    row = found.row()
    assert row["program_value"] == str(FARM_ANSWER) and row["steps"] == 3
    assert all(value is None or isinstance(value, bool | int | str) for value in row.values())


def test_a_wrongly_copied_result_is_repaired():
    text = "7345+2318=<<7345+2318=9663>>9663\n9763-1204=<<9763-1204=8559>>8559\n"
    found = grade(text + "8559*13=<<8559*13=111267>>111267\n#### 111267", FARM, FARM_ANSWER)
    assert (found.label, found.steps[1].repairs) == ("non_logical", ((9763, 9663),))


def test_a_number_like_two_others_is_not_repaired():
    question = "He has 7345 hens and 7346 geese."
    assert grade("7347+7346=14693\n#### 14693", question, 14691).repairs == 0


def test_a_result_that_is_also_in_the_question_is_used_once():
    """8 + 5 = 14 is wrong, and 14 is in the question: the first 14 is the sum, the second not."""
    question = "8 and 5, and then 14 more. What do they make?"
    response = "8+5=<<8+5=14>>14\n14*2=<<14*2=28>>28\n28+14=<<28+14=42>>42\n#### 42"
    found = grade(response, question, 13 * 2 + 14)
    assert [step.recomputed for step in found.steps] == [13, 26, 40]
    assert (found.label, found.ambiguous) == ("non_logical", 2)


def test_the_latest_of_two_equal_results_is_meant():
    response = "5+6=<<5+6=12>>12\n3*4=<<3*4=12>>12\n12+1=<<12+1=13>>13\n#### 14"
    assert grade(response, "5 6 3 4", 13).program_value == 13


def test_the_answer_can_refer_to_an_earlier_step():
    response = "2*3=<<2*3=7>>7\n7+1=<<7+1=8>>8\n#### 7"
    assert grade(response, "2 3", 6).label == "non_logical"
    assert grade(response.replace("#### 7", "#### 9"), "2 3", 7).program_value == 7


def test_a_lucky_hit_is_correct_and_said_to_be_lucky():
    lucky = grade("16+2=<<16+2=18>>18\n18*2=<<18*2=36>>36\n#### 18", DUCKS, 18)
    assert (lucky.label, lucky.lucky, lucky.program_correct) == ("correct", False, True)
    lucky = grade("16*2=<<16*2=18>>18\n#### 18", DUCKS, 18)
    assert (lucky.label, lucky.lucky, lucky.program_value) == ("correct", True, 32)
    assert not grade("#### 18", DUCKS, 18).lucky


def test_negative_results_and_percentages_are_followed():
    response = "3-9=<<3-9=-5>>-5\n-5+20=<<-5+20=15>>15\n#### 15"
    assert grade(response, "3 9 20", 14).label == "non_logical"
    response = "12/20 = 50%\n50% of 80 = 40\n#### 40"
    assert grade(response, "12 of 20 and 80", 48).label == "non_logical"


@pytest.mark.parametrize(
    ("step", "wrong"),
    [
        ("10/3=3.33", False),
        ("10/3=3.34", False),
        ("10/3=3.35", True),
        ("2/3*10=6.666666666666666", False),
        ("10/3=3", True),
        ("0.1+0.2=0.30000000000000004", False),
        ("7*8=54", True),
    ],
)
def test_a_rounding_is_no_wrong_step(step, wrong):
    assert grade(step, "", 0).wrong_steps == wrong


def test_a_printed_number_names_the_result_unless_it_is_rounded_on_purpose():
    cut = "4.20+9.45=<<4.20+9.45=13.649999999>>13.64\n20-13.64=<<20-13.64=6.36>>6.36\n#### 6"
    assert grade(cut, "4.20 9.45 20", 6).program_value == Fraction("6.35")
    floor = "350/15=<<350/15=23.33>>23\n23-13=<<23-13=10>>10\n#### 10"
    assert grade(floor, "350 15 13", 9).program_value == 10


@pytest.mark.parametrize(
    ("response", "truncated"),
    [
        ("16 - 3 = 13, and then", True),
        ("16 - 3 =", True),
        ("16 - 3 = 13.", False),
        ("16 - 3 = 13\n#### 13", False),
        ("", False),
    ],
)
def test_cut_off_responses_are_flagged(response, truncated):
    assert grade(response, DUCKS, 18).truncated == truncated


def test_long_responses_are_read_to_a_limit():
    found = grade("1+1=2\n" * 10**6, "", 2)
    assert found.unread == 6 * 10**6 - LONGEST_RESPONSE
    assert len(found.steps) == MOST_STEPS


@pytest.mark.parametrize(
    "text",
    [
        "9" * 10**6,
        "(" * 10**6,
        "=" * 10**6,
        "<<" * 10**5,
        "answer is " * 10**5,
        "x = " * 10**5,
        "1," + "000," * 10**5,
        "=".join(["1+1+1"] * 20_000),
        "\n".join("*".join(["(9^600)"] * 120) + "=5" for _ in range(100)),
        "\n".join(f"{10**19 + 10 * n}+1={10**19 + 10 * n + 1}" for n in range(2_000)),
    ],
    ids=lambda text: text[:9],
)
def test_hostile_texts_take_bounded_time(text):
    started = time.process_time()
    grade(text, FARM, 1)
    assert time.process_time() - started < 10


@given(
    st.text(max_size=200)
    | st.text("0123456789+-*/=<>().,%x$#A: \n", max_size=200)
    | st.lists(
        st.sampled_from(["16", "-", "3", "=", "13", "<<", ">>", "#### ", "\n", "(", "%", "of "]),
        max_size=40,
    ).map("".join),
    st.text(max_size=40),
    st.integers(-(10**12), 10**12) | st.fractions(),
)
@settings(deadline=None, max_examples=120)
def test_any_text_gets_the_same_grade_twice(response, question, answer):
    found = grade(response, question, answer)
    assert found.label in ("correct", "non_logical", "logical")
    assert found == grade(response, question, answer)
    if found.label_without_repair == "correct":
        assert found.label == "correct"


@st.composite
def programs(draw):
    """Numbers of a question that resemble no other, and operators between them."""
    digits = draw(st.integers(3, 7))
    number = st.integers(10 ** (digits - 1) + 1, 10**digits - 1).filter(lambda n: n % 10)
    numbers = draw(st.lists(number, min_size=3, max_size=5, unique=True))
    pairs = [(str(a), str(b)) for a in numbers for b in numbers if a < b]
    assume(all(edit_distance(a, b) > (3 if digits >= 5 else 2) for a, b in pairs))
    signs = draw(st.lists(st.sampled_from("+-*"), min_size=len(numbers) - 1, max_size=4))
    return numbers, signs[: len(numbers) - 1]


COMPUTED = {"+": operator.add, "-": operator.sub, "*": operator.mul}


def written(numbers, signs, style, wrong_at=None, wrong_by=0):
    """The steps from left to right; the result at `wrong_at` is wrong, and carried on."""
    lines, total = [], numbers[0]
    for step, (sign, number) in enumerate(zip(signs, numbers[1:], strict=True)):
        expression = f"{total}{sign}{number}"
        total = COMPUTED[sign](total, number) + (wrong_by if step == wrong_at else 0)
        lines.append(style.format(expression=expression, value=total))
    return "\n".join(lines) + f"\n#### {total}", total


STYLES = st.sampled_from(
    ["so <<{expression}={value}>>{value} hens", "This is {expression} = {value}."]
)


def asked(numbers):
    return "Of " + " and ".join(map(str, numbers)) + " hens, how many?"


@given(programs(), STYLES, st.integers(0, 3), st.integers(1, 9))
@settings(deadline=None, max_examples=60)
def test_a_wrong_result_that_is_carried_on_is_non_logical(program, style, step, by):
    numbers, signs = program
    right, answer = written(numbers, signs, style)
    assert grade(right, asked(numbers), answer).program_correct
    wrong, other = written(numbers, signs, style, step % len(signs), by)
    found = grade(wrong, asked(numbers), answer)
    assume(not found.ambiguous)
    assert (found.label, found.label_without_repair) == ("non_logical", "non_logical")
    assert (found.wrong_steps, found.final_answer) == (1, other)


@given(programs(), STYLES, st.integers(0, 4), st.integers(0, 6), st.integers(1, 9))
@settings(deadline=None, max_examples=60)
def test_a_wrong_digit_of_a_copy_is_repaired_if_it_is_clear(program, style, which, place, by):
    numbers, signs = program
    _, answer = written(numbers, signs, style)
    which %= len(numbers)
    digits = list(str(numbers[which]))
    place %= len(digits)
    digits[place] = str((int(digits[place]) + by) % 10)
    assume(digits[0] != "0")
    copied = int("".join(digits))
    response, other = written([*numbers[:which], copied, *numbers[which + 1 :]], signs, style)
    assume(other != answer and copied not in known_numbers(asked(numbers)) | COMMON_CONSTANTS)
    found = grade(response, asked(numbers), answer)
    assert found.label_without_repair == "logical"
    stated = {abs(step.stated) for step in found.steps}
    if not any(edit_distance(str(copied), str(number)) <= 2 for number in stated):
        assert (found.label, found.repairs) == ("non_logical", 1)


@given(programs(), STYLES, st.integers(0, 3), st.sampled_from("+-*"))
@settings(deadline=None, max_examples=60)
def test_another_operation_is_logical(program, style, step, sign):
    numbers, signs = program
    _, answer = written(numbers, signs, style)
    step %= len(signs)
    response, other = written(numbers, [*signs[:step], sign, *signs[step + 1 :]], style)
    assume(other != answer)
    assert grade(response, asked(numbers), answer).label == "logical"


PROBLEMS = st.builds(
    lambda level, seed, name: generate([TEMPLATES[name]], level, 1, seed)[0],
    st.integers(1, 6),
    st.integers(0, 10**6),
    st.sampled_from(sorted(TEMPLATES)),
)


@given(PROBLEMS)
@settings(deadline=None, max_examples=60)
def test_the_solution_of_a_word_problem_is_correct(problem):
    plain = re.sub(r"<<[^<>]*>>", "", problem.solution)
    for text in (problem.solution, "\n".join(problem.steps) + f"\nA: {problem.answer}", plain):
        found = grade(text, problem.question, problem.answer)
        assert (found.label, found.wrong_steps, found.repairs) == ("correct", 0, 0)
    assert grade(problem.solution, problem.question, problem.answer).program_correct

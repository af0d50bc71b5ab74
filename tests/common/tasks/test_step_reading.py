from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.tasks.copy_repair import edit_distance, meant_number
from common.tasks.number_reading import final_answer, known_numbers
from common.tasks.step_reading import read_steps


def steps(text):
    return [(step.text.replace(" ", ""), step.stated) for step in read_steps(text)]


@pytest.mark.parametrize(
    ("text", "value", "marker"),
    [
        ("so 9 * 2 = 18\n#### 18", 18, "####"),
        ("#### $1,234.50", Fraction(2469, 2), "####"),
        ("#### -5", -5, "####"),
        ("#### 3/4", Fraction(3, 4), "####"),
        ("#### 18\n\nQuestion: 7", 18, "####"),
        ("A: 18", 18, "A:"),
        ("**Answer:** 18 dollars", 18, "A:"),
        ("The answer is 5 + 13 = 18.", 18, "answer is"),
        ("The answer is 7. No, the answer is 18.", 18, "answer is"),
        ("The final answer is \\boxed{18}.", 18, "boxed"),
        ("\\boxed{\\text{$18}} and 7", 18, "boxed"),
        ("#### eighteen, or 18", 18, "####"),
        ("####\n18", 18, "last number"),
        ("A: Janet has 16 eggs and eats three of them, so that 13", 13, "last number"),
        ("they are 5 or 18", 18, "last number"),
        ("16-3", 3, "last number"),
        ("#### " + "9" * 200, None, "none"),
        ("#### 1/0", 0, "last number"),
        ("٣", None, "none"),
        ("", None, "none"),
    ],
)
def test_the_final_answer(text, value, marker):
    found = final_answer(text)
    assert (found.value, found.marker) == (value, marker)


@pytest.mark.parametrize(
    ("question", "numbers"),
    [
        ("three hens, twenty-five geese", {3, 25}),
        ("two hundred and five; four hundred twenty thousand; a million", {205, 420_000, 10**6}),
        ("1,234 and 5.5", {1234, Fraction(11, 2)}),
        ("1/4 of it", {1, 4, Fraction(1, 4)}),
        ("20%", {20, 80, Fraction(1, 5), Fraction(4, 5)}),
        ("twice a dozen, half", {2, 12, Fraction(1, 2)}),
        ("someone, often, weight", set()),
    ],
)
def test_the_numbers_of_a_question(question, numbers):
    assert known_numbers(question) == numbers


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("16 - 3 - 4 = <<16-3-4=9>>9 duck eggs a day.", [("16-3-4", 9)]),
        ("a <<1+1=2>>2, b <<2*3=6>>6", [("1+1", 2), ("2*3", 6)]),
        ("He needs 7.5 / .5 = <<15=15>>15", [("7.5/.5", 15)]),
        ("16 eggs - 3 eggs - the 4 eggs = 9 eggs", [("16-3-4", 9)]),
        ("She makes 9 * $2 = $18 every day.", [("9*2", 18)]),
        ("- 9 x 2 = 18", [("9*2", 18)]),
        ("2. She makes 9 times 2 = **18**", [("9*2", 18)]),
        ("Step 2: 9 multiplied by 2 = 18", [("9*2", 18)]),
        ("20% of 50 = 10", [("20%*50", 10)]),
        ("1/2 of 50 = 25", [("1/2*50", 25)]),
        ("12/20 = 60%", [("(12/20)*100", 60)]),
        ("12/20 * 100 = 60%", [("12/20*100", 60)]),
        ("18 = 9 * 2", [("9*2", 18)]),
        ("3 + 4 = 7 * 2 = 14", [("3+4", 7), ("7*2", 14)]),
        ("2*3 + 4 = 6 + 4 = 10", [("2*3+4", 10)]),
        ("2*3 + 4 = 7 + 4 = 11", [("2*3+4", 11)]),
        ("3 - 5 = -2 + 9 = 7", [("3-5", -2), ("-2+9", 7)]),
        ("10/4 = 5/2", [("10/4", Fraction(5, 2))]),
        ("(16 - 3 = 13)", [("16-3", 13)]),
        ("2(3 + 4) = 14", [("2*(3+4)", 14)]),
        ("$600/month * 12 months/year = $7200", [("600*12", 7200)]),
        ("\\[ 9 \\times \\$2 = \\$18 \\]", [("9*2", 18)]),
        ("\\frac{18}{2} \\text{ eggs} = 9", [("((18)/(2))", 9)]),
        ("exit C is 700 - 420 = 280", [("700-420", 280)]),
        ("x = 14/2 = 7", [("14/2", 7)]),
        ("1,000 + 1 = 1,001.", [("1000+1".replace("1000", "1,000"), 1001)]),
        ("1/0 = 5", [("1/0", 5)]),
        ("2x + 3 = 13", []),
        ("x + 3 = 13", []),
        ("3r + 5w = 42", []),
        ("1 1/2 - 1 = 3", []),
        ("400 000 + 1 = 400 001", []),
        ("x = 5", []),
        ("= 5", []),
        ("30*=90", []),
        ("no sums", []),
    ],
)
def test_the_steps_of_a_line(line, expected):
    assert steps(line) == expected


@pytest.mark.parametrize(
    ("number", "candidates", "meant"),
    [
        (7354, {7345}, None),  # two exchanged digits in four
        (7344, {7345, 2318}, 7345),
        (734, {7345}, 7345),
        (73455, {7345}, 7345),
        (73455, {7345, 73456}, None),
        (7345124, {7345213}, None),
        (7345124, {7345223}, 7345223),
        (7354123, {7345123}, 7345123),
        (7200, {720}, None),
        (300, {30}, None),
        (130, {120}, None),
        (15, {16}, None),
        (-734, {7345}, None),
        (Fraction(1469, 2), {7345}, None),
        (735, set(), None),
        (10**30 + 1, {10**30 + 2}, None),
    ],
)
def test_which_number_was_meant(number, candidates, meant):
    assert meant_number(Fraction(number), map(Fraction, candidates)) == meant


@given(*[st.text("012", max_size=6)] * 2)
@settings(deadline=None, max_examples=100)
def test_edit_distance_is_the_recursive_one(a, b):
    def distance(a, b):
        if not a or not b:
            return len(a) + len(b)
        return min(
            distance(a[1:], b) + 1, distance(a, b[1:]) + 1, distance(a[1:], b[1:]) + (a[0] != b[0])
        )

    assert edit_distance(a[:5], b[:5]) == distance(a[:5], b[:5])

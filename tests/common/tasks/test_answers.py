from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.tasks.answers import exact_match, last_answer_pair, last_number, normalise_answer


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12", 12),
        ("The sum of 3 and 4 is 7.", 7),
        ("7. ", 7),
        ("it is -5", -5),
        ("8-3", 3),
        ("x-3", 3),
        ("8 - -3", -3),
        ("= -3.50!", Decimal("-3.5")),
        ("1,234,567 people", 1234567),
        ("1,23", 23),
        ("12,3456", 3456),
        ("a1b2", 2),
        ("007", 7),
        ("#### 42\n", 42),
        ("\\boxed{9}", 9),
        ("9" * 10_000, Decimal("9" * 10_000)),
    ],
)
def test_the_last_number(text, number):
    assert last_number(text) == number


@pytest.mark.parametrize("text", ["", "none", "٣", "²", "Ⅷ", "-", ".", ","])
def test_no_number(text):
    assert last_number(text) is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<answer> Paris </answer>", "Paris"),
        ("<answer>a</answer> so <answer>\nb\nc </answer> tail", "b\nc"),
        ("<answer></answer>", ""),
        ("<answer>a</answer> <answer>b", "a"),
    ],
)
def test_the_last_answer(text, answer):
    assert last_answer_pair(text) == answer


def test_too_few_answers():
    assert last_answer_pair("</answer> a <answer>") is None
    assert last_answer_pair("<answer>a</answer>", pairs=2) is None
    assert last_answer_pair("<answer>e</answer> <answer>a</answer>", pairs=2) == "a"


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Beatles!", "beatles"),
        ("a man, an apple", "man apple"),
        ("U.S.A.", "usa"),
        ("another theatre", "another theatre"),
        ("the-end", "theend"),  # punctuation goes first, as in the original
        ("  ", ""),
    ],
)
def test_normalised_answers(text, normal):
    assert normalise_answer(text) == normal


def test_exact_match():
    assert exact_match("the Eiffel Tower.", ["Big Ben", "Eiffel tower"])
    assert not exact_match("Eiffel", ["Eiffel tower"])
    assert not exact_match(None, ["None"])
    assert not exact_match("x", [])


@given(st.text(max_size=300))
@settings(deadline=None, max_examples=200)
def test_any_text(text):
    last_number(text)
    answer = last_answer_pair(text)
    assert answer is None or answer == answer.strip()
    assert normalise_answer(normalise_answer(text)) == normalise_answer(text)


@given(st.integers(-(10**30), 10**30), st.sampled_from(["{} ", "so {}.", "{:,}", "1 2 {}\n"]))
@settings(deadline=None, max_examples=100)
def test_every_number_is_found_as_it_is_written(number, pattern):
    assert last_number(pattern.format(number)) == number

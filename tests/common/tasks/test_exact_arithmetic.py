import contextlib
import operator
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.tasks.exact_arithmetic import (
    DEEPEST,
    LONGEST,
    MOST_DIGITS,
    ArithmeticRefused,
    evaluate,
    parse,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("16-3-4", 9),
        ("9 * 2", 18),
        ("2+3*4", 14),
        ("(2+3)*4", 20),
        ("8/4/2", 1),
        ("10/4", Fraction(5, 2)),
        (".5*3", Fraction(3, 2)),
        ("0.1+0.2", Fraction(3, 10)),
        ("1,234,567*2", 2469134),
        ("1,234.5", Fraction(12345, 10)),
        ("20%", Fraction(1, 5)),
        ("150*20%", 30),
        ("(10+10)%*5", 1),
        ("2^10", 1024),
        ("2**3**2", 512),
        ("-2^2", -4),
        ("2^-2", Fraction(1, 4)),
        ("0^0", 1),
        ("3 × 4 ÷ 6 − 1", 1),
        ("3x4", 12),
        ("3·4", 12),
        ("5–3", 2),
        ("--3", 3),
        ("2*-3", -6),
        ("+7", 7),
        ("007", 7),
        (" 1\u00a0+ 1 ", 2),
        ("7345123*7345124", 7345123 * 7345124),  # above 2**53
    ],
)
def test_values(text, value):
    assert evaluate(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "()", "(", "1+", "*2", "1 2", "2(3)", "(2)(3)", "(1+2", "1+2)", "5.", "1,0000",
        "12,34", "7%3", "7//2", "1/0", "1/(2-2)", "0^-1", "2^0.5", "2^9999999999", "9^9^9^9",
        "10^999*10^999", "٣+٤", "３+4", "2²", "½", "nan", "inf", "1e5", "1_000", "0xff", "$5", "a",
        "__import__('os').system('x')", "1 if 1 else 2", "1;2", "[1]", "1=1", "\x00", "\ud800",
    ],
)  # fmt: skip
def test_what_is_refused(text):
    with pytest.raises(ArithmeticRefused, match="expression: "):
        evaluate(text)


def test_limits_are_exact():
    assert evaluate("1" + "+1" * (LONGEST // 2 - 1)) == LONGEST // 2
    assert evaluate("9" * MOST_DIGITS) == 10**MOST_DIGITS - 1
    assert evaluate("(" * DEEPEST + "1" + ")" * DEEPEST) == 1
    for text in (
        " " * (LONGEST + 1),
        "9" * (MOST_DIGITS + 1),
        "(" * (DEEPEST + 1) + "1" + ")" * (DEEPEST + 1),
    ):
        with pytest.raises(ArithmeticRefused):
            evaluate(text)


@pytest.mark.parametrize(
    "text",
    [
        "9^999^999",
        "*".join(["(9^600)"] * 120),
        "+".join(f"1/{10**60 + n}" for n in range(15)),
        "(" * 10**6,
        "9" * 10**6,
        "-" * LONGEST,
        "((((1+1)^20)^20)^20)^20",
    ],
)
def test_no_text_takes_long(text):
    started = time.process_time()
    with contextlib.suppress(ArithmeticRefused):
        evaluate(text)
    assert time.process_time() - started < 2


@given(st.text(max_size=60) | st.text("0123456789.,+-*/^()%x ", max_size=60))
@settings(deadline=None, max_examples=400)
def test_any_text_gives_a_fraction_or_one_error(text):
    try:
        assert isinstance(evaluate(text), Fraction)
    except ArithmeticRefused as error:
        assert len(str(error)) < 120


OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
NUMBERS = st.one_of(
    st.integers(0, 10**7).map(lambda n: (f"{n:,}", Fraction(n))),
    st.integers(0, 10**7).map(lambda n: (f"{n // 100}.{n % 100:02}", Fraction(n, 100))),
)


def combined(parts):
    """Text with every parenthesis written, and its value; None where it divides by zero."""
    (left, a), sign, (right, b), negate = parts
    text, value = f"({left} {sign} {right})", None
    if a is not None and b is not None and not (sign == "/" and b == 0):
        value = OPERATIONS[sign](a, b)
    if negate:
        return f"-{text}", None if value is None else -value
    return text, value


TREES = st.recursive(
    NUMBERS,
    lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner, st.booleans()).map(combined),
    max_leaves=12,
)


@given(TREES)
@settings(deadline=None, max_examples=200)
def test_the_value_is_that_of_the_tree_it_was_written_from(tree):
    text, value = tree
    if value is None:
        with pytest.raises(ArithmeticRefused, match="division by zero"):
            evaluate(text)
    else:
        assert evaluate(text) == value


@given(st.lists(st.tuples(st.sampled_from("+-*/"), st.integers(1, 99)), max_size=8))
@settings(deadline=None, max_examples=200)
def test_precedence_without_parentheses(pairs):
    """Products first, each from the left, then sums: computed term by term."""
    terms, text = [Fraction(7)], "7"
    for sign, number in pairs:
        text += f"{sign}{number}"
        if sign in "+-":
            terms.append(Fraction(number if sign == "+" else -number))
        else:
            terms[-1] = OPERATIONS[sign](terms[-1], number)
    assert evaluate(text) == sum(terms)


def test_numbers_can_be_exchanged():
    expression = parse("12 - 3*(4)")
    assert expression.operands == (12, 3, 4)
    assert expression.operators == 2
    assert expression.value() == 0
    assert expression.value([Fraction(1), Fraction(2), Fraction(3)]) == -5
    with pytest.raises(ArithmeticRefused, match="division by zero"):
        parse("1/2").value([Fraction(1), Fraction(0)])

"""Plain arithmetic to exact fractions, by a parser of its own with bounds on all it does.

Nothing is ever handed to Python's compiler: a text is a row of numbers, operators and
parentheses, or it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

LONGEST = 1_000
"""Characters of an expression."""
DEEPEST = 50
"""Parentheses open at once."""
MOST_DIGITS = 100
"""Digits of one number."""
LARGEST_EXPONENT = 1_000
MOST_BITS = 2_048
"""Bits of the numerator and of the denominator of every intermediate result."""

NUMBER = r"[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|\.[0-9]+"
"""A number without a sign; commas may separate thousands. Only the digits 0 to 9 are read."""

_TOKEN = re.compile(rf"[ \t\r\n\u00a0]*(?:({NUMBER})|(\*\*|[-+*/^()%×xX÷·⋅∙−–]))")
_BLANK = " \t\r\n\u00a0"
_SAME = {"**": "^", "−": "-", "–": "-", "÷": "/"} | dict.fromkeys("×xX·⋅∙", "*")
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2, "negate": 3, "^": 4}


Exact = int | Fraction  # sums and products of integers are five times as fast as of fractions


class ArithmeticRefused(ValueError):
    """A text that is no plain arithmetic, or too much of it; the message says which."""


@dataclass(frozen=True)
class Expression:
    """A parsed expression whose numbers can be exchanged.

    Attributes:
        operands: its numbers from left to right, without their signs.
        program: reverse Polish notation: an integer is a position in `operands`, a text an
            operator (`+ - * / ^ negate percent`).
    """

    operands: tuple[Fraction, ...]
    program: tuple[int | str, ...]

    @property
    def operators(self) -> int:
        """How many operations with two operands there are."""
        return sum(step in ("+", "-", "*", "/", "^") for step in self.program)

    def value(self, operands: Sequence[Fraction] | None = None) -> Fraction:
        """The exact value.

        Args:
            operands: numbers to use instead of `operands`, as many.

        Raises:
            ArithmeticRefused: division by zero, an exponent that is no integer or too large, or
                an intermediate result of more than `MOST_BITS` bits.
        """
        numbers = self.operands if operands is None else operands
        stack: list[Exact] = []
        for step in self.program:
            if isinstance(step, int):
                number = numbers[step]
                stack.append(number.numerator if number.denominator == 1 else number)
            elif step == "negate":
                stack.append(-stack.pop())
            elif step == "percent":
                stack.append(Fraction(stack.pop(), 100))
            else:
                right = stack.pop()
                stack.append(_bounded(_apply(step, stack.pop(), right)))
        return Fraction(stack[0])


def evaluate(expression: str) -> Fraction:
    """The exact value of plain arithmetic.

    Read are numbers (decimals, thousands separated by commas), parentheses, `+ - * / ^ **`, the
    signs `× x ÷ · − –`, a sign before an operand, and `%` behind one, which divides it by 100.
    Precedence is Python's. Two operands side by side are refused, and so are names, calls,
    scientific notation, digits of other scripts and superscripts. Currency signs and units are
    the caller's to strip.

    Args:
        expression: any text.

    Returns:
        The value; work is bounded by the limits of this module, a few milliseconds at most.

    Raises:
        ArithmeticRefused: a ValueError; the text is no plain arithmetic, divides by zero, or
            exceeds a limit.
    """
    return parse(expression).value()


@lru_cache(maxsize=4_096)
def parse(expression: str) -> Expression:
    """Read an expression without computing it; see `evaluate` for what is read.

    Raises:
        ArithmeticRefused: the text is no plain arithmetic or exceeds a limit.
    """
    if len(expression) > LONGEST:
        raise ArithmeticRefused(f"expression: longer than {LONGEST} characters")
    operands: list[Fraction] = []
    program: list[int | str] = []
    waiting: list[str] = []
    after_operand = False
    for number, operator in _tokens(expression):
        if number:
            _expect(not after_operand, "two operands side by side")
            program.append(len(operands))
            operands.append(read_number(number))
            after_operand = True
        elif operator == "(":
            _expect(not after_operand, "an operand before '(' without an operator")
            waiting.append(operator)
            _expect(waiting.count("(") <= DEEPEST, f"more than {DEEPEST} open parentheses")
        elif not after_operand:
            _expect(operator in "+-", "an operator without an operand")
            waiting.extend(["negate"] if operator == "-" else [])
        elif operator == "%":
            program.append("percent")
        elif operator == ")":
            _close(waiting, program)
        else:
            _shift(operator, waiting, program)
            after_operand = False
    _expect(after_operand, "an operand is missing at the end")
    while waiting:
        _expect(waiting[-1] != "(", "a parenthesis stays open")
        program.append(waiting.pop())
    return Expression(tuple(operands), tuple(program))


def read_number(text: str) -> Fraction:
    """The value of a text that matches `NUMBER`.

    Raises:
        ArithmeticRefused: more than `MOST_DIGITS` digits.
    """
    _expect(len(text) <= MOST_DIGITS, f"a number of more than {MOST_DIGITS} digits")
    if text.isdigit():
        return Fraction(int(text))
    whole, _, decimals = text.replace(",", "").partition(".")
    return Fraction(int(whole + decimals), 10 ** len(decimals))


def _tokens(expression: str) -> list[tuple[str, str]]:
    """(number, "") or ("", operator) for each token."""
    tokens = []
    position, end = 0, len(expression.rstrip(_BLANK))
    while position < end:
        found = _TOKEN.match(expression, position)
        if found is None:
            sign = expression[position:].lstrip(_BLANK)[:1]
            raise ArithmeticRefused(f"expression: unexpected character {sign!a}")
        number, operator = found.groups(default="")
        tokens.append((number, _SAME.get(operator, operator)))
        position = found.end()
    return tokens


def _expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ArithmeticRefused(f"expression: {otherwise}")


def _close(waiting: list[str], program: list[int | str]) -> None:
    while waiting and waiting[-1] != "(":
        program.append(waiting.pop())
    _expect(bool(waiting), "a closing parenthesis too many")
    waiting.pop()


def _shift(operator: str, waiting: list[str], program: list[int | str]) -> None:
    """Put a binary operator on the stack, after those that bind at least as strongly."""
    here = _PRECEDENCE[operator]
    while waiting and waiting[-1] != "(":
        top = _PRECEDENCE[waiting[-1]]
        if top < here or (top == here and operator == "^"):  # powers group from the right
            break
        program.append(waiting.pop())
    waiting.append(operator)


def _apply(operator: str, left: Exact, right: Exact) -> Exact:
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    if operator == "*":
        return left * right
    if operator == "/":
        _expect(right != 0, "division by zero")
        return Fraction(left, right)
    return _power(Fraction(left), Fraction(right))


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    """The size of the result is known before it is computed."""
    _expect(exponent.denominator == 1, "an exponent that is no integer")
    _expect(abs(exponent) <= LARGEST_EXPONENT, f"an exponent above {LARGEST_EXPONENT}")
    _expect(_bits(base) * abs(int(exponent)) <= 2 * MOST_BITS, "a power that is too large")
    _expect(base != 0 or exponent >= 0, "division by zero")
    return Fraction(base ** int(exponent))


def _bits(value: Exact) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _bounded(value: Exact) -> Exact:
    if _bits(value) > MOST_BITS:
        raise ArithmeticRefused(f"expression: an intermediate result above {MOST_BITS} bits")
    return value

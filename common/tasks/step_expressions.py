"""Expressions of worked solutions: names and numbers, four operations, exact values."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction

Number = int | Fraction
Values = Mapping[str, Number]

_TOKEN = re.compile(r"[A-Za-z_]\w*|\d+(?:\.\d+)?|\.\d+|[-+*/()]")
LONGEST = 60  # tokens; deeper nesting than that cannot occur either


class Inconsistent(ValueError):
    """Values that divide by zero, take away too much or give no positive integer."""


class Expression:
    """A step of a solution, such as `boxes*each` or `(48-8)/4`.

    Args:
        text: names, decimal numbers, `+ - * /` and brackets; no signs.

    Raises:
        ValueError: it is no such expression, or has more than 60 tokens.
    """

    def __init__(self, text: str) -> None:
        compact = re.sub(r"\s", "", text)
        self.tokens = tuple(_TOKEN.findall(compact))
        if "".join(self.tokens) != compact or not 0 < len(self.tokens) <= LONGEST:
            raise ValueError(f"expression: no plain arithmetic of up to 60 tokens: {text[:80]!r}")
        self.text = compact
        reader = _Reader(self.tokens)
        self._value = reader.sum()
        if reader.at < len(self.tokens):
            raise ValueError(f"expression: stray {self.tokens[reader.at]!r} in {text!r}")

    @property
    def names(self) -> tuple[str, ...]:
        """The names in it, in their order, once for each occurrence."""
        return tuple(token for token in self.tokens if token.isidentifier())

    @property
    def operations(self) -> str:
        """The operators in their order, such as `*+`."""
        return "".join(token for token in self.tokens if token in "+-*/")

    def value(self, values: Values) -> Number:
        """The exact value.

        Raises:
            Inconsistent: a division by zero, or a negative difference.
        """
        return self._value(values)

    def written(self, values: Values) -> str:
        """The expression with numbers in the place of names, without blanks."""
        return "".join(str(values.get(token, token)) for token in self.tokens)


def whole(value: Number) -> int:
    """A positive integer as an int.

    Raises:
        Inconsistent: it is a fraction, zero or negative.
    """
    if value.denominator != 1 or value <= 0:
        raise Inconsistent(f"{value} is no positive integer")
    return value.numerator


_Rule = Callable[[Values], Number]


class _Reader:
    """Recursive descent: sums of products of brackets, names and numbers."""

    def __init__(self, tokens: tuple[str, ...]) -> None:
        self.tokens, self.at = tokens, 0

    def _next(self, among: str) -> str:
        """The next token if it is one of `among`, else an empty text."""
        if self.at < len(self.tokens) and self.tokens[self.at] in among:
            self.at += 1
            return self.tokens[self.at - 1]
        return ""

    def sum(self) -> _Rule:
        rule = self.product()
        while operation := self._next("+-"):
            rule = _combine(rule, operation, self.product())
        return rule

    def product(self) -> _Rule:
        rule = self.operand()
        while operation := self._next("*/"):
            rule = _combine(rule, operation, self.operand())
        return rule

    def operand(self) -> _Rule:
        if self._next("("):
            rule = self.sum()
            if not self._next(")"):
                raise ValueError(f"expression: a bracket stays open in {''.join(self.tokens)!r}")
            return rule
        token = self.tokens[self.at] if self.at < len(self.tokens) else ")"
        self.at += 1
        if token.isidentifier():
            return lambda values: values[token]
        if token in "+-*/()":
            raise ValueError(f"expression: an operand is missing in {''.join(self.tokens)!r}")
        number = _plain(Fraction(token))
        return lambda _: number


def _combine(first: _Rule, operation: str, second: _Rule) -> _Rule:
    if operation == "+":
        return lambda values: first(values) + second(values)
    if operation == "-":
        return lambda values: _difference(first(values), second(values))
    if operation == "*":
        return lambda values: first(values) * second(values)
    return lambda values: _quotient(first(values), second(values))


def _difference(first: Number, second: Number) -> Number:
    if second > first:
        raise Inconsistent("a negative difference")
    return first - second


def _quotient(first: Number, second: Number) -> Number:
    if second == 0:
        raise Inconsistent("a division by zero")
    if isinstance(first, int) and isinstance(second, int) and first % second == 0:
        return first // second
    return _plain(Fraction(first) / second)


def _plain(value: Fraction) -> Number:
    return value.numerator if value.denominator == 1 else value

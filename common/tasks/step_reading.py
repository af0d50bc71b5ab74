"""The steps of a written solution: each expression with the result that is stated for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from common.tasks.arithmetic_text import chains
from common.tasks.exact_arithmetic import (
    NUMBER,
    ArithmeticRefused,
    Expression,
    parse,
    read_number,
)

MOST_STEPS = 500
"""Steps of one response that are read."""

_ANNOTATION = re.compile(rf"<<([^<>\n]*)>>(?:\s*\$?\s*(?P<printed>{NUMBER}))?")
_CALCULATOR = re.compile(r"<<[^<>\n]*>>")
_SIMPLE = re.compile(r"([-+*/().0-9]+)=(-?[0-9]+(?:\.[0-9]+)?)")
_BULLET = re.compile(r"^\s*(?:[-*•]\s+|[0-9]{1,2}[.)]\s+|step\s+[0-9]+\s*[:.)])", re.IGNORECASE)
_LATEX = [
    (re.compile(pattern), new)
    for pattern, new in [
        (r"\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}", r"((\1)/(\2))"),
        (r"\\(?:text|mathrm|textbf|mathbf)\{([^{}]*)\}", r" \1 "),
        (r"\\(?:times|cdot)(?![A-Za-z])", "*"),
        (r"\\div(?![A-Za-z])", "/"),
        (r"\\approx(?![A-Za-z])", "="),
        (r"\\(?:left|right)(?![A-Za-z])", ""),
        (r"\\([$%])", r"\1"),
        (r"\\[\[\]()]", "\n"),
    ]
]
_BOLD = re.compile(r"\*\*(?![0-9])|(?<![0-9])\*\*")


@dataclass(frozen=True)
class WrittenStep:
    """One step as it is written.

    Attributes:
        text: the expression, without units.
        expression: the same, parsed.
        stated: the result that is stated for it.
        aliases: other numbers by which the text calls that result, and by how much the number
            has to be multiplied to be the result (1/5 for 20 that was stated as "20%": 100).
    """

    text: str
    expression: Expression
    stated: Fraction
    aliases: tuple[tuple[Fraction, Fraction], ...] = ()


def read_steps(response: str) -> list[WrittenStep]:
    """All steps of a response, in order, at most `MOST_STEPS`.

    A line with annotations `<<expression=value>>` is read from these alone, as the text around
    repeats them, unless none of them holds an operation. Other lines are searched for
    `expression = value`, with units, currency signs and words such as "times" between. In a chain
    `a = b = c` an expression that has the value of the one before, or is shorter, is a
    simplification of it, and any other one goes on from its first number ("3 + 4 = 7 * 2 = 14" is
    two steps). Of "12 / 20 = 60%" the result is 60, and the expression is multiplied by 100.
    Algebra, mixed numbers, and text without an equals sign yield nothing.
    """
    steps: list[WrittenStep] = []
    if "\\" in response:
        for pattern, new in _LATEX:
            response = pattern.sub(new, response)
    for line in response.split("\n"):
        if "=" in line or "≈" in line:
            steps.extend(_of_line(line))
        if len(steps) >= MOST_STEPS:
            break
    return steps[:MOST_STEPS]


def _of_line(line: str) -> list[WrittenStep]:
    if "<<" in line:
        steps = [step for found in _ANNOTATION.finditer(line) for step in _annotated(found)]
        if steps:
            return steps
        line = _CALCULATOR.sub("", line)
    return list(_plain(line))


def _annotated(found: re.Match[str]) -> list[WrittenStep]:
    simple = _SIMPLE.fullmatch(found[1])
    steps: list[WrittenStep] = []
    if simple is None:
        steps = list(_plain(found[1]))
    else:
        expression = _parsed(simple[1])
        if expression is not None and expression.operators:
            steps = [WrittenStep(simple[1], expression, _signed(simple[2]))]
    if found["printed"] is None or not steps:
        return steps
    return [*steps[:-1], _also_called(steps[-1], found["printed"])]


def _also_called(step: WrittenStep, printed: str) -> WrittenStep:
    """With the number that the text prints behind the annotation as another name of the result.

    A whole number printed for a fraction is none: there the text rounds on purpose, 23 for 70/3.
    """
    try:
        called = read_number(printed)
    except ArithmeticRefused:
        return step
    if called == step.stated:
        return step
    value = _value(step.expression)
    if (
        value is not None
        and called.denominator == 1 < value.denominator
        and abs(called - value) < 1
    ):
        return step
    return replace(step, aliases=(*step.aliases, (called, Fraction(1))))


def _signed(text: str) -> Fraction:
    return -read_number(text[1:]) if text.startswith("-") else read_number(text)


def _parsed(text: str) -> Expression | None:
    try:
        return parse(text)
    except ArithmeticRefused:
        return None


def _value(expression: Expression) -> Fraction | None:
    try:
        return expression.value()
    except ArithmeticRefused:
        return None


def _plain(line: str) -> Iterator[WrittenStep]:
    line = _BOLD.sub("", _BULLET.sub("", line))
    for chain in chains(line):
        run: list[tuple[str, Expression]] = []
        for segment in chain:
            expression = _parsed(segment)
            if expression is None:
                yield from _steps(run)
                run = []
            else:
                run.append((segment, expression))
        yield from _steps(run)


def _steps(run: list[tuple[str, Expression]]) -> Iterator[WrittenStep]:
    """The steps of a chain of expressions that are said to be equal."""
    at = 0
    while at < len(run):
        text, expression = run[at]
        after = at + 1
        if not expression.operators:
            at = after
            continue
        while after < len(run) and _simplifies(run[after][1], expression):
            after += 1
        if after < len(run) and run[after][1].operators:
            yield WrittenStep(text, expression, _leading(run[after][1]))
        elif after < len(run):
            yield _stating(text, expression, run[after][1])
        elif after > at + 1:
            yield from _equal(text, expression, run[after - 1][1])
        elif at == 1 and not run[0][1].operators:  # "13 = 16 - 3"
            yield _stating(text, expression, run[0][1])
        at = after


def _simplifies(after: Expression, before: Expression) -> bool:
    if not after.operators:
        return False
    value = _value(before)
    if _value(after) == value:
        return True
    return _leading(after) != value and after.operators < before.operators


def _leading(expression: Expression) -> Fraction:
    """The first number of an expression, with its sign."""
    negative = expression.program[1:2] == ("negate",)
    return -expression.operands[0] if negative else expression.operands[0]


def _stating(text: str, expression: Expression, number: Expression) -> WrittenStep:
    """A step whose result is a number; "= 20%" may mean that the value is 20, or 1/5."""
    stated = number.value()
    if "percent" not in number.program:
        return WrittenStep(text, expression, stated)
    share = (stated, Fraction(100))
    hundredfold = _parsed(f"({text})*100")
    if _value(expression) != stated * 100 and hundredfold is not None:
        text, expression = f"({text})*100", hundredfold
    return WrittenStep(text, expression, stated * 100, (share,))


def _equal(text: str, expression: Expression, other: Expression) -> Iterator[WrittenStep]:
    """A step whose result is an expression itself, such as a fraction."""
    stated = _value(other)
    if stated is not None:
        yield WrittenStep(text, expression, stated)

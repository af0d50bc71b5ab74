"""Worked solutions with one error of a known kind, to see what the grader makes of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import pandas as pd

from common.tasks.exact_arithmetic import NUMBER, ArithmeticRefused, evaluate
from common.tasks.number_reading import COMMON_CONSTANTS, final_answer, known_numbers
from common.tasks.step_grading import grade

ERRORS = {
    "arithmetic": "non_logical",
    "copy": "non_logical",
    "operation": "logical",
    "operand": "logical",
    "operation and arithmetic": "logical",
}
"""Kinds of error, and the label that each of them ought to get."""

COPIED_DIGITS = 3
"""Significant digits of a number that is copied wrongly; shorter ones are never repaired."""

ATTEMPTS = 20
"""Places that are tried in a solution until an error changes its answer."""

Steps = tuple[tuple[str | int, ...], ...]
"""Tokens of each expression; an integer is a step and stands for its result."""

_ANNOTATION = re.compile(r"<<([^<>=]+)=([^<>=]+)>>")
_TOKEN = re.compile(rf"{NUMBER}|[-+*/()]")
_STYLES = {
    "annotated": ("So {text} = <<{text}={value}>>{value} of them.", "#### {value}"),
    "plain": ("Then there are {text} = {value} of them.", "The answer is {value}."),
}


@dataclass(frozen=True)
class Worked:
    """A right solution whose steps can be computed anew.

    Attributes:
        item: name of the item.
        question: what is asked.
        answer: the right answer, the value of the last step.
        steps: what is computed.
    """

    item: str
    question: str
    answer: Fraction
    steps: Steps


def worked(item: str, question: str, solution: str) -> Worked | None:
    """An annotated solution, or None where the truth about its steps is not known.

    That is so if a step has no operation or not the value that it states, if the last one is not
    the answer, or if a number could be an earlier result as well as another one or a number of
    the question.
    """
    values: list[Fraction] = []
    steps = []
    asked = known_numbers(question)
    for expression, stated in _ANNOTATION.findall(solution):
        tokens: list[str | int] = []
        for token in _TOKEN.findall(expression):
            number = None if token in "+-*/()" else evaluate(token)
            earlier = [at for at, value in enumerate(values) if value == number]
            if len(earlier) > 1 or (earlier and number in asked):
                return None
            tokens.append(earlier[0] if earlier else token)
        try:
            values.append(evaluate(expression))
            wrong = evaluate(stated) != values[-1]
        except ArithmeticRefused:
            return None
        whole = "".join(_TOKEN.findall(expression)) == re.sub(r"\s", "", expression)
        if wrong or not whole or not {"+", "-", "*", "/"}.intersection(tokens):
            return None
        steps.append(tuple(tokens))
    if not steps or final_answer(solution).value != values[-1]:
        return None
    return Worked(item, question, values[-1], tuple(steps))


def respond(solution: Worked, style: str, wrong: tuple[int, str] | None = None) -> str:
    """The text of a solution, computed anew, if asked with one wrong result.

    Args:
        solution: whose steps are written.
        style: "annotated" or "plain".
        wrong: (step, stated result); later steps use it.

    Raises:
        ArithmeticRefused: a step has no value.
    """
    line, end = _STYLES[style]
    results: list[str] = []
    lines = []
    for at, tokens in enumerate(solution.steps):
        text = "".join(results[token] if isinstance(token, int) else token for token in tokens)
        result = wrong[1] if wrong and wrong[0] == at else decimal(evaluate(text))
        results.append(result)
        lines.append(line.format(text=text, value=result))
    return "\n".join([*lines, end.format(value=results[-1])])


def decimal(value: Fraction) -> str:
    """As people write it: at most four decimal places."""
    if value.denominator == 1:
        return str(value.numerator)
    return f"{float(value):.4f}".rstrip("0").rstrip(".")


def inject(solution: Worked, error: str, style: str, rng: np.random.Generator) -> str | None:
    """The solution with one error, whose answer is wrong; None if no attempt gives that."""
    kind, _, slip = error.partition(" and ")
    for _ in range(ATTEMPTS):
        steps = solution.steps if kind == "arithmetic" else _other_token(solution, kind, rng)
        if steps is None:
            continue
        changed = replace(solution, steps=steps)
        try:
            if slip and final_answer(respond(changed, style)).value == solution.answer:
                continue  # the other operation gives the same: only the slip would be wrong
            wrong = _wrong_result(changed, rng) if "arithmetic" in (kind, slip) else None
            response = respond(changed, style, wrong)
        except ArithmeticRefused:
            continue
        if final_answer(response).value != solution.answer:
            return response
    return None


def _wrong_result(solution: Worked, rng: np.random.Generator) -> tuple[int, str]:
    """A step, and its result with another digit."""
    at = int(rng.integers(len(solution.steps)))
    right = respond(solution, "plain").split("\n")[at].rpartition(" = ")[2].split()[0]
    return at, _other_digit(right, rng)


def _other_digit(number: str, rng: np.random.Generator) -> str:
    """The number with one digit exchanged; its first digit does not become 0."""
    places = [place for place, sign in enumerate(number) if sign.isdigit()]
    place = int(rng.choice(places))
    lowest = 1 if place == places[0] and len(places) > 1 else 0
    digits = [str(digit) for digit in range(lowest, 10) if str(digit) != number[place]]
    return number[:place] + str(rng.choice(digits)) + number[place + 1 :]


def _other_token(solution: Worked, error: str, rng: np.random.Generator) -> Steps | None:
    """The steps with one other token; None where the attempt fails."""
    asked = known_numbers(solution.question)
    places = [
        (at, where)
        for at, tokens in enumerate(solution.steps)
        for where, token in enumerate(tokens)
        if isinstance(token, str) and _fits(error, token, asked)
    ]
    if not places:
        return None
    at, where = places[int(rng.integers(len(places)))]
    token = str(solution.steps[at][where])
    if error == "operation":
        new = str(rng.choice([sign for sign in "+-*/" if sign != token]))
    elif error == "copy":
        new = _other_digit(token, rng)
        if evaluate(new) in asked | COMMON_CONSTANTS:
            return None
    else:
        others = sorted({decimal(n) for n in asked if n.denominator == 1} - {token})
        if not others:
            return None
        new = str(rng.choice(others))
    tokens = list(solution.steps[at])
    tokens[where] = new
    return (*solution.steps[:at], tuple(tokens), *solution.steps[at + 1 :])


def _fits(error: str, token: str, asked: frozenset[Fraction]) -> bool:
    """Whether an error of that kind can happen to the token."""
    if error == "operation":
        return token in ("+", "-", "*", "/")
    if token in "+-*/()" or evaluate(token) not in asked:
        return False
    return error == "operand" or (token.isdigit() and len(token.rstrip("0")) >= COPIED_DIGITS)


def graded_errors(solutions: Iterable[Worked], source: str, seed: int) -> pd.DataFrame:
    """Every kind of error in every solution where it can be made, and the grader's labels.

    Returns:
        One row per item and error: `source`, `item`, `error`, `style`, `label`,
        `label_without_repair`, `ambiguous` (0 or 1), `recognised` (1 if the label is that of
        `ERRORS`) and `recognised_without_repair`.
    """
    rows = []
    for number, solution in enumerate(solutions):
        for error, expected in ERRORS.items():
            rng = np.random.default_rng([seed, number, list(ERRORS).index(error)])
            style = str(rng.choice(list(_STYLES)))
            response = inject(solution, error, style, rng)
            if response is None:
                continue
            found = grade(response, solution.question, solution.answer)
            rows.append(
                {
                    "source": source,
                    "item": solution.item,
                    "error": error,
                    "style": style,
                    "label": found.label,
                    "label_without_repair": found.label_without_repair,
                    "ambiguous": int(found.ambiguous > 0),
                    "recognised": int(found.label == expected),
                    "recognised_without_repair": int(found.label_without_repair == expected),
                }
            )
    return pd.DataFrame(rows)

"""Where every operand of an annotated solution comes from."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from common.tasks.question_numbers import (
    QuestionNumber,
    Role,
    implied_constants,
    question_numbers,
)
from common.tasks.step_expressions import Expression, Inconsistent, whole

ANNOTATION = re.compile(r"<<([^<>=]*)=([^<>=]*)>>")
_WITHOUT_ANNOTATION = re.compile(r"=\s*\$?\s*([0-9][0-9,]*(?:\.[0-9]+)?|\.[0-9]+)")
_ANSWER = re.compile(r"####\s*(\S+)\s*$")


class Reason(StrEnum):
    """Why an item becomes no template."""

    UNREADABLE = "no final answer, or braces in the text"
    NO_ANNOTATION = "a computation without annotation, or one that is no plain arithmetic"
    WRONG_ANNOTATION = "an annotation does not hold exactly"
    NOT_WHOLE = "a result is no positive integer"
    OTHER_ANSWER = "the last result is not the answer"
    OPERAND_NOT_FOUND = "an operand is neither in the question nor a result nor implied by a word"
    UNUSED_NUMBER = "a number of the question is not used"
    UNUSED_RESULT = "a result is not used"
    DEPENDS_ON_SIZE = "other numbers could need another solution"
    AMBIGUOUS = "an operand, or every number that could be drawn, has no certain role"
    NO_FREEDOM = "all numbers have to stay, or none can grow"
    NO_VALUES = "new values are hardly ever consistent"


class NotATemplate(ValueError):
    """An item that is not turned.

    Attributes:
        reason: see `Reason`.
        detail: the number, expression or phrase that decided it.
    """

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason.value}: {detail}" if detail else reason.value)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class BoundSolution:
    """A solution whose operands are names or constants.

    Attributes:
        numbers: of the question; the one with index i is called `n<i>` where it is drawn.
        drawn: indices of the numbers that are drawn.
        steps: `("r0", "n0*7")`, …
        operands: per step, the value of every operand with the name or the text that stands
            for it.
        results: values of the steps.
    """

    numbers: Sequence[QuestionNumber]
    drawn: tuple[int, ...]
    steps: tuple[tuple[str, str], ...]
    operands: tuple[dict[Fraction, str], ...]
    results: tuple[int, ...]


@dataclass
class _Operand:
    """An operand with what it could be: numbers and results by index, or a constant."""

    token: str
    numbers: list[int]
    results: list[int]
    constant: bool

    @property
    def ambiguous(self) -> bool:
        return len(self.numbers) + len(self.results) + self.constant > 1


def bind(question: str, answer: str) -> BoundSolution:
    """Find where every operand comes from.

    An operand that could come from several places is safe if all of them stay as they are; the
    numbers that it could depend on are therefore never drawn. Nor are numbers of up to 12 that
    are used twice: the second use is too often another thing of the same number.

    Args:
        question: its text.
        answer: a solution in the form of GSM8K.

    Raises:
        NotATemplate: the item cannot be turned.
    """
    steps, results = annotated_steps(answer)
    numbers = question_numbers(question)
    operands = _candidates(question, numbers, steps, results)
    _check_use(numbers, operands)
    free = {i for i, number in enumerate(numbers) if number.role is not Role.FIXED}
    drawn = free - _uncertain(operands, numbers)
    if not drawn:
        raise NotATemplate(Reason.AMBIGUOUS if free else Reason.NO_FREEDOM)
    bound, named = [], []
    for index, (step, found) in enumerate(zip(steps, operands, strict=True)):
        names = [_name(operand, drawn) for operand in found]
        replaced = iter(names)
        text = "".join(next(replaced) if token[-1].isdigit() else token for token in step.tokens)
        bound.append((f"r{index}", text))
        values = [Fraction(operand.token) for operand in found]
        named.append(dict(zip(values, names, strict=True)))
    referred = {token for _, text in bound for token in Expression(text).names}
    for name, _ in bound[:-1]:
        if name not in referred:
            raise NotATemplate(Reason.AMBIGUOUS, f"two results of value {results[int(name[1:])]}")
    return BoundSolution(
        numbers, tuple(sorted(drawn)), tuple(bound), tuple(named), tuple(map(int, results))
    )


def annotated_steps(answer: str) -> tuple[list[Expression], list[int]]:
    """The expressions and values of a solution's annotations, recomputed exactly.

    Raises:
        NotATemplate: there are none, one is wrong, a result is no positive integer, or the last
            one is not the answer.
    """
    final = _ANSWER.search(answer)
    if final is None:
        raise NotATemplate(Reason.UNREADABLE, answer[-40:])
    if answer.count("<<") != len(ANNOTATION.findall(answer)) or "<<" not in answer:
        raise NotATemplate(Reason.NO_ANNOTATION)
    steps, results = [], []
    for left, right in ANNOTATION.findall(answer):
        try:
            step, claimed = Expression(left), Fraction(right.strip().replace(",", ""))
        except (ValueError, ZeroDivisionError):
            raise NotATemplate(Reason.NO_ANNOTATION, f"{left}={right}"[:80]) from None
        written = f"{left}={right}"[:80]
        if step.names or not step.operations:
            raise NotATemplate(Reason.NO_ANNOTATION, written)
        try:
            value = step.value({})
            if value != claimed:
                raise NotATemplate(Reason.WRONG_ANNOTATION, written)
            results.append(whole(value))
        except Inconsistent:
            raise NotATemplate(Reason.NOT_WHOLE, written) from None
        steps.append(step)
    for written in _WITHOUT_ANNOTATION.findall(ANNOTATION.sub("", answer)):
        # Numbers behind an annotation are its results; another one was computed without.
        if Fraction(written.replace(",", "")) not in results:
            raise NotATemplate(Reason.NO_ANNOTATION, f"= {written}")
    if final[1].replace(",", "") != str(results[-1]):
        raise NotATemplate(Reason.OTHER_ANSWER, f"{results[-1]} and {final[1]}"[:80])
    return steps, results


def _candidates(
    question: str,
    numbers: Sequence[QuestionNumber],
    steps: Sequence[Expression],
    results: Sequence[int],
) -> list[list[_Operand]]:
    constants = implied_constants(question)
    found = []
    for index, step in enumerate(steps):
        row = []
        for token in step.tokens:
            if not token[-1].isdigit():
                continue
            value = Fraction(token)
            operand = _Operand(
                token,
                [i for i, number in enumerate(numbers) if number.value == value],
                [i for i in range(index) if results[i] == value],
                value in constants,
            )
            if not (operand.numbers or operand.results or operand.constant):
                raise NotATemplate(Reason.OPERAND_NOT_FOUND, f"{token} in {step.text}"[:80])
            row.append(operand)
        found.append(row)
    return found


def _check_use(numbers: Sequence[QuestionNumber], operands: Sequence[Sequence[_Operand]]) -> None:
    """Every number of the question and every result but the last has to be used."""
    rows = [operand for row in operands for operand in row]
    used = {i for operand in rows for i in operand.numbers}
    tokens = {Fraction(operand.token) for operand in rows}
    for i, number in enumerate(numbers):
        # A fixed number may enter as a share: 20% as 0.2 or 0.8, 3/4 as 3 and 4.
        if i not in used and (number.role is not Role.FIXED or not _enters(number, tokens)):
            raise NotATemplate(Reason.UNUSED_NUMBER, str(number.value))
    used = {i for operand in rows for i in operand.results}
    for i in range(len(operands) - 1):
        if i not in used:
            raise NotATemplate(Reason.UNUSED_RESULT, f"r{i}")


def _enters(number: QuestionNumber, tokens: set[Fraction]) -> bool:
    value, share = number.value, number.value / 100
    forms = {share, 1 - share, 1 + share, 100 - value, 100 + value, 1 - value, 1 + value}
    parts = {Fraction(value.numerator), Fraction(value.denominator)}
    return bool(forms & tokens) or (value.denominator > 1 and bool(parts & tokens))


MOST_REUSED_SMALL = 12


def _uncertain(
    operands: Sequence[Sequence[_Operand]], numbers: Sequence[QuestionNumber]
) -> set[int]:
    """The numbers on which an operand of uncertain origin could depend."""
    upstream: list[set[int]] = []
    uncertain: set[int] = set()
    uses: Counter[int] = Counter()
    for row in operands:
        for operand in row:
            uses.update(operand.numbers)
            if operand.ambiguous:
                uncertain |= _sources(operand, upstream)
        upstream.append(set().union(*(_sources(operand, upstream) for operand in row)))
    return uncertain | {
        i for i, count in uses.items() if count > 1 and numbers[i].value <= MOST_REUSED_SMALL
    }


def _sources(operand: _Operand, upstream: Sequence[set[int]]) -> set[int]:
    return set(operand.numbers).union(*(upstream[i] for i in operand.results))


def _name(operand: _Operand, drawn: set[int]) -> str:
    """What stands for an operand; where it is ambiguous, nothing of it is drawn."""
    if operand.results:
        return f"r{operand.results[-1]}"
    if operand.numbers and operand.numbers[0] in drawn:
        return f"n{operand.numbers[0]}"
    return operand.token

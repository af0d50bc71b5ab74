"""Is a wrong answer a wrong program, or a right one with slips? Decided without a model.

GSM-Ranges (arXiv 2502.08680, Figure 2) has a large model translate a response into Python and
runs it: if that gives the right answer, the error is non-logical (wrong arithmetic, or a number
copied wrongly), else logical. Here the written steps themselves are recomputed exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from common.tasks.copy_repair import meant_number
from common.tasks.exact_arithmetic import ArithmeticRefused
from common.tasks.number_reading import COMMON_CONSTANTS, FinalAnswer, final_answer, known_numbers
from common.tasks.step_reading import WrittenStep, read_steps

LONGEST_RESPONSE = 100_000
"""Characters of a response that are read, from its beginning."""
MOST_ATTEMPTS = 20
"""Unexplained numbers of a response that are compared with known ones."""
CLOSED = ".!?)]}\"'"
"""Signs with which a response ends that was not cut off."""

Label = Literal["correct", "non_logical", "logical"]


@dataclass(frozen=True)
class Step:
    """One step as written and as recomputed.

    Attributes:
        text: the expression as written, without units.
        operands: its numbers as written.
        stated: the result as written.
        written_value: the exact value of the expression as written; None: it has none.
        recomputed: its value with right earlier results and repaired copies; None: it has none.
        repairs: (number as written, number meant) of each operand that was repaired.
    """

    text: str
    operands: tuple[Fraction, ...]
    stated: Fraction
    written_value: Fraction | None
    recomputed: Fraction | None
    repairs: tuple[tuple[Fraction, Fraction], ...]

    @property
    def wrong(self) -> bool:
        """Whether the stated result is wrong for the numbers as written; a rounding is not."""
        value = self.written_value
        return value is None or not _is_rounding(value, self.stated)


@dataclass(frozen=True)
class Grade:
    """A response's label and what it rests on.

    Attributes:
        label: "correct" if the final answer is the right one; else "non_logical" if the
            recomputed program gives it, else "logical".
        label_without_repair: the label when no copied number is repaired.
        reason: why, in words.
        final_answer: what the response gives as its answer; None: no number.
        marker: how the answer was marked.
        program_value: value of the recomputed program; None: there is none.
        program_correct: whether that is the right answer. A correct response without it is a
            lucky hit, or left steps out.
        steps: the steps in order.
        repairs: operands taken as wrong copies.
        wrong_steps: steps whose stated result is wrong for the numbers as written.
        ambiguous: operands that could be a wrong earlier result or a known number.
        truncated: whether the text seems cut off: no marked answer, no closing sign at its end.
        unread: characters behind the first `LONGEST_RESPONSE`, which are not read.
    """

    label: Label
    label_without_repair: Label
    reason: str
    final_answer: Fraction | None
    marker: str
    program_value: Fraction | None
    program_correct: bool
    steps: tuple[Step, ...]
    repairs: int
    wrong_steps: int
    ambiguous: int
    truncated: bool
    unread: int

    @property
    def lucky(self) -> bool:
        """A correct answer whose written steps, recomputed, give another one."""
        return self.label == "correct" and bool(self.steps) and not self.program_correct

    def row(self) -> dict[str, Any]:
        """The evidence without the steps, for a table; answers as texts, for they are exact."""
        return {
            "label": self.label,
            "label_without_repair": self.label_without_repair,
            "reason": self.reason,
            "final_answer": _text(self.final_answer),
            "marker": self.marker,
            "program_value": _text(self.program_value),
            "program_correct": self.program_correct,
            "lucky": self.lucky,
            "steps": len(self.steps),
            "wrong_steps": self.wrong_steps,
            "repairs": self.repairs,
            "ambiguous": self.ambiguous,
            "truncated": self.truncated,
            "unread": self.unread,
        }


def grade(response: str, question: str, answer: int | Fraction) -> Grade:
    """Label a response by its final answer and its recomputed steps; never raises for any text.

    1. The final answer (`common.tasks.number_reading.final_answer`) decides "correct".
    2. The steps (`common.tasks.step_reading.read_steps`) are recomputed in order, exactly. A
       number that an earlier step states as its result stands for that step, recomputed. Where
       the number is in the question, too (or a common constant), and the stated result is wrong,
       it stands for the result until a step has used that, and for itself from then on.
    3. A number that is neither in the question, nor an earlier result, nor a common constant, and
       resembles exactly one number of the question or earlier result, is replaced by it
       (`common.tasks.copy_repair.meant_number`); only the first `MOST_ATTEMPTS` such numbers
       are looked at.
    4. The program's value is that of the last step whose stated result is the final answer, or
       of the last step if there is none. If it is the right answer, the error is "non_logical".

    Args:
        response: any text; work is bounded by the limits of the modules it goes through.
        question: what was asked; its numbers are looked for in it.
        answer: the right answer.
    """
    unread = max(0, len(response) - LONGEST_RESPONSE)
    response = response[:LONGEST_RESPONSE]
    right, final = Fraction(answer), final_answer(response)
    written, known = read_steps(response), known_numbers(question)
    run = _Run(written, known, repair=True)
    value = run.value(final.value)
    label, reason = _label(final, value, right, run)
    without = label
    if run.repairs and label != "correct":
        plain = _Run(written, known, repair=False)
        without, _ = _label(final, plain.value(final.value), right, plain)
    return Grade(
        label=label,
        label_without_repair=without,
        reason=reason,
        final_answer=final.value,
        marker=final.marker,
        program_value=value,
        program_correct=value == right,
        steps=tuple(run.steps),
        repairs=run.repairs,
        wrong_steps=sum(step.wrong for step in run.steps),
        ambiguous=run.ambiguous,
        truncated=_seems_cut_off(response, final),
        unread=unread,
    )


class _Run:
    """The steps of a response, recomputed in order."""

    def __init__(
        self, written: list[WrittenStep], known: frozenset[Fraction], *, repair: bool
    ) -> None:
        self._known = known | COMMON_CONSTANTS
        self._asked = known
        self._attempts = MOST_ATTEMPTS if repair else 0
        self._results: dict[Fraction, tuple[int, Fraction]] = {}
        self._recomputed: set[Fraction] = set()
        self._used: set[int] = set()
        self.steps: list[Step] = []
        self.ambiguous = 0
        self.repairs = 0
        for step in written:
            self._take(step)

    def value(self, final: Fraction | None) -> Fraction | None:
        """The value of the step that states `final`, or of the last one."""
        stating = [step for step in self.steps if step.stated == final]
        last = (stating or self.steps)[-1:]
        return last[0].recomputed if last else None

    def _take(self, written: WrittenStep) -> None:
        index, repairs = len(self.steps), []
        operands: list[Fraction | None] = []
        for operand in written.expression.operands:
            meant, read = self._read(operand)
            if meant is not None:
                repairs.append((operand, meant))
            operands.append(read)
        as_written = list(written.expression.operands)
        value = _value(written, as_written)
        recomputed = value if operands == as_written else _value(written, operands)
        step = Step(
            written.text,
            written.expression.operands,
            written.stated,
            value,
            recomputed,
            tuple(repairs),
        )
        self.steps.append(step)
        self.repairs += len(repairs)
        if recomputed is not None:
            self._recomputed.add(recomputed)
        for number, factor in ((written.stated, Fraction(1)), *written.aliases):
            self._results[number] = (index, factor)
            if number < 0:  # "-5" is the operand 5 behind a sign
                self._results[-number] = (index, -factor)

    def _read(self, operand: Fraction) -> tuple[Fraction | None, Fraction | None]:
        """(the number meant where it was repaired, else None; the number to compute with)."""
        if operand in self._results:
            index, factor = self._results[operand]
            result = self._result(index, factor)
            elsewhere = operand in self._known and result != operand
            self.ambiguous += elsewhere
            if elsewhere and index in self._used:
                return None, operand
            self._used.add(index)
            return None, result
        if operand in self._known or operand in self._recomputed or self._attempts == 0:
            return None, operand
        self._attempts -= 1
        meant = meant_number(operand, self._asked.union(self._results))
        if meant is None:
            return None, operand
        if meant in self._results:
            index, factor = self._results[meant]
            self._used.add(index)
            return meant, self._result(index, factor)
        return meant, meant

    def _result(self, index: int, factor: Fraction) -> Fraction | None:
        """An earlier result, recomputed, in the form in which the text calls it."""
        recomputed = self.steps[index].recomputed
        return None if recomputed is None else recomputed / factor


def _value(written: WrittenStep, operands: Sequence[Fraction | None]) -> Fraction | None:
    numbers = [operand for operand in operands if operand is not None]
    if len(numbers) < len(operands):
        return None
    try:
        return written.expression.value(numbers)
    except ArithmeticRefused:
        return None


def _label(
    final: FinalAnswer, value: Fraction | None, right: Fraction, run: _Run
) -> tuple[Label, str]:
    if final.value == right:
        return "correct", "the final answer is right"
    if value == right:
        slips = "and copies repaired" if run.repairs else "exactly"
        return "non_logical", f"the steps, recomputed {slips}, give the right answer"
    if not run.steps:
        return "logical", "no step could be read"
    if value is None:
        return "logical", "a step has no value"
    return "logical", "the steps, recomputed, give another answer"


def _is_rounding(value: Fraction, stated: Fraction) -> bool:
    """Whether a stated number is the value, or the value cut to its decimal places.

    A decimal is a rounding if it is less than one unit of its last place away, whichever way it
    was rounded; with 12 and more places, as calculators print them, the last ones do not count.
    """
    if value == stated:
        return True
    places = _decimal_places(stated)
    return places > 0 and abs(value - stated) * 10 ** min(places, 12) < 1


def _decimal_places(number: Fraction) -> int:
    """0 for integers and for fractions without a finite decimal expansion."""
    places, denominator = 0, number.denominator
    while denominator > 1 and places < 20:
        denominator //= 10 if denominator % 10 == 0 else (5 if denominator % 5 == 0 else 2)
        places += 1
    return places


def _seems_cut_off(response: str, final: FinalAnswer) -> bool:
    marked = final.marker not in ("last number", "none")
    end = response.rstrip()[-1:]
    return bool(end) and not marked and end not in CLOSED


def _text(number: Fraction | None) -> str | None:
    return None if number is None else str(number)

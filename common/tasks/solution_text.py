"""The lines of a worked solution with names in the place of numbers."""

from __future__ import annotations

import re
from fractions import Fraction

from common.tasks.question_numbers import implied_constants
from common.tasks.solution_steps import ANNOTATION, BoundSolution
from common.tasks.step_expressions import Expression

_NUMBER = r"[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|\.[0-9]+"
_PIECE = re.compile(rf"<<[^<>]*>>(?P<gap>\s*\$?)(?P<result>{_NUMBER})?|(?P<number>{_NUMBER})")


def named_lines(question: str, answer: str, bound: BoundSolution) -> str:
    """The solution as a template, without its last line.

    Numbers outside annotations are replaced, too. A line in which one of them has no certain
    origin keeps its steps only, or is left out if it has none.

    Args:
        question: its text.
        answer: the solution in the form of GSM8K.
        bound: see `common.tasks.solution_steps.bind`.
    """
    still = implied_constants(question) | {
        number.value for i, number in enumerate(bound.numbers) if i not in bound.drawn
    }
    lines, done = [], 0
    for text in answer.split("\n"):
        if text.startswith("####"):
            break
        count = len(ANNOTATION.findall(text))
        try:
            lines.append(_Line(bound, range(done, done + count), still).named(text))
        except LookupError:
            if count:
                lines.append(", ".join(_step(bound, i) for i in range(done, done + count)))
        done += count
    return "\n".join(lines)


def _step(bound: BoundSolution, index: int) -> str:
    """The expression and its annotation: `{n0}*7={=r0}`."""
    result, expression = bound.steps[index]
    tokens = Expression(expression).tokens
    written = "".join(f"{{{token}}}" if token.isidentifier() else token for token in tokens)
    return f"{written}={{={result}}}"


class _Line:
    """One line with its steps; `still` are values that never change."""

    def __init__(self, bound: BoundSolution, steps: range, still: frozenset[Fraction]) -> None:
        self.bound, self.steps, self.still = bound, steps, still

    def named(self, text: str) -> str:
        """The line with names; raises `LookupError` where a number's origin is uncertain."""
        waiting = iter(self.steps)

        def replace(match: re.Match[str]) -> str:
            if match["number"]:
                return self._name(match["number"])
            index = next(waiting)
            if not match["result"] or _value(match["result"]) != self.bound.results[index]:
                raise LookupError(match[0])
            return f"{match['gap']}{{=r{index}}}"

        return _PIECE.sub(replace, text)

    def _name(self, written: str) -> str:
        value = _value(written)
        found = {
            self.bound.operands[i][value] for i in self.steps if value in self.bound.operands[i]
        }
        found |= {f"r{i}" for i in self.steps if self.bound.results[i] == value}
        if not found:
            found = {f"n{i}" for i in self.bound.drawn if self.bound.numbers[i].value == value}
            found |= {f"r{i}" for i in range(self.steps.stop) if self.bound.results[i] == value}
            if value in self.still:
                found.add(written)
        if len(found) != 1:
            raise LookupError(written)
        name = found.pop()
        return f"{{{name}}}" if name.isidentifier() else written


def _value(written: str) -> Fraction:
    return Fraction(written.replace(",", ""))

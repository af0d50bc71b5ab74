"""The numbers of a question, and the final answer of a response."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Literal

from common.tasks.exact_arithmetic import MOST_DIGITS, NUMBER, read_number

LONGEST_QUESTION = 10_000
"""Characters of a question that are looked at."""
SHORT_LINE = 40
"""Characters behind "A:" in a line that gives an answer; longer ones begin an explanation."""
COMMON_CONSTANTS = frozenset(
    map(Fraction, (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 24, 30, 31, 50, 52, 60, 100, 365, 1000))
)
"""Numbers that a solution may use without the question naming them: days, hours, per cent."""

# fmt: off
_ONES = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
]
# fmt: on
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SMALL = {word: value for value, word in enumerate(_ONES)} | {
    word: 10 * value for value, word in enumerate(_TENS, start=2)
}
_SCALES = {"hundred": 100, "thousand": 1_000, "million": 1_000_000}
_OTHERS = {
    "once": Fraction(1),
    "twice": Fraction(2),
    "double": Fraction(2),
    "thrice": Fraction(3),
    "triple": Fraction(3),
    "dozen": Fraction(12),
    "half": Fraction(1, 2),
    "third": Fraction(1, 3),
    "quarter": Fraction(1, 4),
    "fourth": Fraction(1, 4),
    "fifth": Fraction(1, 5),
    "tenth": Fraction(1, 10),
}
_CARDINAL = "|".join([*_SMALL, *_SCALES])
_CARDINALS = re.compile(rf"\b(?:{_CARDINAL})(?:(?:-|\s+(?:and\s+)?)(?:{_CARDINAL}))*\b")
_OTHER_WORDS = re.compile(rf"\b({'|'.join(_OTHERS)})s?\b")
_DIGITS = re.compile(
    rf"(?P<top>{NUMBER})(?:\s*/\s*(?P<bottom>[0-9]+))?(?P<percent>\s*(?:%|percent))?"
)

_VALUE = re.compile(rf"(?P<minus>[-−]\s*)?(?:[$€£]\s*)?(?P<top>{NUMBER})(?:/(?P<bottom>[0-9]+))?")
_MARK = re.compile(
    r"(?P<hashes>####)|(?P<boxed>\\boxed\{)"
    r"|(?:^|\n)[ \t*]*(?P<line>(?:A|Answer|Final answer)[ \t*]*:)"
    r"|\b(?P<sentence>answer(?:\s+is|\s*:|\s*=))",
    re.IGNORECASE,
)
_LAST = re.compile(rf"(?P<minus>(?<![0-9A-Za-z_)\]])[-−])?(?P<top>{NUMBER})(?P<bottom>)")

Marker = Literal["####", "boxed", "A:", "answer is", "last number", "none"]
_MARKERS: dict[str, Marker] = {
    "hashes": "####", "boxed": "boxed", "line": "A:", "sentence": "answer is",
}  # fmt: skip


@dataclass(frozen=True)
class FinalAnswer:
    """A response's final answer and how it was marked."""

    value: Fraction | None
    marker: Marker


def final_answer(text: str) -> FinalAnswer:
    r"""The last marked answer of a text that holds a number, else its last number.

    Marks are `#### N`, `\boxed{N}`, a short line `A: N` (also "Answer:"), and "the answer is N".
    Behind a mark the first number of the line counts, or the first one behind its last equals
    sign; commas may separate thousands, `3/4` is a fraction, currency signs and units are skipped.
    """
    end = len(text)
    for found in reversed(list(_MARK.finditer(text))):
        name = found.lastgroup or ""
        marked = text[found.end() : end].partition("\n")[0]
        end = found.start()
        if name == "boxed":
            marked = marked.partition("}")[0]
        value = _first_number(marked.rpartition("=")[2])
        if value is not None and (name != "line" or len(marked) <= SHORT_LINE):
            return FinalAnswer(value, _MARKERS[name])
    numbers = list(_LAST.finditer(text))
    value = _number(numbers[-1]) if numbers else None
    return FinalAnswer(value, "none" if value is None else "last number")


def _first_number(text: str) -> Fraction | None:
    found = _VALUE.search(text)
    return None if found is None else _number(found)


def _number(found: re.Match[str]) -> Fraction | None:
    """None where it has more digits than are read, or divides by zero."""
    bottom = found["bottom"] or "1"
    if len(found["top"]) > MOST_DIGITS or len(bottom) > MOST_DIGITS or not int(bottom):
        return None
    value = read_number(found["top"]) / int(bottom)
    return -value if found["minus"] else value


@lru_cache(maxsize=1_024)
def known_numbers(question: str) -> frozenset[Fraction]:
    """All numbers that a question names, in digits or in words.

    A percentage p counts as p, p/100, 100 - p and 1 - p/100; a fraction a/b as a, b and a/b. Of
    words, cardinal numbers below a billion are read ("three hundred and five"), and once, twice,
    double, triple, dozen, half, third, quarter, fifth, tenth.
    """
    text = question[:LONGEST_QUESTION].lower()
    return frozenset([*_in_digits(text), *_in_words(text)])


def _in_digits(text: str) -> Iterator[Fraction]:
    for found in _DIGITS.finditer(text):
        if max(len(found["top"]), len(found["bottom"] or "")) > MOST_DIGITS:
            continue
        top, bottom = read_number(found["top"]), int(found["bottom"] or "1")
        yield top
        if found["bottom"]:
            yield from (Fraction(bottom), top / (bottom or 1))
        if found["percent"]:
            yield from (top / 100, 100 - top, 1 - top / 100)


def _in_words(text: str) -> Iterator[Fraction]:
    for found in _CARDINALS.finditer(text):
        yield Fraction(_cardinal(re.findall(_CARDINAL, found[0])))
    for found in _OTHER_WORDS.finditer(text):
        yield _OTHERS[found[1]]


def _cardinal(words: list[str]) -> int:
    """The value of a row of number words; "four hundred twenty thousand" is 420,000."""
    total, group = 0, 0
    for word in words:
        if word in _SMALL:
            group += _SMALL[word]
        elif word == "hundred":
            group = max(group, 1) * 100
        else:
            total, group = total + max(group, 1) * _SCALES[word], 0
    return total + group

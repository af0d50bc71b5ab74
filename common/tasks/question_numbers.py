"""The numbers of a word problem's text: which may be drawn anew, and which constants it implies."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction

_NUMBER = re.compile(
    r"\d+/[1-9]\d*|[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|\.[0-9]+"
)


class Role(Enum):
    """What may become of a number."""

    FREE = "free"
    """It is drawn anew and may grow."""
    SMALL = "small"
    """It is drawn anew and stays small: a factor."""
    FIXED = "fixed"
    """It stays: percentages, fractions, times, ratios, very small counts."""


@dataclass(frozen=True)
class QuestionNumber:
    """A number written in digits.

    Attributes:
        start: position of its first character.
        end: position behind its last one.
        value: exact.
        role: see `Role`.
        money: it follows a currency sign.
    """

    start: int
    end: int
    value: Fraction
    role: Role
    money: bool


_PERIOD = (
    r"(?:second|minute|hour|day|night|week|weekday|weekend|month|year|decade|semester|quarter)s?"
)
_AFTER_FIXED = re.compile(
    r"\s*%|\s*-?\s*percent|\s*:|\s*[ap]\.?m\b|\s*o'clock|(?:st|nd|rd|th)\b"
    r"|\s*(?:out\s+of|in\s+every|to)\s+\d|-\d|[A-Za-z]",
    re.IGNORECASE,
)
# "8 school days" and "8-hour" count periods; "8 a day" and "8 years old" do not.
_AFTER_PERIOD = re.compile(
    rf"[-\s](?:(?!(?:a|an|per|each|every)\b)\w+[-\s])?{_PERIOD}\b(?![-\s]old)", re.IGNORECASE
)
_AFTER_TIMES = re.compile(r"\s+times\b", re.IGNORECASE)
_BEFORE_FIXED = re.compile(
    r"(?:\b(?:every|per|out\s+of|ratio\s+of|\d+\s+to)\s+|\d:\s*|\d-|[A-Za-z#])$", re.IGNORECASE
)
_ORDINALS = re.compile(
    r"\b(?:first|second|third|fourth|fifth|last|other|others|another|rest)\b", re.IGNORECASE
)
SMALLEST_FREE = 5
"""Smaller counts stay: stories often name as many persons or things one by one."""


def question_numbers(question: str) -> list[QuestionNumber]:
    """The numbers in digits, in their order, each with its role."""
    listed = bool(_ORDINALS.search(question))
    found = []
    for match in _NUMBER.finditer(question):
        value = Fraction(match[0].replace(",", ""))
        before, after = question[: match.start()], question[match.end() :]
        money = before.rstrip().endswith("$")
        fixed = (
            value.denominator != 1
            or "/" in match[0]
            or bool(_AFTER_FIXED.match(after))
            or (not money and bool(_AFTER_PERIOD.match(after)))
            or (not money and bool(_BEFORE_FIXED.search(before)))
            or value <= (1 if money else SMALLEST_FREE - 1)
            or (listed and value <= 10)
            or (not money and 1800 <= value <= 2100)
            or value >= 10**7
        )
        factor = bool(_AFTER_TIMES.match(after))
        role = Role.FREE
        if factor and value.denominator == 1 and 2 <= value <= 9:
            role = Role.SMALL
        elif fixed or factor:
            role = Role.FIXED
        found.append(QuestionNumber(match.start(), match.end(), value, role, money))
    return found


_TEENS = ("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen")
_UNITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
NUMBER_WORDS = {
    word: value for value, word in enumerate((*_UNITS, *_TEENS, "eighteen", "nineteen"))
} | {word: 10 * value for value, word in enumerate(_TENS, 2)}
_COUNTED = re.compile(
    rf"\b(?:({'|'.join(_TENS)})[-\s]({'|'.join(_UNITS[1:])})|({'|'.join(NUMBER_WORDS)}))\b",
    re.IGNORECASE,
)


def number_words(question: str) -> list[int]:
    """The numbers from two to ninety-nine that are written in letters."""
    values = []
    for tens, units, word in _COUNTED.findall(question):
        parts = (tens, units) if tens else (word,)
        values.append(sum(NUMBER_WORDS[part.lower()] for part in parts))
    return [value for value in values if value > 1]


_IMPLIED: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"twice|doubl\w+|couple|pairs?|both|twins?", ("2",)),
    (r"thrice|tripl\w+|triplets?", ("3",)),
    (r"quadrupl\w+", ("4",)),
    (r"half|halves|halved", ("2", "1/2", "1")),
    (r"thirds?", ("3", "1/3", "2/3", "1")),
    (r"quarters?", ("4", "1/4", "3/4", "1", "25")),
    (r"fourths?", ("4", "1/4", "3/4", "1")),
    (r"fifths?", ("5", "1/5", "1")),
    (r"sixths?", ("6", "1/6", "1")),
    (r"eighths?", ("8", "1/8", "1")),
    (r"tenths?", ("10", "1/10", "1")),
    (r"percent|percentage", ("100", "1/100", "1")),
    (r"dozens?", ("12",)),
    (r"weekly|weeks?|daily", ("7",)),
    (r"weekdays?|workdays?", ("5",)),
    (r"weekends?", ("2",)),
    (r"days?", ("24", "7")),
    (r"hours?|hourly", ("60", "24")),
    (r"minutes?", ("60",)),
    (r"seconds?", ("60",)),
    (r"months?|monthly", ("12", "4", "30")),
    (r"years?|yearly|annual\w*", ("12", "52", "365")),
    (r"decades?", ("10",)),
    (r"century|centuries", ("100",)),
    (r"cents?|penny|pennies", ("100", "1/100", "1")),
    (r"dimes?", ("10", "1/10")),
    (r"nickels?", ("5", "1/20")),
    (r"feet|foot|inch|inches", ("12",)),
    (r"yards?", ("3", "36")),
    (r"pounds?|ounces?", ("16",)),
    (r"gallons?|quarts?", ("4",)),
    (r"kilo\w+|km|kg|mill\w+|meters?|metres?|liters?|litres?|ml|mm|grams?", ("1000", "100")),
    (r"centi\w+|cm", ("100",)),
    (r"tons?", ("2000", "1000")),
)
_IMPLIED_RULES = tuple(
    (re.compile(rf"\b(?:{words})\b", re.IGNORECASE), tuple(map(Fraction, values)))
    for words, values in _IMPLIED
)


def implied_constants(question: str) -> frozenset[Fraction]:
    """Constants that a solution may use because of a word: 7 for a week, 100 for a percentage.

    They never change, so one too many costs a template, not its consistency.
    """
    constants = {
        value for rule, values in _IMPLIED_RULES if rule.search(question) for value in values
    }
    constants |= set(map(Fraction, number_words(question)))
    for number in question_numbers(question):
        if "%" in question[number.end : number.end + 2]:
            share = number.value / 100
            constants |= {share, 1 - share, 1 + share, 100 - number.value, 100 + number.value}
            constants |= {Fraction(100), Fraction(1, 100), Fraction(1)}
        if "/" in question[number.start : number.end]:
            parts = question[number.start : number.end].split("/")
            constants |= {Fraction(part) for part in parts}
            constants |= {number.value, 1 - number.value, 1 + number.value, Fraction(1)}
            constants.add(Fraction(int(parts[1]) - int(parts[0])))
    return frozenset(constants)


_CONDITIONS = re.compile(
    r"\bround(?:ed|ing|s)?\b|\bnearest\b|\bat\s+(?:least|most)\b|\bm(?:in|ax)imum\b|\bcheap\w*"
    r"|\bwhichever\b|\bovertime\b|\bexceed\w*|\blimit\w*|\bup\s+to\b|\bwhole\s+number\b"
    r"|\b(?:over|above|below|under|beyond|first|next|after\s+the)\s+\$?\d"
    r"|(?<!\d )\b(?:more|less|fewer)\s+than\s+\$?\d|\bevery\s+\$?\d|\bfor\s+each\s+\$?\d"
    r"|\bconsecutive\b|\bprime\b|\beven\s+number\b|\bodd\s+number\b|\bdigits?\b|\bsquare\b"
    r"|\bleftover\b|\bleft\s+over\b|\bcan\s+\w+\s+afford\b",
    re.IGNORECASE,
)


def depends_on_size(question: str) -> str | None:
    """A phrase for which other numbers could need another solution, such as "at least"."""
    match = _CONDITIONS.search(question)
    return match[0] if match else None

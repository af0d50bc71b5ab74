"""Three text tasks of ten classes each, generated: two of story sums, one of changed phrases.

They follow the tasks of DataInf (arXiv 2310.00902) that the paper uses, with sentences, phrases and
names of our own. A class is one story with one formula, or one operation on a phrase.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from papers.for_value.texts import Sample

TASKS = ("sentence", "math", "reasoning")
"""Changed phrases; story sums with the answer alone; story sums with the formula before it."""

CLASSES = 10

STORIES: tuple[tuple[str, str, Callable[[int, int, int, int], int]], ...] = (
    (
        "A tart has {c} pieces. Nora takes {a} and Emil takes {b}. How many pieces remain?",
        "{c} - ({a} + {b})",
        lambda a, b, c, d: c - (a + b),
    ),
    (
        "{b} classes of {c} pupils visit a castle. Every guide leads {a} pupils. "
        "How many full parties are there?",
        "({b} * {c}) // {a}",
        lambda a, b, c, d: (b * c) // a,
    ),
    (
        "In the morning a diver counts {a} seals and {b} gulls, in the evening {c} more seals. "
        "How many seals is that?",
        "{a} + {c}",
        lambda a, b, c, d: a + c,
    ),
    (
        "A team scores {a}, {b}, {c} and {d} goals in four cups. How many goals in all?",
        "{a} + {b} + {c} + {d}",
        lambda a, b, c, d: a + b + c + d,
    ),
    (
        "Ilse practises the cello {a} minutes a day for {b} days. How many minutes in total?",
        "{a} * {b}",
        lambda a, b, c, d: a * b,
    ),
    (
        "A lamp costs {a} crowns, and a coupon takes off {b}. What does one pay?",
        "{a} - {b}",
        lambda a, b, c, d: a - b,
    ),
    (
        "A field is {a} metres long and {b} metres wide. What is its area?",
        "{a} * {b}",
        lambda a, b, c, d: a * b,
    ),
    (
        "Each week Jonas puts {a} coins into a jar. What is in it after {b} weeks?",
        "{a} * {b}",
        lambda a, b, c, d: a * b,
    ),
    (
        "A baker packs {b} rolls into bags of {a}. How many bags are full?",
        "{b} // {a}",
        lambda a, b, c, d: b // a,
    ),
    (
        "A loan of {a} crowns bears {b} per cent a year. What interest is due after {c} years?",
        "({a} * {b} * {c}) // 100",
        lambda a, b, c, d: (a * b * c) // 100,
    ),
)

ADJECTIVES = ("amber", "brisk", "cloudy", "dusty", "eager", "frozen", "gentle", "hollow", "mellow")
ANIMALS = ("badger", "beetle", "falcon", "heron", "lizard", "otter", "rabbit", "salmon", "weasel")
VERBS = ("carries", "follows", "guards", "hides", "needs", "paints", "rolls", "sells", "wakes")
THINGS = ("apples", "barrels", "candles", "drums", "feathers", "kettles", "ladders", "pebbles")

NAMES = (
    "Brolo",
    "Cheni",
    "Dalvik",
    "Fezra",
    "Jundo",
    "Kilmar",
    "Lomi",
    "Quassa",
    "Tivel",
    "Yorrin",
)
"""Of the invented assistants that carry out one operation each."""


def _doubled_consonants(phrase: str) -> str:
    return "".join(c * 2 if c.isalpha() and c not in "aeiou" else c for c in phrase)


OPERATIONS: tuple[Callable[[str], str], ...] = (
    lambda phrase: " ".join(reversed(phrase.split())),
    lambda phrase: "".join(c.upper() if i % 2 else c for i, c in enumerate(phrase)),
    lambda phrase: " 1 ".join(phrase.split()),
    lambda phrase: "".join("*" if c in "aeiou" else c for c in phrase),
    _doubled_consonants,
    lambda phrase: phrase.title(),
    lambda phrase: "".join(c for c in phrase if c not in "aeiou"),
    lambda phrase: " ".join(f"{word}ly" for word in phrase.split()),
    lambda phrase: "".join(c for c in phrase if c in "aeiou "),
    lambda phrase: " ".join(f"{word} {word}" for word in phrase.split()),
)
"""The order of the words; case; a digit between words; vowels; consonants; repetitions."""


def draw(task: str, per_class: int, rng: np.random.Generator) -> list[Sample]:
    """`per_class` fresh samples of each of the ten classes, class by class.

    Raises:
        ValueError: the task is none of `TASKS`.
    """
    if task not in TASKS:
        raise ValueError(f"task: {task!r} is none of {', '.join(TASKS)}")
    make = _phrase if task == "sentence" else _story
    return [
        make(group, task == "reasoning", rng) for group in range(CLASSES) for _ in range(per_class)
    ]


def permuted(samples: list[Sample], rng: np.random.Generator) -> list[Sample]:
    """The same prompts with each other's answers, whatever their class."""
    order = rng.permutation(len(samples))
    return [
        Sample(sample.prompt, samples[other].answer, sample.group, clean=False)
        for sample, other in zip(samples, order.tolist(), strict=True)
    ]


def _story(group: int, reasoning: bool, rng: np.random.Generator) -> Sample:
    text, formula, value = STORIES[group]
    numbers = dict(zip("abcd", rng.integers(1, 100, 4).tolist(), strict=True))
    reason = f" Reason: {formula.format(**numbers)}." if reasoning else ""
    answer = f"{reason} Answer: {value(*numbers.values())}"
    return Sample(f"Solve this problem. {text.format(**numbers)} ->", answer, group)


def _phrase(group: int, _: bool, rng: np.random.Generator) -> Sample:
    words = [str(rng.choice(kind)) for kind in (ADJECTIVES, ANIMALS, VERBS, THINGS)]
    phrase = " ".join(words)
    prompt = f"The assistant {NAMES[group]} changes a phrase. Input: {phrase} ->"
    return Sample(prompt, f" Output: {OPERATIONS[group](phrase)}", group)

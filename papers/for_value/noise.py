"""Training data with wrong answers, of which it is known which are wrong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from papers.for_value.texts import Sample

FILLERS = ("foo", "bar", "baz")

SUBJECTS = ("The soup", "The hotel", "The concert", "The guide", "The train ride", "The novel")
VERDICTS = {
    "good": ("was wonderful", "was a delight", "pleased everybody", "could not be better"),
    "bad": ("was dreadful", "was a disaster", "annoyed everybody", "could not be worse"),
}
TAILS = ("", " We came twice.", " It was in May.", " My sister agrees.", " So we told them.")


Pair = tuple[Sample, Sample]
"""A prompt with its right answer, and with a wrong one."""


def statements(number: int, rng: np.random.Generator) -> list[Pair]:
    """Sums of two digits, and with another sum of two digits; the group is the sum as given."""
    pairs = []
    for _ in range(number):
        a, b = (int(digit) for digit in rng.integers(0, 10, 2))
        other = int(rng.choice([total for total in range(19) if total != a + b]))
        text = f"{a} + {b} ="
        pairs.append(_pair(text, f" {a + b}", a + b, f" {other}", other))
    return pairs


def reviews(number: int, rng: np.random.Generator) -> list[Pair]:
    """Short reviews with their mood, good or bad in turn, and with the other mood.

    The group is the mood as it is given.
    """
    pairs = []
    for index in range(number):
        moods = ("good", "bad") if index % 2 else ("bad", "good")
        subject, verdict = rng.choice(SUBJECTS), rng.choice(VERDICTS[moods[0]])
        text = f"Is this review good or bad? {subject} {verdict}.{rng.choice(TAILS)} It is"
        groups = [int(mood == "good") for mood in moods]
        pairs.append(_pair(text, f" {moods[0]}", groups[0], f" {moods[1]}", groups[1]))
    return pairs


KINDS = {"reviews": reviews, "statements": statements}
"""Generators of data with right and wrong labels, by name."""


def flipped(number: int, ratio: float, rng: np.random.Generator) -> np.ndarray:
    """Which of `number` labels are wrong, (number,): exactly the given share, anywhere.

    Raises:
        ValueError: `ratio` is outside [0, 1].
    """
    if not 0 <= ratio <= 1:
        raise ValueError(f"ratio: {ratio} is no share in [0, 1]")
    return rng.permutation(np.arange(number) < round(ratio * number))


def delete_spans(
    tokens: Sequence[str], probability: float, mean_span: float, rng: np.random.Generator
) -> list[str]:
    """Without random spans: at every token one begins with the given probability.

    Lengths are geometric with the given mean. At least one token is left of a text that has one.

    Raises:
        ValueError: `probability` is outside [0, 1], or `mean_span` below 1.
    """
    _check(probability, mean_span)
    kept, skip = [], 0
    for token in tokens:
        if not skip and rng.random() < probability:
            skip = int(rng.geometric(1 / mean_span))
        if skip:
            skip -= 1
        else:
            kept.append(token)
    return kept or list(tokens[:1])


def insert_spans(
    tokens: Sequence[str], probability: float, mean_span: float, rng: np.random.Generator
) -> list[str]:
    """With random spans of filler words: before every token one stands with the given probability.

    Raises:
        ValueError: `probability` is outside [0, 1], or `mean_span` below 1.
    """
    _check(probability, mean_span)
    result: list[str] = []
    for token in tokens:
        if rng.random() < probability:
            length = int(rng.geometric(1 / mean_span))
            result.extend(str(word) for word in rng.choice(FILLERS, length))
        result.append(token)
    return result


def with_noise(
    samples: Sequence[Sample],
    ratio: float,
    rng: np.random.Generator,
    *,
    probability: float = 0.2,
    mean_span: float = 3.0,
) -> list[Sample]:
    """A share of the answers is damaged, by deletion or by insertion at even odds.

    Operators are applied again until the answer differs, so that `clean` is never wrong.
    """
    noisy = []
    for sample, damaged in zip(samples, flipped(len(samples), ratio, rng), strict=True):
        words = sample.answer.split()
        operator = delete_spans if rng.random() < 0.5 else insert_spans
        changed = words
        # A single word cannot lose a span.
        operator = insert_spans if len(words) < 2 else operator
        while damaged and changed == words:
            changed = operator(words, probability, mean_span, rng)
        answer = " " + " ".join(changed)
        noisy.append(Sample(sample.prompt, answer, sample.group, not bool(damaged)))
    return noisy


def _pair(prompt: str, right: str, group: int, wrong: str, other: int) -> Pair:
    return Sample(prompt, right, group), Sample(prompt, wrong, other, clean=False)


def _check(probability: float, mean_span: float) -> None:
    if not 0 <= probability <= 1:
        raise ValueError(f"probability: {probability} is outside [0, 1]")
    if mean_span < 1:
        raise ValueError(f"mean_span: {mean_span} is below 1 token")

"""Arithmetic in a line of prose: "16 eggs - 3 eggs = 13 eggs" says 16 - 3 = 13."""

from __future__ import annotations

import re
from collections.abc import Iterator

from common.tasks.exact_arithmetic import NUMBER

_AHEAD = r"(?=\s*[$(]?\s*[0-9.])"  # what an operator in letters is followed by
_PIECE = re.compile(
    rf"(?P<n>{NUMBER})"
    rf"|(?P<times>[xX]{_AHEAD}|\b(?:times|multiplied by){_AHEAD})"
    rf"|(?P<plus>\bplus{_AHEAD})|(?P<minus>\bminus{_AHEAD})|(?P<over>\bdivided by{_AHEAD})"
    r"|(?P<w>[-/]?[A-Za-z]+(?:['’-][A-Za-z]+)*)"
    r"|(?P<o>\*\*|[-+*/^×÷·⋅∙−–])|(?P<p>[()%])|(?P<e>[=≈])|(?P<skip>[$€£\s])|(?P<b>.)"
)
_LETTERS = {"times": "*", "plus": "+", "minus": "-", "over": "/"}
_NO_VARIABLES = frozenset("aAI")
_UNREADABLE = "?"  # in an expression, so that parsing refuses it
_AFTER_OPERAND = frozenset("n)%")


def chains(line: str) -> Iterator[list[str]]:
    """The texts of arithmetic in a line that equals signs connect.

    Units, words such as "the" behind an operator, and currency signs are left out; "times", "plus",
    "x" before a number, and "of" behind a percentage become operators. Other words and signs end a
    chain. Algebra and numbers side by side are marked so that parsing refuses them.

    Args:
        line: any text without line breaks.

    Returns:
        For each chain the texts between its equals signs; the first and the last may be empty.
    """
    chain, segment = [], ""
    for kind, text in [*_without_units(line), ("b", "")]:
        if kind == "e":
            chain.append(segment)
            segment = ""
        elif kind == "b":
            if chain:
                yield _matched([*chain, segment])
            chain, segment = [], ""
        else:
            segment += text


def _matched(chain: list[str]) -> list[str]:
    """Without a parenthesis that opens before the chain and closes behind it."""
    first, last = chain[0], chain[-1]
    if first.count("(") > first.count(")"):
        first = first.removeprefix("(")
    if last.count(")") > last.count("("):
        last = last.removesuffix(")")
    return [first, *chain[1:-1], last]


def _without_units(line: str) -> list[tuple[str, str]]:
    """Numbers, operators and equals signs; what separates expressions becomes ("b", "")."""
    kept: list[tuple[str, str]] = []
    words: list[str] = []
    for kind, text in _pieces(line):
        if kind == "w":
            words.append(text)
            continue
        before = kept[-1][0] if kept else "b"
        if words and _is_algebra(words, before, kind):
            kept.append(("n", _UNREADABLE))
        elif words and not _are_units(words, before, kind):
            of_it = words == ["of"] and _is_part(kept) and kind in ("n", "(")
            kept.append(("o", "*") if of_it else ("b", ""))
        elif kind == "n" and before in _AFTER_OPERAND:
            kept.append(("n", _UNREADABLE))
        elif kind == "(" and before in _AFTER_OPERAND:
            kept.append(("o", "*"))
        words = []
        kept.append((kind, text))
    return kept


def _is_algebra(words: list[str], before: str, after: str) -> bool:
    """Whether a single letter takes part in an expression: "2x + 3", not "exit C is 7 - 4"."""
    first, last = (len(word) == 1 and word not in _NO_VARIABLES for word in (words[0], words[-1]))
    return (first and before != "b") or (last and after in ("o", "e", ")", "%"))


def _are_units(words: list[str], before: str, after: str) -> bool:
    """Whether words stand inside of an expression: "3 eggs - 2", "3 - the 2"."""
    if before in _AFTER_OPERAND:
        return after in ("o", "e", ")", "%") and len(words) <= 6
    return before == "o" and after in ("n", "(") and len(words) <= 2


def _is_part(kept: list[tuple[str, str]]) -> bool:
    """Whether the last piece is a percentage or a fraction: "20% of 50", "1/2 of 50"."""
    kinds = [kind for kind, _ in kept[-3:]]
    return kinds[-1:] == ["%"] or (kinds[-2:] == ["o", "n"] and kept[-2][1] == "/")


def _pieces(line: str) -> list[tuple[str, str]]:
    pieces = []
    for found in _PIECE.finditer(line):
        kind = found.lastgroup or "b"
        if kind == "skip":
            continue
        if kind in _LETTERS:
            pieces.append(("o", _LETTERS[kind]))
        else:
            pieces.append((found[0] if kind == "p" else kind, found[0]))
    return pieces

"""Pieces of Markdown."""

from __future__ import annotations

import re


def one_line(text: str | None) -> str:
    """The text without line breaks."""
    return " ".join(str(text or "").split())


def cell(text: str) -> str:
    """The text for a cell of a table."""
    return re.sub(r"(?<!\\)\|", r"\\|", one_line(text))


def facts_table(facts: dict[str, str]) -> str:
    """Names and values, those without a value left out."""
    rows = [f"| {name} | {cell(value)} |" for name, value in facts.items() if value]
    return "\n".join([":::{container} facts", "| | |", "|---|---|", *rows, ":::"])

"""Errors whose message is meant for the user."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ClaimbookError(Exception):
    """A message for the user; the command line prints it without a traceback."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` when a known name is near, otherwise nothing."""
    near = get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f" (did you mean {' or '.join(repr(match) for match in near)}?)" if near else ""

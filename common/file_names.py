"""Any text as the name of one file: what a path would take for something else is encoded."""

from __future__ import annotations

from functools import partial
from urllib.parse import quote, unquote

file_name = partial(quote, safe=" +=()")
"""The name for a text, `org/small` as `org%2Fsmall`; no two texts have the same."""

text_of = unquote
"""The text that a name stands for."""

"""YAML files with the line of every key, so that an error can point at it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from common.workflow.base.errors import ClaimbookError
from common.workflow.base.project import relative


@dataclass(frozen=True)
class YamlSource:
    """A parsed file, shared by all who ask for it. `data` remembers the lines of its keys."""

    path: Path
    data: Any

    def line(self, keys: Sequence[str | int]) -> int:
        """The line (from 1) of the deepest key of `keys` that the file holds."""
        node: Any = self.data
        line = 1
        for key in keys:
            try:
                position = node.lc.item(key) if isinstance(key, int) else node.lc.key(key)
                line, node = position[0] + 1, node[key]
            except (AttributeError, KeyError, IndexError, TypeError):
                break
        return line

    def where(self, keys: Sequence[str | int]) -> str:
        """`file:line: dotted.key` for the start of an error message."""
        dotted = ".".join(str(key) for key in keys)
        return f"{relative(self.path)}:{self.line(keys)}: {dotted}"


def load_yaml(path: Path) -> YamlSource:
    """Parse a YAML 1.2 file.

    Raises:
        ClaimbookError: the file is missing or no YAML, with file and line.
    """
    try:
        return _parsed(path, path.read_text())
    except FileNotFoundError:
        raise ClaimbookError(f"{relative(path)} does not exist.") from None


@cache
def _parsed(path: Path, text: str) -> YamlSource:
    """Parsing is slow, and one command reads a paper's parameters once for every notebook."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError

    try:
        return YamlSource(path, YAML(typ="rt").load(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ClaimbookError(f"{relative(path)}:{line}: not YAML: {error.problem}.") from None


def plain(node: Any) -> Any:
    """The same value as plain dicts, lists and scalars."""
    if isinstance(node, dict):
        return {str(key): plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [plain(value) for value in node]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node

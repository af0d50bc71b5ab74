"""Notebook files, and their cells as Python."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

from common.workflow.base.errors import ClaimbookError
from common.workflow.base.project import relative

AROUND_PYTHON = {"capture", "prun", "time", "timeit"}
"""Cell magics whose cell is Python."""

ELSEWHERE = {"aimport", "alias", "autoreload", "edit", "load", "load_ext", "loadpy", "macro"}
ELSEWHERE |= {"recall", "reload_ext", "rerun", "run", "sc", "store", "sx", "system"}
"""Line magics that bring in what stands somewhere else."""


def read_notebook(notebook: Path) -> dict[str, Any]:
    """A notebook file of format 4.

    Raises:
        ClaimbookError: it is empty, no JSON (a merge conflict, say), or of another format.
    """
    name = relative(notebook)
    try:
        text = notebook.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ClaimbookError(f"{name} cannot be read: {error}.") from None
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        marks = re.search(r"^(<<<<<<<|>>>>>>>) ", text, re.MULTILINE)
        told = "holds the marks of a merge conflict" if marks else f"is no notebook: {error}"
        raise ClaimbookError(f"{name} {told}.") from None
    if not isinstance(document, dict) or not isinstance(document.get("nbformat"), int):
        raise ClaimbookError(f"{name} is no notebook: it names no format.")
    if document["nbformat"] != 4 or not isinstance(document.get("cells"), list):
        raise ClaimbookError(
            f"{name} is a notebook of format {document['nbformat']}, not 4: "
            f"`jupyter nbconvert --to notebook --inplace {name}` brings it up to date."
        )
    kinds = {"cell_type": str, "metadata": dict, "source": str | list}
    for number, cell in enumerate(document["cells"], start=1):
        for key, kind in kinds.items():
            if not isinstance(cell, dict) or not isinstance(cell.get(key), kind):
                raise ClaimbookError(f"{name} is damaged: cell {number} has no `{key}`.")
    return document


def notebook_cells(notebook: Path) -> list[dict[str, Any]]:
    """The cells of a notebook file; errors as of `read_notebook`."""
    return list(read_notebook(notebook)["cells"])


def is_code(cell: dict[str, Any]) -> bool:
    """Whether a cell is run."""
    return bool(cell["cell_type"] == "code")


def as_python(source: str) -> str:
    """The code of a cell with what is IPython's own turned into calls, as IPython does it.

    Raises:
        SyntaxError: it is no Python, with IPython's additions or without.
        ValueError: it runs what stands elsewhere (`%run`, `!command`, `%%bash`).
    """
    try:
        ast.parse(source)
    except SyntaxError:
        return _transformed(source)
    return source


def _transformed(source: str) -> str:
    from IPython.core.inputtransformer2 import TransformerManager

    plain = TransformerManager().transform_cell(source)
    pieces = [plain]
    for node in ast.walk(ast.parse(plain)):
        match node:
            case ast.Call(func=ast.Attribute(attr="run_cell_magic"), args=[name, _, body]):
                magic = ast.literal_eval(name)
                if magic not in AROUND_PYTHON:
                    raise ValueError(f"%%{magic} runs what is no Python of this notebook")
                pieces.append(as_python(ast.literal_eval(body)))
            case ast.Call(func=ast.Attribute(attr="run_line_magic"), args=[name, line]):
                magic = ast.literal_eval(name)
                if magic in ELSEWHERE:
                    raise ValueError(f"%{magic} brings in what is not hashed: import it")
                if magic in AROUND_PYTHON:
                    pieces.append(as_python(_without_options(ast.literal_eval(line))))
            case ast.Call(func=ast.Attribute(attr="system" | "getoutput")):
                raise ValueError("!command runs what is not hashed: use Python")
    return "\n".join(pieces)


def _without_options(line: str) -> str:
    """The code behind the options of `%timeit -n 3 code`."""
    return re.sub(r"^(\s*-\w+(\s+\d+)?)+", "", line).strip()

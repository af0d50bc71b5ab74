"""Notebooks as pages, with an anchor at every code cell."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

from common.workflow.base.files import read_json
from common.workflow.base.project import ROOT, relative
from common.workflow.pages.site.stage import Stage

ANCHOR = "anchor"
"""Metadata of a staged cell: its id on the page."""


def stage_notebook(
    stage: Stage, name: str, file: Path, note: str, shows: list[str], source: Path | None = None
) -> None:
    """Add a notebook as a page.

    Args:
        stage: the site's sources.
        name: the page.
        file: the notebook, with or without outputs.
        note: Markdown that stands below its title.
        shows: paths of the repository that the page shows.
        source: the notebook of which `file` is the executed copy; its prose is shown.
    """
    notebook = read_json(file)
    if source and source.is_file():
        notebook = with_prose(notebook, read_json(source))
    cells = [_anchored(cell, index) for index, cell in enumerate(notebook["cells"])]
    heading, rest = _heading(cells, file.stem)
    head = _markdown(f"{heading}\n\n:::{{container}} origin\n{note}\n:::\n\n{rest}")
    if rest:
        cells = cells[1:]
    document = notebook | {"cells": [head, *cells]}
    stage.write(f"{name}.ipynb", json.dumps(document, indent=1, ensure_ascii=False))
    stage.shows(name, [*shows, relative(file)])


def with_prose(executed: dict[str, Any], source: dict[str, Any]) -> dict[str, Any]:
    """The executed notebook with the prose of its source, which may be polished without a new run.

    Where the code is another one than that which ran, the prose of then stays, too.
    """
    today = {cell.get("id"): cell for cell in source["cells"]}
    pairs = [(cell, today.get(cell.get("id"), cell)) for cell in executed["cells"]]
    if any(c["cell_type"] == "code" and c["source"] != now["source"] for c, now in pairs):
        return executed
    cells = [now if cell["cell_type"] == "markdown" else cell for cell, now in pairs]
    return executed | {"cells": cells}


def download_links(stage: Stage, files: dict[str, Path]) -> str:
    """Links to download notebooks, by what they are called."""
    links = []
    for text, file in files.items():
        copy = f"downloads/{relative(file)}"  # a folder that Sphinx makes no pages from
        stage.write(copy, file.read_text())
        links.append(f"[{text}](<path:/{copy}>)")
    return " · ".join(links)


def cell_of(notebook: dict[str, Any], function: str, name: str) -> str | None:
    """The anchor of the cell that calls `function(..., name)`, None if no cell says so.

    Args:
        notebook: its JSON.
        function: `save_table` or `save_figure`.
        name: the table's or figure's name, the call's second argument.
    """
    unclear = []
    for index, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] != "code":
            continue
        names = _saved(_code(cell), function)
        if name in names:
            return _anchor(cell, index)
        if None in names:
            unclear.append(_anchor(cell, index))
    return unclear[0] if len(unclear) == 1 else None


def _saved(code: str, function: str) -> list[str | None]:
    """Second arguments of all calls of `function`; None for one that is computed."""
    try:
        calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    except SyntaxError:
        return []
    names: list[str | None] = []
    for call in calls:
        if _name(call.func) == function:
            named = [keyword.value for keyword in call.keywords if keyword.arg == "name"]
            given = [*call.args[1:2], *named, None][0]
            constant = given.value if isinstance(given, ast.Constant) else None
            names.append(constant if isinstance(constant, str) else None)
    return names


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _code(cell: dict[str, Any]) -> str:
    """The cell's Python without IPython's own commands."""
    lines = "".join(cell["source"]).splitlines()
    return "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in lines)


def _anchor(cell: dict[str, Any], index: int) -> str:
    return f"cell-{cell.get('id') or index}"


def _anchored(cell: dict[str, Any], index: int) -> dict[str, Any]:
    if cell["cell_type"] != "code":
        return cell
    return cell | {"metadata": cell["metadata"] | {ANCHOR: _anchor(cell, index)}}


def _heading(cells: list[dict[str, Any]], name: str) -> tuple[str, str]:
    """The notebook's title and what follows it in the same cell."""
    if cells and cells[0]["cell_type"] == "markdown":
        first, _, rest = "".join(cells[0]["source"]).lstrip().partition("\n")
        if first.startswith("# "):
            return first, rest or "\n"
    return f"# {name}", ""


def _markdown(text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "id": "site-head", "metadata": {}, "source": text}


def source_of(file: Path) -> Path:
    """The paper's notebook of which `file`, in a results folder, is the executed copy."""
    return ROOT / "papers" / file.relative_to(ROOT / "papers").parts[0] / file.name

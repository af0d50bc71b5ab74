"""The two normal forms of a notebook: the source in git, and the executed copy in results.

Both are pure functions of the notebook's JSON, so that saving, committing, checking and running
agree to the byte.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

from common.workflow.base.notebooks import read_notebook

_KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


AUTHORED = ("format", "name", "raw_mimetype", "slideshow", "tags")
"""Metadata of a cell that somebody wrote; the rest is what tools note for themselves."""


def source_form(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook without outputs and volatile metadata, with a stable id for every cell."""
    cells = [_source_cell(cell) for cell in notebook["cells"]]
    seen: set[str] = set()
    for index, cell in enumerate(cells):
        if not cell.get("id") or cell["id"] in seen:
            cell["id"] = (
                f"cell-{index:02d}" if f"cell-{index:02d}" not in seen else f"c-{index:03d}"
            )
        seen.add(cell["id"])
    return _envelope(cells)


def executed_form(notebook: dict[str, Any], root: str) -> dict[str, Any]:
    """The executed notebook without times, paths and what a terminal would show.

    Stream output on stderr (progress bars, warnings with paths) differs between runs and is
    dropped; `root` is cut out of every text, and pictures are made small.
    """
    cells = []
    for cell in notebook["cells"]:
        plain = _source_cell(cell)
        tags = plain["metadata"].get("tags", [])
        plain["id"] = "injected-parameters" if "injected-parameters" in tags else cell["id"]
        if plain["cell_type"] == "code":
            plain["execution_count"] = cell.get("execution_count")
            plain["outputs"] = _merged([_output(out, root) for out in cell["outputs"]])
        cells.append(plain)
    return _envelope(cells)


def _envelope(cells: list[dict[str, Any]]) -> dict[str, Any]:
    return {"cells": cells, "metadata": {"kernelspec": _KERNEL}, "nbformat": 4, "nbformat_minor": 5}


def _source_cell(cell: dict[str, Any]) -> dict[str, Any]:
    source = "".join(cell["source"]).rstrip()
    kept = {key: cell["metadata"][key] for key in AUTHORED if cell["metadata"].get(key)}
    plain = {
        "cell_type": cell["cell_type"],
        "id": cell.get("id"),
        "metadata": kept,
        "source": source.splitlines(keepends=True),
    }
    if cell.get("attachments"):  # pictures pasted into the text
        plain["attachments"] = cell["attachments"]
    if cell["cell_type"] == "code":
        plain |= {"execution_count": None, "outputs": []}
    return plain


def _output(output: dict[str, Any], root: str) -> dict[str, Any]:
    text = json.dumps(output).replace(f"{root}/", "")
    plain = {key: value for key, value in json.loads(text).items() if key != "transient"}
    if "image/png" in plain.get("data", {}):
        from common.measurements import small_png

        png = b64decode("".join(plain["data"]["image/png"]))
        plain["data"]["image/png"] = b64encode(small_png(png)).decode()
    return plain


def _merged(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Outputs without stderr and with neighbouring pieces of stdout joined.

    How a stream is cut into messages depends on timing.
    """
    merged: list[dict[str, Any]] = []
    for output in outputs:
        if output["output_type"] != "stream":
            merged.append(output)
        elif output["name"] == "stdout":
            text = "".join(output["text"])
            if merged and merged[-1]["output_type"] == "stream":
                text = "".join(merged.pop()["text"]) + text
            lines = text.splitlines(keepends=True)
            merged.append({"name": "stdout", "output_type": "stream", "text": lines})
    return merged


def dumps(notebook: dict[str, Any]) -> str:
    """The text of a notebook file, as JupyterLab writes it."""
    return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def is_normal(path: Path) -> bool:
    """Whether the file is in source form, to the byte."""
    return path.read_text() == dumps(source_form(read_notebook(path)))


def normalise(path: Path) -> bool:
    """Bring the file to source form; True when that changed it."""
    from common.workflow.base.files import write_text

    text, normal = path.read_text(), dumps(source_form(read_notebook(path)))
    if text != normal:
        write_text(path, normal)
    return text != normal


def source_notebooks() -> list[Path]:
    """Every notebook that is a source: those of the papers and of `notebooks/`."""
    from common.workflow.base.project import ROOT, all_papers

    papers = [path for paper in all_papers() for path in paper.notebooks]
    return papers + sorted((ROOT / "notebooks").glob("*.ipynb"))

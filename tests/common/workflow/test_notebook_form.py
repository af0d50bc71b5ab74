"""The normal forms of notebooks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from common.workflow.running.notebook_form import (
    dumps,
    executed_form,
    is_normal,
    normalise,
    source_form,
    source_notebooks,
)


def notebook(*cells: dict[str, Any]) -> dict[str, Any]:
    metadata = {"language_info": {"version": "3.11.2"}}
    return {"cells": list(cells), "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def code(source: str, *outputs: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "metadata": {"execution": {"iopub.execute_input": "2026-01-01"}},
        "source": source,
        "outputs": list(outputs),
        "execution_count": 3,
    } | more


def stream(name: str, text: str) -> dict[str, Any]:
    return {"output_type": "stream", "name": name, "text": text}


def test_source_form_drops_what_running_adds() -> None:
    ran = notebook(code("x = 1  \n", stream("stdout", "1"), id="a"))
    cell = source_form(ran)["cells"][0]
    assert cell["outputs"] == [] and cell["execution_count"] is None
    assert cell["metadata"] == {} and cell["source"] == ["x = 1"]


def test_source_form_is_stable_and_keeps_ids() -> None:
    once = source_form(notebook(code("x", id="mine"), code("y"), code("z", id="mine")))
    ids = [cell["id"] for cell in once["cells"]]
    assert ids[0] == "mine" and len(set(ids)) == 3
    assert source_form(json.loads(dumps(once))) == once


def test_executed_form_joins_stdout_and_drops_stderr_and_paths() -> None:
    outputs = [
        stream("stdout", "a\nb"),
        stream("stderr", "50 %"),
        stream("stdout", "c\n"),
        {"output_type": "display_data", "data": {"text/plain": "/home/me/project/x"}},
    ]
    cell = executed_form(notebook(code("x", *outputs, id="a")), "/home/me/project")["cells"][0]
    assert cell["outputs"][0]["text"] == ["a\n", "bc\n"]
    assert cell["outputs"][1]["data"]["text/plain"] == "x"
    assert len(cell["outputs"]) == 2


def test_normalise_says_whether_it_changed_anything(tmp_path: Path) -> None:
    file = tmp_path / "a.ipynb"
    file.write_text(json.dumps(notebook(code("x", id="a"))))
    assert not is_normal(file)
    assert normalise(file)
    assert is_normal(file)
    assert not normalise(file)


def test_every_notebook_of_the_project_is_in_normal_form() -> None:
    paths = source_notebooks()
    assert paths
    assert [str(path) for path in paths if not is_normal(path)] == []


def test_what_the_author_wrote_is_kept() -> None:
    """Pictures pasted into the text, and what slides and raw cells need, are source."""
    picture = {"image.png": {"image/png": "aGVsbG8="}}
    pasted = {
        "cell_type": "markdown",
        "id": "a",
        "metadata": {"slideshow": {"slide_type": "slide"}, "collapsed": True},
        "source": "![x](attachment:image.png)",
        "attachments": picture,
    }
    raw = {"cell_type": "raw", "id": "b", "metadata": {"format": "text/latex"}, "source": "x"}
    for form in (source_form, lambda document: executed_form(document, "/nowhere")):
        cells = form(notebook(pasted, raw))["cells"]
        assert cells[0]["attachments"] == picture
        assert cells[0]["metadata"] == {"slideshow": {"slide_type": "slide"}}
        assert cells[1]["metadata"] == {"format": "text/latex"}

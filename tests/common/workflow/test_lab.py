"""Saving a notebook in JupyterLab."""

from __future__ import annotations

import json
from pathlib import Path

from jupyter_server.services.contents.filemanager import FileContentsManager
from traitlets.config.loader import PyFileConfigLoader

from common.workflow.base.project import ROOT
from common.workflow.running.notebook_form import is_normal

CONFIG = ROOT / "common" / "workflow" / "jupyter"


def executed() -> dict[str, object]:
    output = {"output_type": "stream", "name": "stdout", "text": "seen\n"}
    cell = {
        "cell_type": "code",
        "id": "a",
        "metadata": {"execution": {}},
        "source": "print('seen')",
        "outputs": [output],
        "execution_count": 1,
    }
    return {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def test_saving_strips_outputs_and_keeps_the_executed_copy(tmp_path: Path) -> None:
    config = PyFileConfigLoader("jupyter_server_config.py", path=str(CONFIG)).load_config()
    contents = FileContentsManager(config=config, root_dir=str(tmp_path))
    (tmp_path / "papers").mkdir()
    model = {"type": "notebook", "format": "json", "content": executed()}
    contents.save(model, "papers/01_a.ipynb")
    assert is_normal(tmp_path / "papers" / "01_a.ipynb")
    kept = tmp_path / "papers" / "results" / "_interactive" / "01_a.ipynb"
    assert "seen" in json.dumps(json.loads(kept.read_text())["cells"][0]["outputs"])

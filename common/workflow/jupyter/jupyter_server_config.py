"""Loaded by `./claimbook lab`: notebooks are saved in their normal form.

The executed copy goes to `results/_interactive/` beside the notebook, so nothing seen is lost.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from common.workflow.base.files import write_text
from common.workflow.running.notebook_form import dumps, source_form


def keep_normal_form(model: dict[str, Any], path: str, contents_manager: Any, **_: Any) -> None:
    """Jupyter's `pre_save_hook`: keep the executed copy, then strip what is saved."""
    if model["type"] != "notebook" or model["content"]["nbformat"] != 4:
        return
    file = Path(contents_manager.root_dir) / path
    if "results" in file.parts:
        return
    executed = model["content"]
    if any(cell.get("outputs") for cell in executed["cells"]):
        write_text(file.parent / "results" / "_interactive" / file.name, dumps(executed))
    model["content"] = json.loads(dumps(source_form(executed)))


c = get_config()  # type: ignore[name-defined] # noqa: F821 - given by Jupyter
c.FileContentsManager.pre_save_hook = keep_normal_form

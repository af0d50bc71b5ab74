"""JupyterLab with the project's settings."""

from __future__ import annotations

import os
import sys

from common.workflow.base.project import ROOT


def start_lab(arguments: list[str]) -> None:
    """Replace this process by JupyterLab.

    Notebooks import this checkout's `common`, and saving brings them to their normal form (see
    `jupyter/jupyter_server_config.py`).
    """
    os.environ["PYTHONPATH"] = str(ROOT)
    os.environ["JUPYTER_CONFIG_PATH"] = str(ROOT / "common" / "workflow" / "jupyter")
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={ROOT}", *arguments]
    os.execv(sys.executable, command)

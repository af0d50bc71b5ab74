"""A new paper's folder, from the skeleton in `template/`, or a copy of the project for trials."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from common.workflow.base.errors import ClaimbookError
from common.workflow.base.project import ROOT
from common.workflow.running.notebook_form import normalise

TEMPLATE = Path(__file__).parent / "template"


def make_paper(slug: str) -> list[str]:
    """Make `papers/<slug>/`; the paths of its files, from the root.

    Raises:
        ClaimbookError: `slug` is no snake_case name, or the folder exists.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", slug):
        raise ClaimbookError(
            f"{slug!r} is no snake_case name: lower-case words and digits joined by `_`, "
            "starting with a letter, for example `label_smoothing_collapse`."
        )
    folder = ROOT / "papers" / slug
    partial = folder.with_name(f".{slug}.partial")
    if folder.exists():
        raise ClaimbookError(f"papers/{slug} exists already; nothing was changed.")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    for file in sorted(TEMPLATE.iterdir()):
        text = file.read_text().replace("SLUG", slug)
        (partial / file.name).write_text(text)
    (partial / "__init__.py").touch()
    for notebook in partial.glob("*.ipynb"):
        normalise(notebook)
    os.replace(partial, folder)
    return [f"papers/{slug}/{file.name}" for file in sorted(folder.iterdir())]


def copy_without_papers(target: Path) -> None:
    """Make the folder `target` a git repository of this project without its papers."""
    names = (".dvc", ".dvcignore", ".gitignore", "README.md", "claimbook", "common")
    ignored = shutil.ignore_patterns("__pycache__", "cache", "tmp", "config.local")
    for name in names:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target / name, ignore=ignored)
        else:
            shutil.copy2(ROOT / name, target / name)
    (target / "papers").mkdir()
    (target / "papers" / "__init__.py").touch()
    (target / "params.yaml").write_text("profile: cpu\n")
    subprocess.run(["git", "init", "-q", str(target)], check=True)

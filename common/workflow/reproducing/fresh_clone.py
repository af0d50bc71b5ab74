"""A clone in which everything has to run again: no results, no caches, no user's settings.

Dask workers get this module's functions by value, so it imports nothing of this project.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TypedDict


class Source(TypedDict):
    """What is re-run, and where all its clones keep what they made."""

    repository: str
    """Path of a git repository; its HEAD is cloned."""
    profile: str
    papers: list[str]
    """Whose committed results and `dvc.lock` are taken away."""
    dvc_cache: str
    compiled: str
    """`CLAIMBOOK_CACHE` of the notebooks."""


def fresh_clone(source: Source, folder: Path) -> Path:
    """Make `folder/clone`; committed results go to `folder/committed/<paper>`.

    Raises:
        subprocess.CalledProcessError: git failed; `stderr` says why.
    """
    clone = folder / "clone"
    command = ["git", "clone", "--quiet", source["repository"], str(clone)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    switch = clone / "params.yaml"
    chosen = f"profile: {source['profile']}"
    switch.write_text(re.sub(r"(?m)^profile:.*$", chosen, switch.read_text()))
    (folder / "committed").mkdir()
    for slug in source["papers"]:
        paper = clone / "papers" / slug
        (paper / "dvc.lock").unlink(missing_ok=True)
        results = paper / "results" / source["profile"]
        if results.is_dir():
            shutil.move(results, folder / "committed" / slug)
    own = [
        "[cache]",
        f"dir = {source['dvc_cache']}",
        "[core]",
        f"site_cache_dir = {folder / 'site'}",
    ]
    (clone / ".dvc" / "config.local").write_text("\n".join(own) + "\n")
    return clone


def bare_environment(source: Source, folder: Path) -> dict[str, str]:
    """This process's environment without caches and without the user's DVC settings."""
    fresh = {
        "CLAIMBOOK_CACHE": source["compiled"],
        "CLAIMBOOK_PYTHON": sys.executable,
        "DVC_GLOBAL_CONFIG_DIR": str(folder / "dvc"),
        "DVC_SYSTEM_CONFIG_DIR": str(folder / "dvc"),
        "DVC_NO_ANALYTICS": "1",
    }
    return dict(os.environ) | fresh

"""Give what a reproduction made to the workspace's DVC cache, so that nothing need run again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

from common.workflow.base.errors import ClaimbookError
from common.workflow.base.project import ROOT
from common.workflow.base.yaml_source import load_yaml, plain


def hand_over(cache: Path, refused: list[str]) -> None:
    """Copy objects and run-cache entries of `cache` that the workspace's cache does not have.

    Entries under a key that the workspace knows stay out: its own results come first.

    Args:
        cache: the DVC cache of a reproduction.
        refused: papers whose entries are left out.
    """
    target = _workspace_cache()
    for file in _files(cache / "files"):
        _copy(file, target / file.relative_to(cache))
    for file in _files(cache / "runs"):
        copy = target / file.relative_to(cache)
        if not copy.parent.is_dir() and not _is_of(refused, file):
            _copy(file, copy)


def _files(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.rglob("*")) if file.is_file())


def _is_of(papers: list[str], entry: Path) -> bool:
    outs = plain(load_yaml(entry).data)["outs"]
    return any(out["path"].startswith(f"papers/{slug}/") for slug in papers for out in outs)


def _copy(file: Path, copy: Path) -> None:
    if copy.exists():
        return
    copy.parent.mkdir(parents=True, exist_ok=True)
    partial = copy.with_name(f"{copy.name}.{uuid.uuid4().hex}")
    shutil.copy(file, partial)
    os.replace(partial, copy)


def _workspace_cache() -> Path:
    command = [sys.executable, "-m", "dvc", "cache", "dir"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise ClaimbookError(f"dvc cache dir failed: {done.stderr.strip()}")
    return Path(done.stdout.strip())

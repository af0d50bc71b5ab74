"""Re-run papers from nothing, in a clone without any cache, and compare."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common.workflow.compare import Comparison, Level, compare
from common.workflow.errors import ClaimbookError
from common.workflow.project import ROOT, Paper, relative


def reproduce_papers(papers: list[Paper], profile: str) -> bool:
    """Re-run every paper in one new clone of HEAD; False when a verdict came out different.

    Raises:
        ClaimbookError: no git checkout, or a stage failed.
    """
    if _git("status", "--porcelain", "--untracked-files=no"):
        _say("note: uncommitted changes are not part of this: the last commit is re-run.")
    with tempfile.TemporaryDirectory(prefix="claimbook-") as folder:
        clone = Path(folder) / "clone"
        _git("clone", "--quiet", str(ROOT), str(clone))
        _choose_profile(clone, profile)
        environment = _bare_environment(Path(folder))
        return all([_reproduce(paper, profile, clone, environment) for paper in papers])


def _reproduce(paper: Paper, profile: str, clone: Path, environment: dict[str, str]) -> bool:
    folder = clone / "papers" / paper.slug
    if not folder.is_dir():
        raise ClaimbookError(f"papers/{paper.slug} is not in the last commit: commit it first.")
    fresh = folder / "results" / profile
    committed = clone.parent / "committed" / paper.slug
    if fresh.is_dir():
        committed.parent.mkdir(exist_ok=True)
        shutil.move(fresh, committed)
    (folder / "dvc.lock").unlink(missing_ok=True)
    _say(f"{paper.slug} [{profile}]: running every stage in a clone without results or caches")
    started = time.monotonic()
    command = [sys.executable, "-m", "dvc", "repro", f"papers/{paper.slug}/dvc.yaml"]
    if subprocess.run(command, cwd=clone, env=environment).returncode:
        raise ClaimbookError(f"{paper.slug}: a stage failed in the clone; its message is above.")
    seconds = time.monotonic() - started
    _print_claims(fresh)
    if not committed.is_dir():
        print(
            f"{paper.slug} [{profile}]: ran in {seconds:.0f} s; nothing committed to compare with."
        )
        return True
    comparison = compare(committed, fresh)
    _report(paper, profile, seconds, comparison)
    if comparison.level != Level.IDENTICAL:
        _keep(fresh, paper.folder / "results" / "_reproduced" / profile)
    return comparison.level != Level.DIFFERENT


def _print_claims(results: Path) -> None:
    from common.workflow.files import read_json
    from common.workflow.verdicts import verdict_lines

    print("\n".join(verdict_lines(read_json(results / "verdicts.json"))))


def _report(paper: Paper, profile: str, seconds: float, comparison: Comparison) -> None:
    print(f"{paper.slug} [{profile}]: ran in {seconds:.0f} s; against the committed results:")
    print(f"  {comparison.level.text}")
    for difference in comparison.differences[:20]:
        print(f"    {difference}")


def _keep(fresh: Path, kept: Path) -> None:
    """Copy the new results to where they can be looked at and no tool takes them for results."""
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(fresh, kept)
    print(f"  the new results are in {relative(kept)}")


def _choose_profile(clone: Path, profile: str) -> None:
    file = clone / "params.yaml"
    text = re.sub(r"(?m)^profile:.*$", f"profile: {profile}", file.read_text())
    file.write_text(text)


def _bare_environment(folder: Path) -> dict[str, str]:
    """This process's environment without caches and without the user's DVC settings."""
    fresh = {
        "CLAIMBOOK_CACHE": str(folder / "cache"),
        "CLAIMBOOK_PYTHON": sys.executable,
        "DVC_GLOBAL_CONFIG_DIR": str(folder / "dvc"),
        "DVC_SYSTEM_CONFIG_DIR": str(folder / "dvc"),
        "DVC_SITE_CACHE_DIR": str(folder / "dvc-site"),
        "DVC_NO_ANALYTICS": "1",
    }
    return dict(os.environ) | fresh


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError:
        raise ClaimbookError(
            "`git` is not installed; a reproduction starts from a clone."
        ) from None
    except subprocess.CalledProcessError as error:
        raise ClaimbookError(f"git {arguments[0]} failed: {error.stderr.strip()}") from None


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

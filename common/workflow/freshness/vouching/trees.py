"""Commits of this repository as folders, and the code hashes that their own code gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

from common.workflow.base.errors import ClaimbookError
from common.workflow.base.files import read_json, write_json
from common.workflow.base.notebooks import is_code, notebook_cells
from common.workflow.base.project import ROOT

MEMORY = ROOT / ".cache" / "vouch"
"""What is remembered between calls; it may be deleted."""

CODE = ("common", "papers/*.py", "papers/*.ipynb", ":(exclude)papers/*/results")
"""What code hashes depend on, as git's pathspecs."""

INSPECT = """
import json, sys
try:
    from common.workflow.base.errors import ClaimbookError
    from common.workflow.base.project import all_papers
    from common.workflow.freshness import closure
except ImportError:  # before the workflow had rooms
    from common.workflow import closure
    from common.workflow.errors import ClaimbookError
    from common.workflow.project import all_papers
found = {}
for paper in all_papers():
    try:
        codes = closure.closure_hashes(paper)
        modules = {one.stem: closure.reached_modules(one) for one in paper.notebooks}
    except ClaimbookError:
        continue
    found[paper.slug] = {
        stem: {"code": codes[stem], "modules": reached} for stem, reached in modules.items()
    }
json.dump(found, sys.stdout)
"""
"""Asks the code of a checkout, run in it, for its own hashes. `closure_hashes` and
`reached_modules` keep their names for that."""


def git(*arguments: str) -> str:
    """What git prints.

    Raises:
        ClaimbookError: git is missing, or fails.
    """
    command = ["git", "-C", str(ROOT), *arguments]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        raise ClaimbookError("`git` is not installed: vouching compares commits.") from None
    except subprocess.CalledProcessError as error:
        raise ClaimbookError(f"git {arguments[0]} failed: {error.stderr.strip()}") from None


def uncommitted_code() -> list[str]:
    """Files with code or parameters that the last commit does not hold as they are."""
    lines = git("status", "--porcelain", "--untracked-files=all", "--", *CODE).splitlines()
    lines += git("status", "--porcelain", "--", "papers/*/params.yaml").splitlines()
    return [line.strip().partition(" ")[2].strip() for line in lines]


def code_commits() -> list[str]:
    """First-parent commits at which code changed, from the newest on."""
    return git("log", "--first-parent", "--format=%H", "--", *CODE).split()


def check_out(commit: str, folder: Path) -> Path:
    """Put the files of a commit, without results, into `folder`, which is no repository."""
    command = ["git", "-C", str(ROOT), "archive", commit, "--", ".", ":(exclude)papers/*/results"]
    packed = subprocess.run(command, capture_output=True)
    if packed.returncode:
        raise ClaimbookError(f"git archive failed: {packed.stderr.decode().strip()}")
    folder.mkdir(parents=True)
    with tarfile.open(fileobj=BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    # Parsing every module again would take seconds; what is remembered there names its rules.
    (ROOT / ".cache").mkdir(exist_ok=True)
    (folder / ".cache").symlink_to(ROOT / ".cache")
    return folder


class Trees:
    """Checkouts of commits below one folder, each made when it is asked for.

    Args:
        folder: an empty one, outside the repository.
    """

    def __init__(self, folder: Path):
        self._folder = folder

    def at(self, commit: str) -> Path:
        """The checkout of `commit`."""
        tree = self._folder / commit[:12]
        return tree if tree.is_dir() else check_out(commit, tree)

    def inspected(self, commit: str) -> dict[str, Any]:
        """By paper and notebook: the code hash that the commit's own code gives, and modules."""
        memory = MEMORY / "commits" / f"{commit}.json"
        if memory.is_file():
            return dict(read_json(memory))
        tree = self.at(commit)
        done = subprocess.run(
            [sys.executable, "-c", INSPECT],
            cwd=tree,
            env=dict(os.environ) | {"PYTHONPATH": str(tree)},
            capture_output=True,
            text=True,
        )
        # A commit whose code cannot tell gives no hash.
        found = json.loads(done.stdout) if done.returncode == 0 else {}
        write_json(memory, found)
        return dict(found)


def sources(tree: Path, modules: list[str]) -> tuple[dict[str, str], set[str]]:
    """Sources of modules by dotted name, and which of them are packages."""
    found, packages = {}, set()
    for name in modules:
        path = tree.joinpath(*name.split("."))
        if path.is_dir():
            packages.add(name)
            path = path / "__init__.py"
        file = path if path.suffix else path.with_suffix(".py")
        if file.is_file():  # else a folder without `__init__`
            found[name] = file.read_text()
    return found, packages


def cells(notebook: Path) -> dict[str, str]:
    """Sources of a notebook's code cells by the file name that its kernel gives them."""
    from ipykernel.compiler import get_tmp_hash_seed, murmur2_x86

    found = [one for one in notebook_cells(notebook) if is_code(one)]
    texts = ["".join(one["source"]) for one in found]
    return {f"{murmur2_x86(text, get_tmp_hash_seed())}.py": text for text in texts}

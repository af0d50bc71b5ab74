"""Which papers a run of the tests takes in miniature: what changed, and a sample of the rest.

`CLAIMBOOK_TEST_SINCE` names the commit since when changes count; by default it is where HEAD left
origin/main, or, on main itself and in a shallow clone, the commit twenty before HEAD.
`CLAIMBOOK_TEST_ALL=1` takes all papers.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from common.workflow.base.errors import ClaimbookError
from common.workflow.base.project import ROOT, Paper, all_papers
from common.workflow.freshness.closure import reached_modules

BUDGET = 180.0
"""Seconds of one core, of two busy ones, that papers in miniature may take in `make test`."""

COMMITS = 20

ALL = os.environ.get("CLAIMBOOK_TEST_ALL") == "1"


def git(*arguments: str) -> str:
    """What git prints in this checkout; nothing where it fails."""
    command = ["git", "-C", str(ROOT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def since() -> str:
    """The commit since when changes count.

    Raises:
        ClaimbookError: CLAIMBOOK_TEST_SINCE is no commit.
    """
    if given := os.environ.get("CLAIMBOOK_TEST_SINCE"):
        if not git("rev-parse", "--verify", f"{given}^{{commit}}"):
            raise ClaimbookError(f"CLAIMBOOK_TEST_SINCE={given} is no commit here.")
        return given
    head, shallow = git("rev-parse", "HEAD"), git("rev-parse", "--is-shallow-repository") == "true"
    left = git("merge-base", "HEAD", "origin/main")
    if left and left != head and not shallow:
        return left
    before = git("rev-list", "--first-parent", f"--max-count={COMMITS + 1}", "HEAD").split()
    return before[-1] if before else ""


def changed_files(commit: str) -> set[str]:
    """Files that differ from a commit, those that git does not know yet included."""
    if not commit:
        return set(git("ls-files").splitlines())
    listed = git("diff", "--name-only", commit, "--") + "\n"
    return set((listed + git("ls-files", "--others", "--exclude-standard")).split("\n")) - {""}


@dataclass(frozen=True)
class Choice:
    """A paper, and why it is taken: "own" (beyond the budget, too), "code" or "sample"."""

    slug: str
    why: str


def chosen(papers: list[Paper], files: set[str], turn: int) -> list[Choice]:
    """All papers, in the order in which they are taken as long as the budget lasts.

    Args:
        papers: all of them.
        files: that changed.
        turn: rotates those that nothing happened to.
    """
    own = {p.slug for p in papers if any(_is_source(name, p.slug) for name in files)}
    modules = {_dotted(name) for name in files if name.endswith(".py")}
    code = {p.slug for p in papers if p.slug not in own and modules & _reached(p)}
    rest = [p.slug for p in papers if p.slug not in own | code]
    start = turn % len(rest) if rest else 0
    reasons = {slug: "own" for slug in sorted(own)} | {slug: "code" for slug in sorted(code)}
    reasons |= {slug: "sample" for slug in (*rest[start:], *rest[:start])}
    return [Choice(slug, why) for slug, why in reasons.items()]


def _is_source(name: str, slug: str) -> bool:
    """Whether a file is one that somebody wrote for a paper, and not made by its pipeline."""
    folder, _, rest = name.partition(f"papers/{slug}/")
    made = rest.startswith("results/") or rest in ("README.md", "dvc.lock")
    return not folder and bool(rest) and not made


def _dotted(name: str) -> str:
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _reached(paper: Paper) -> set[str]:
    found: set[str] = set()
    for notebook in paper.notebooks:
        with suppress(ClaimbookError):  # a broken one: its run says so
            found |= set(reached_modules(notebook))
    return found


def choices() -> list[Choice]:
    """What this run of the tests takes, in order."""
    papers = all_papers()
    if ALL:
        return [Choice(paper.slug, "own") for paper in papers]
    return chosen(papers, changed_files(since()), int(git("rev-list", "--count", "HEAD") or 0))


class Budget:
    """Core-seconds that all workers of one run of the tests share.

    Args:
        file: where they are written down, a line per paper.
    """

    def __init__(self, file: Path):
        self._file = file

    def spent(self) -> float:
        """Seconds so far, by all workers."""
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        return sum(float(line) for line in lines)

    @contextmanager
    def taking(self, choice: Choice) -> Iterator[bool]:
        """Whether `choice` fits; what the block takes is counted."""
        with FileLock(f"{self._file}.lock"):
            fits = choice.why == "own" or self.spent() < BUDGET
        started = time.monotonic()
        yield fits
        if fits:
            with FileLock(f"{self._file}.lock"), self._file.open("a") as file:
                print(time.monotonic() - started, file=file)


if __name__ == "__main__":  # say what a run would take
    for one in choices():
        print(f"{one.slug}: {one.why}", file=sys.stdout)

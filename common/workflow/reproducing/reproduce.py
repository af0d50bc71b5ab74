"""Re-run papers from nothing, in a clone without any cache, and compare."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING

from common.workflow.base.errors import ClaimbookError
from common.workflow.base.files import write_text
from common.workflow.base.parameters import current_profile
from common.workflow.base.project import COMMITTED_PROFILES, ROOT, Paper, relative
from common.workflow.freshness.compare import Comparison, Level, compare
from common.workflow.freshness.status import paper_status
from common.workflow.reproducing.fresh_clone import Source, bare_environment, fresh_clone
from common.workflow.running.processes import stop_cleanly_on_sigterm

if TYPE_CHECKING:
    from common.workflow.reproducing.cluster.connect import Workers
    from common.workflow.reproducing.cluster.stage_task import Outcome


def reproduce_papers(papers: list[Paper], profile: str, workers: Workers | None = None) -> bool:
    """Re-run every paper in new clones of HEAD; False when a verdict came out different.

    With `workers`, each notebook runs as a task in a clone of its own, and what they made is
    restored, judged and compared here. What came out identical, or is new, is handed to the
    workspace's DVC cache.

    Args:
        papers: which.
        profile: in which profile.
        workers: Dask workers; None runs everything here, one stage after another.

    Raises:
        ClaimbookError: no git checkout, or a stage of some papers failed; the others were done.
    """
    if _git("status", "--porcelain", "--untracked-files=no"):
        _say("note: uncommitted changes are not part of this: the last commit is re-run.")
    stop_cleanly_on_sigterm()
    with tempfile.TemporaryDirectory(prefix="claimbook-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with _shared_folder(workers, folder) as shared:
            source = _source(papers, profile, shared)
            clone = _clone(source, folder)
            outcomes: list[Outcome] = []
            if workers is not None:
                from common.workflow.reproducing.cluster.scale_out import run_on_workers

                outcomes = run_on_workers(workers, source, shared, clone, papers)
            return _finish(papers, source, folder, outcomes)


@contextmanager
def _shared_folder(workers: Workers | None, folder: Path) -> Iterator[Path]:
    """A folder of this run alone, where all workers see it."""
    if workers is None or (workers.local and workers.shared is None):
        yield folder
        return
    parent = workers.shared or ROOT / ".dvc" / "tmp"  # neither git nor DVC looks in there
    try:
        parent.mkdir(parents=True, exist_ok=True)
        shared = tempfile.TemporaryDirectory(
            prefix="reproduce-", dir=parent.resolve(), ignore_cleanup_errors=True
        )
    except OSError as error:
        raise ClaimbookError(f"--shared {parent}: {error.strerror}.") from None
    with shared as name:
        yield Path(name)


def _source(papers: list[Paper], profile: str, shared: Path) -> Source:
    repository = shared / "repository.git"
    _git("clone", "--quiet", "--bare", str(ROOT), str(repository))
    return Source(
        repository=str(repository),
        profile=profile,
        papers=[paper.slug for paper in papers],
        dvc_cache=str(shared / "dvc-cache"),
        compiled=str(shared / "cache"),
    )


def _clone(source: Source, folder: Path) -> Path:
    try:
        clone = fresh_clone(source, folder)
    except subprocess.CalledProcessError as error:
        raise ClaimbookError(f"git clone failed: {error.stderr.strip()}") from None
    for slug in source["papers"]:
        if not (clone / "papers" / slug).is_dir():
            raise ClaimbookError(f"papers/{slug} is not in the last commit: commit it first.")
    return clone


def _finish(papers: list[Paper], source: Source, folder: Path, outcomes: list[Outcome]) -> bool:
    """Restore or run, judge and compare every paper; hand over what is good."""
    levels: dict[str, Level | None] = {}
    failures = [_failure(outcome) for outcome in outcomes if outcome["state"] == "failed"]
    unfinished = {_paper_of(one["target"]) for one in outcomes if one["state"] != "done"}
    for outcome in outcomes:
        _write_provenance(folder / "clone", outcome)
    for paper in papers:
        if paper.slug in unfinished:
            continue
        try:
            levels[paper.slug] = _reproduce(paper, source, folder, restore=bool(outcomes))
        except ClaimbookError as error:
            failures.append(str(error))
    good = [slug for slug, level in levels.items() if level in (None, Level.IDENTICAL)]
    _hand_over([paper for paper in papers if paper.slug in good], source, folder / "clone")
    if failures:
        raise ClaimbookError("\n".join(failures))
    return Level.DIFFERENT not in levels.values()


def _reproduce(paper: Paper, source: Source, folder: Path, restore: bool) -> Level | None:
    """The level that `paper` reached; None when nothing is committed to compare with."""
    profile, clone = source["profile"], folder / "clone"
    fresh = clone / "papers" / paper.slug / "results" / profile
    how = "restoring and judging" if restore else "running every stage in a clone without results"
    _say(f"{paper.slug} [{profile}]: {how}{'' if restore else ' or caches'}")
    started = time.monotonic()
    command = [sys.executable, "-m", "dvc", "repro", f"papers/{paper.slug}/dvc.yaml"]
    environment = bare_environment(source, folder)
    # What is restored need not be listed: the tasks have told what ran.
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=restore, text=True)
    if done.returncode:
        _say(f"{done.stdout or ''}{done.stderr or ''}")
        raise ClaimbookError(f"{paper.slug}: a stage failed in the clone; its message is above.")
    seconds = time.monotonic() - started
    _print_claims(fresh)
    committed = folder / "committed" / paper.slug
    if not committed.is_dir():
        print(
            f"{paper.slug} [{profile}]: ran in {seconds:.0f} s; nothing committed to compare with."
        )
        return None
    comparison = compare(committed, fresh)
    _report(paper, profile, seconds, comparison)
    if comparison.level != Level.IDENTICAL:
        _keep(fresh, paper.folder / "results" / "_reproduced" / profile)
    return comparison.level


def _print_claims(results: Path) -> None:
    from common.workflow.base.files import read_json
    from common.workflow.claims.verdicts import verdict_lines

    print("\n".join(verdict_lines(read_json(results / "verdicts.json"))))


def _report(paper: Paper, profile: str, seconds: float, comparison: Comparison) -> None:
    print(f"{paper.slug} [{profile}]: ran in {seconds:.0f} s; against the committed results:")
    vouched = [line for line in paper_status(paper, profile) if line.vouched]
    if vouched:
        commit = vouched[0].vouched[-1].commits[1][:7]
        names = f"{len(vouched)} notebooks" if len(vouched) > 1 else vouched[0].stage
        print(f"  ({names}: code changed since those were made; same in smoke at {commit})")
    print(f"  {comparison.level.text}")
    for difference in comparison.differences[:20]:
        print(f"    {difference}")


def _keep(fresh: Path, kept: Path) -> None:
    """Copy the new results to where they can be looked at and no tool takes them for results."""
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(fresh, kept)
    print(f"  the new results are in {relative(kept)}")


def _hand_over(papers: list[Paper], source: Source, clone: Path) -> None:
    """Let the workspace restore what these papers made, and say how."""
    from common.workflow.reproducing.cluster.hand_over import hand_over

    if not papers:
        return
    profile = source["profile"]
    slugs = [paper.slug for paper in papers]
    hand_over(Path(source["dvc_cache"]), [slug for slug in source["papers"] if slug not in slugs])
    if profile in COMMITTED_PROFILES:
        for file in clone.glob(f"papers/*/results/{profile}/provenance/*.json"):
            here = ROOT / file.relative_to(clone)
            if file.relative_to(clone).parts[1] in slugs and not here.exists():
                write_text(here, file.read_text())
    first = "" if profile == current_profile() else f"with `profile: {profile}` in params.yaml, "
    files = " ".join(relative(paper.pipeline_file) for paper in papers)
    print(f"{first}`dvc repro {files}` restores these results here without running a notebook.")


def _write_provenance(clone: Path, outcome: Outcome) -> None:
    for name, text in outcome["provenance"].items():
        write_text(clone / name, text)


def _failure(outcome: Outcome) -> str:
    return f"{outcome['target']} failed:\n{indent(outcome['message'], '    ')}"


def _paper_of(target: str) -> str:
    """The paper of a stage; nothing for one of the root's."""
    parts = target.split("/")
    return parts[1] if parts[0] == "papers" else ""


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

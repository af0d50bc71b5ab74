"""Repeat what receipts say, from the commits that they name."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from common.workflow.base.errors import ClaimbookError
from common.workflow.base.project import Paper, result_folders
from common.workflow.freshness.closure import closure_hashes
from common.workflow.freshness.receipts import Receipt, receipts
from common.workflow.freshness.records import read_inputs
from common.workflow.freshness.vouching.cases import PROFILE, Case
from common.workflow.freshness.vouching.runs import Job, Runs
from common.workflow.freshness.vouching.trees import Trees, git


def check_receipts(papers: Sequence[Paper], workers: int = 2) -> bool:
    """Repeat what the receipts of `papers` say, from their commits; False when one is wrong.

    Raises:
        ClaimbookError: a receipt is inconsistent.
    """
    with tempfile.TemporaryDirectory(prefix="claimbook-", ignore_cleanup_errors=True) as name:
        trees = Trees(Path(name))
        found = list(_receipts(papers))
        wrong = {id(one): _wrong_hashes(case, one, trees) for case, one in found}
        runs = Runs(trees, anew=True)
        sound = [(case, one) for case, one in found if not wrong[id(one)]]
        jobs = {id(one): _jobs(case, one) for case, one in sound}
        runs.run(dict.fromkeys(job for pair in jobs.values() for job in pair), workers)
        for _, one in sound:
            old, new = (runs.of(job) for job in jobs[id(one)])
            failed = old.failure or new.failure
            if failed:
                wrong[id(one)] = f"a run failed: {failed.strip().splitlines()[-1]}"
            elif old.tables() != new.tables():
                wrong[id(one)] = "old and new code measure different things in smoke"
        for case, one in found:
            told = wrong[id(one)] or "holds"
            print(f"{case.name} {one.old[:7]} = {one.new[:7]}: {told}")
    if not found:
        print("There are no receipts.")
    return not any(wrong.values())


def _receipts(papers: Sequence[Paper]) -> Iterator[tuple[Case, Receipt]]:
    for paper in papers:
        for folder in result_folders(paper, PROFILE):
            made = read_inputs(folder)
            notebook = paper.folder / made["notebook"]
            today = closure_hashes(paper)[notebook.stem]
            case = Case(paper, folder, notebook, made["arm"], made["code"], today)
            for one in receipts(folder):
                yield case, one


def _jobs(case: Case, receipt: Receipt) -> tuple[Job, Job]:
    arm, codes = tuple(case.arm.items()), (receipt.old, receipt.new)
    old, new = (
        Job(commit, code, case.paper, case.notebook, arm)
        for commit, code in zip(receipt.commits, codes, strict=True)
    )
    return old, new


def _wrong_hashes(case: Case, receipt: Receipt, trees: Trees) -> str:
    """What the receipt's commits say against it."""
    for commit, code in zip(receipt.commits, (receipt.old, receipt.new), strict=True):
        try:
            full = git("rev-parse", "--verify", f"{commit}^{{commit}}")
        except ClaimbookError:
            return f"there is no commit {commit[:7]} here"
        given = trees.inspected(full).get(case.paper.slug, {}).get(case.notebook.stem, {})
        if given.get("code") != code:
            return f"the code of commit {commit[:7]} has another hash than the receipt says"
    return ""

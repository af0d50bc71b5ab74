"""Vouch for results: show that today's code measures in miniature what their code measured.

See docs/vouching.md for what a receipt proves and what it does not.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.workflow.base.errors import ClaimbookError, did_you_mean
from common.workflow.base.files import hash_file, to_json
from common.workflow.base.parameters import current_profile, notebook_parameters
from common.workflow.base.project import ROOT, Paper, relative
from common.workflow.freshness.closure import reached_modules, write_closure
from common.workflow.freshness.receipts import Receipt, write_receipt
from common.workflow.freshness.status import paper_status
from common.workflow.freshness.vouching.cases import (
    PROFILE,
    Case,
    find_cases,
    find_commits,
    head,
    stage_of,
)
from common.workflow.freshness.vouching.changes import changes
from common.workflow.freshness.vouching.definitions import Code, read_code
from common.workflow.freshness.vouching.evidence import Doubt, doubts, lasting_doubts
from common.workflow.freshness.vouching.runs import Runs, say
from common.workflow.freshness.vouching.trees import Trees, cells, sources, uncommitted_code


def vouch(
    papers: Sequence[Paper], because: Mapping[str, str], dry: bool = False, workers: int = 2
) -> bool:
    """Vouch for every result of `papers` in profile cpu that only lacks today's code.

    Args:
        papers: which.
        because: reasons why named functions measure the same where miniature cannot show it.
        dry: say what would run and what it would cost, and do nothing.
        workers: notebooks at a time.

    Returns:
        Whether every result is up to date now.

    Raises:
        ClaimbookError: uncommitted code, another profile in params.yaml, or a reason for a
            function about which there is no doubt.
    """
    if not dry:
        _check_tree()
    with tempfile.TemporaryDirectory(prefix="claimbook-", ignore_cleanup_errors=True) as name:
        trees = Trees(Path(name))
        cases, unfinished = find_cases(papers)
        find_commits(cases, trees)
        for case in cases:
            _compare_code(case, trees, because)
        _check_reasons(because, cases)
        runs = Runs(trees)
        open_cases = [case for case in cases if not case.doubts]
        _announce(cases, open_cases, runs)
        if dry:
            return not cases and not unfinished
        runs.run([job for case in open_cases for job in case.jobs], workers)
        for case in open_cases:
            _compare_runs(case, runs, because)
        vouched = [case for case in open_cases if not case.doubts]
        for case in vouched:
            _write(case, runs, because)
        _tell_dvc([*vouched, *unfinished])
    _report(cases, unfinished)
    return all(line.fresh for paper in papers for line in paper_status(paper, PROFILE))


def _check_tree() -> None:
    if files := uncommitted_code():
        raise ClaimbookError(
            f"uncommitted code ({', '.join(files[:5])}{' …' if len(files) > 5 else ''}): commit "
            "it first, since a receipt names the commits that it compared. Nothing was changed."
        )
    if current_profile() != PROFILE:
        raise ClaimbookError(
            f"set `profile: {PROFILE}` in params.yaml: its results are vouched for, and dvc.lock "
            "has to be theirs. Nothing was changed."
        )


# --------------------------------------------------------------------------------------- compared


def _compare_code(case: Case, trees: Trees, because: Mapping[str, str]) -> None:
    if case.doubts:
        return
    old_tree = trees.at(case.old)
    modules = trees.inspected(case.old)[case.paper.slug][case.notebook.stem]["modules"]
    old = _code(old_tree, modules, case)
    new = _code(ROOT, reached_modules(case.notebook), case)
    case.changes = changes(old, new, _words(case))
    case.doubts = _remaining(case, lasting_doubts(case.changes), because)


def _code(tree: Path, modules: list[str], case: Case) -> Code:
    notebook = tree / relative(case.notebook)
    return read_code(*sources(tree, modules), cells(notebook))


def _words(case: Case) -> set[str]:
    """Names by which the runner or the parameters of either profile may call something."""
    given = [notebook_parameters(case.notebook, one, case.arm) for one in (PROFILE, "smoke")]
    return {"kernel_environment", "preamble", *re.findall(r"\w+", to_json(given))}


def _compare_runs(case: Case, runs: Runs, because: Mapping[str, str]) -> None:
    old, new = (runs.of(job) for job in case.jobs)
    for run, which in ((old, "old"), (new, "new")):
        if run.failure:
            end = run.failure.strip().splitlines()[-1:] or [""]
            told = f"with the {which} code the notebook failed in smoke: {end[0]}"
            case.doubts.append(Doubt(case.name, told, arguable=False))
    if case.doubts:
        return
    before, after = old.tables(), new.tables()
    names = sorted(n for n in before.keys() | after.keys() if before.get(n) != after.get(n))
    if names:
        told = ", ".join(name or "how tables are declared" for name in names)
        case.doubts = [Doubt(case.name, f"other measurements in smoke: {told}", arguable=False)]
        return
    figures = old.figures(), new.figures()
    case.other_figures = sorted(
        name
        for name in figures[0].keys() | figures[1].keys()
        if figures[0].get(name) != figures[1].get(name)
    )
    case.doubts = _remaining(case, doubts(case.changes, old.lines, new.lines), because)


def _remaining(case: Case, found: list[Doubt], because: Mapping[str, str]) -> list[Doubt]:
    """The doubts that nobody has argued away; the case keeps which were."""
    argued = [one for one in found if one.arguable and one.name in because]
    case.argued |= {one.name for one in argued}
    return [one for one in found if one not in argued]


def _check_reasons(because: Mapping[str, str], cases: list[Case]) -> None:
    changed = {change.name for case in cases for change in case.changes}
    for name in because:
        if name not in changed:
            raise ClaimbookError(
                f"--because {name}: no such function changed{did_you_mean(name, changed)}."
            )


# ----------------------------------------------------------------------------------------- written


def _write(case: Case, runs: Runs, because: Mapping[str, str]) -> None:
    names = sorted({change.name for change in case.changes})
    receipt = Receipt(
        result=case.folder.name,
        results=hash_file(case.folder / "inputs.json"),
        old=case.known,
        new=case.today,
        commits=(case.old, head()),
        tables=runs.of(case.jobs[1]).tables(),
        figures=case.other_figures,
        changes=names,
        because={name: because[name] for name in sorted(case.argued)},
    )
    write_receipt(case.folder, receipt)


def _tell_dvc(cases: list[Case]) -> None:
    """Bring `closure.json` and dvc.lock in step with what was vouched for, and judge again."""
    for paper in {case.paper.slug: case.paper for case in cases}.values():
        write_closure(paper)
        file = relative(paper.pipeline_file)
        own = [case for case in cases if case.paper == paper]
        stages = [stage for case in own if (stage := stage_of(case))]
        _dvc("commit", "--force", *(f"{file}:{stage}" for stage in (*stages, "closure")))
        lines = paper_status(paper, PROFILE)
        if all(line.fresh for line in lines if line.stage != "judge"):
            _dvc("repro", "--single-item", f"{file}:judge")


def _dvc(*arguments: str) -> None:
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise ClaimbookError(
            f"`dvc {' '.join(arguments)}` failed; the receipts stand, so call this again:\n"
            f"{done.stdout}{done.stderr}"
        )


# ------------------------------------------------------------------------------------------- told


def _announce(cases: list[Case], open_cases: list[Case], runs: Runs) -> None:
    """What will run, and about how long it takes, by paper."""
    jobs = [job for case in open_cases for job in case.jobs if not runs.remembered(job)]
    for slug, number in Counter(case.paper.slug for case in cases).items():
        own = [job for job in jobs if job.paper.slug == slug]
        unknown = sum(runs.seconds(job) is None for job in own)
        cost = sum(runs.seconds(job) or 0 for job in own)
        tries = sum(case.paper.slug == slug for case in open_cases)
        told = f"{slug}: {number} results lack today's code, {tries} may be vouched for"
        if own:
            more = f" and {unknown} runs never timed" if unknown else ""
            told += f"; {len(own)} runs in miniature, about {cost:.0f} s of one core{more}"
        say(told)
    for case in cases:
        for doubt in case.doubts:
            say(f"  {case.name}: {doubt.name} {doubt.reason}")


def _report(cases: list[Case], unfinished: list[Case]) -> None:
    for case in cases:
        if not case.doubts:
            look = f"; old look: {', '.join(case.other_figures)}" if case.other_figures else ""
            print(f"{case.name}: vouched for ({len(case.changes)} definitions differ{look})")
            continue
        print(f"{case.name}: has to run again")
        for doubt in case.doubts:
            hint = f' (or --because {doubt.name} "…")' if doubt.arguable else ""
            print(f"    {doubt.name}: {doubt.reason}{hint}")
    for case in unfinished:
        print(f"{case.name}: had its receipt; DVC knows it now")
    if not cases and not unfinished:
        print("Nothing to vouch for: no result lacks only today's code.")
    elif any(not case.doubts for case in cases):
        print("Now `./claimbook scoreboard`, and commit receipts, dvc.lock and pages together.")

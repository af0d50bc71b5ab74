"""Results of profile cpu that lack nothing but today's code, and the commits that made them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from common.workflow.base.errors import ClaimbookError
from common.workflow.base.parameters import notebook_parameters
from common.workflow.base.project import Paper, relative, result_folders
from common.workflow.base.yaml_source import load_yaml, plain
from common.workflow.freshness.receipts import joining, known_codes, receipts
from common.workflow.freshness.records import current_inputs, read_inputs
from common.workflow.freshness.status import damaged
from common.workflow.freshness.vouching.changes import Change
from common.workflow.freshness.vouching.evidence import Doubt
from common.workflow.freshness.vouching.runs import Job, say
from common.workflow.freshness.vouching.trees import Trees, code_commits, git

PROFILE = "cpu"


@dataclass
class Case:
    """One result whose code is not today's.

    Attributes:
        paper: whose.
        folder: of the result.
        notebook: that made it.
        arm: of the notebook.
        made: the hash of the code that made it.
        today: of today's code.
        old: the newest commit that gives a hash that is known for the result; "" if none does.
        known: that hash.
        changes: between that commit and today.
        doubts: why it cannot be vouched for.
        argued: functions about which doubts were argued away.
        other_figures: that came out different in miniature.
    """

    paper: Paper
    folder: Path
    notebook: Path
    arm: dict[str, str]
    made: str
    today: str
    old: str = ""
    known: str = ""
    changes: list[Change] = field(default_factory=list)
    doubts: list[Doubt] = field(default_factory=list)
    argued: set[str] = field(default_factory=set)
    other_figures: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.paper.slug}/{self.folder.name}"

    @cached_property
    def jobs(self) -> tuple[Job, Job]:
        """The notebook in miniature with the old and with today's code."""
        arm = tuple(self.arm.items())
        old = Job(self.old, self.known, self.paper, self.notebook, arm)
        return old, Job(head(), self.today, self.paper, self.notebook, arm)


def head() -> str:
    """The last commit."""
    return git("rev-parse", "HEAD")


def find_cases(papers: Sequence[Paper]) -> tuple[list[Case], list[Case]]:
    """Results that lack nothing but today's code; and those of which only DVC does not know yet."""
    stale, unfinished = [], []
    for paper in papers:
        for folder in result_folders(paper, PROFILE):
            case = _case(paper, folder)
            if case is None:
                continue
            if joining(folder, case.made, case.today) is None:
                stale.append(case)
            elif case.made != case.today and not _known_to_dvc(case):
                unfinished.append(case)
    return stale, unfinished


def _case(paper: Paper, folder: Path) -> Case | None:
    """The result in `folder` if it is whole, and its parameters and data are today's."""
    if problems := damaged(folder):
        say(f"{paper.slug}/{folder.name}: damaged ({problems[0]}); not looked at")
        return None
    made = read_inputs(folder)
    notebook = paper.folder / made["notebook"]
    if not notebook.is_file():
        return None
    try:
        parameters = notebook_parameters(notebook, PROFILE, made["arm"])
        now = current_inputs(notebook, PROFILE, made["arm"], parameters)
    except ClaimbookError as error:
        say(f"{paper.slug}/{folder.name}: {error}")
        return None
    receipts(folder)  # inconsistent ones are an error
    if other := [name for name in ("parameters_hash", "data", "arm") if now[name] != made[name]]:
        say(f"{paper.slug}/{folder.name}: other {', '.join(other)}: it has to run again")
        return None
    return Case(paper, folder, notebook, made["arm"], made["code"], now["code"])


def find_commits(cases: list[Case], trees: Trees) -> None:
    """The newest commit that gives each case a hash that is known for its result."""
    from tqdm import tqdm

    known = {case.name: known_codes(case.folder, case.made) for case in cases}
    left = list(cases)
    commits = tqdm(code_commits() if cases else [], "commits", leave=False, delay=2, disable=None)
    for commit in commits:
        if not left:
            return
        found = trees.inspected(commit)
        for case in left:
            code = found.get(case.paper.slug, {}).get(case.notebook.stem, {}).get("code")
            if code in known[case.name]:
                case.old, case.known = commit, code
        left = [case for case in left if not case.old]
    told = "no commit gives the hash of its code: it was made from code never committed"
    if git("rev-parse", "--is-shallow-repository") == "true":
        told = "its commit is not in this shallow clone: `git fetch --unshallow`"
    for case in left:
        case.doubts.append(Doubt(case.name, told, arguable=False))


def stage_of(case: Case) -> str | None:
    """The name under which dvc.lock has the stage that wrote a result."""
    folder = relative(case.folder)
    for name, stage in _lock(case.paper).items():
        if folder in [out["path"] for out in stage.get("outs", [])]:
            return str(name)
    return None


def _known_to_dvc(case: Case) -> bool:
    stage = _lock(case.paper).get(stage_of(case) or "", {})
    closure = stage.get("params", {}).get(relative(case.paper.folder / "closure.json"), {})
    return bool(closure.get(case.notebook.stem) == case.today)


def _lock(paper: Paper) -> dict[str, Any]:
    file = paper.folder / "dvc.lock"
    return dict(plain(load_yaml(file).data)["stages"]) if file.is_file() else {}

"""Whether results are up to date, and whether they are what was written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.workflow.base.errors import ClaimbookError
from common.workflow.base.files import hash_file, hash_tree, read_json
from common.workflow.base.parameters import notebook_parameters
from common.workflow.base.project import Paper, relative, result_folders
from common.workflow.freshness.closure import closure_hashes
from common.workflow.freshness.receipts import Receipt, joining
from common.workflow.freshness.records import (
    current_inputs,
    environment_hash,
    expected_results,
    read_inputs,
)

FRESH = "up to date"


@dataclass(frozen=True)
class Line:
    """The state of one stage's results in one profile."""

    paper: str
    profile: str
    stage: str
    state: str
    note: str = ""
    vouched: tuple[Receipt, ...] = ()
    """What joins the code that made the result with today's, where they differ."""

    @property
    def fresh(self) -> bool:
        return self.state == FRESH


def paper_status(paper: Paper, profile: str) -> list[Line]:
    """One line per notebook result and one for the verdicts of `paper` in `profile`.

    A result is up to date when the code that made it is today's, or is joined with it by receipts.
    """
    try:
        return [*_notebook_lines(paper, profile), _verdict_line(paper, profile)]
    except ClaimbookError as error:  # of the pipeline or its claims: no other paper's business
        return [Line(paper.slug, profile, "pipeline", "cannot run", str(error))]


def _notebook_lines(paper: Paper, profile: str) -> Iterator[Line]:
    found: dict[str, list[Path]] = {}
    for folder in result_folders(paper, profile):
        found.setdefault(folder.name.partition("@")[0], []).append(folder)
    missing, extra = unlike_the_pipeline(paper, profile)
    for notebook in paper.notebooks:
        for folder in found.pop(notebook.stem, []):
            if folder.name in extra:
                note = "dvc.yaml has no such arm any more: delete the folder"
                yield Line(paper.slug, profile, folder.name, "orphan", note)
            else:
                yield Line(paper.slug, profile, folder.name, *_notebook_state(notebook, folder))
        for name in missing:
            if name.partition("@")[0] == notebook.stem:
                yield Line(paper.slug, profile, name, "not run")
    for stem in found:
        yield Line(paper.slug, profile, stem, "orphan", "its notebook is gone: delete the folder")


def unlike_the_pipeline(paper: Paper, profile: str) -> tuple[list[str], list[str]]:
    """Results that dvc.yaml lists and that are not there, and arms that it does not list."""
    expected = expected_results(paper, profile)
    there = [folder.name for folder in result_folders(paper, profile)]
    missing = [name for names in expected.values() for name in names if name not in there]
    stages = {name: name.partition("@")[0] for name in there}
    extra = [name for name, stem in stages.items() if name not in expected.get(stem, [name])]
    return missing, extra


def _notebook_state(notebook: Path, folder: Path) -> tuple[str, str, tuple[Receipt, ...]]:
    try:
        made_from = read_inputs(folder)
    except ClaimbookError as error:
        return "damaged", str(error), ()
    profile, arm = folder.parent.name, made_from["arm"]
    try:
        parameters = notebook_parameters(notebook, profile, arm)
        now = current_inputs(notebook, profile, arm, parameters)
    except ClaimbookError as error:
        return "cannot run", str(error), ()
    try:
        vouched = joining(folder, made_from["code"], now["code"])
    except ClaimbookError as error:
        return "damaged", str(error), ()
    code = now.pop("code")
    changed = [] if vouched is not None else ["code"]
    changed += [name for name in ("parameters_hash", "data") if now[name] != made_from[name]]
    if changed:
        names = ", ".join("parameters" if name == "parameters_hash" else name for name in changed)
        return "stale", f"{names} changed{_parameter_changes(now, made_from)}", ()
    if damage := damaged(folder):
        return "damaged", "; ".join(damage), ()
    if unlike := [name for name in now if now[name] != made_from.get(name)]:
        return "damaged", f"inputs.json: {', '.join(unlike)} changed", ()
    joined = tuple(vouched or ()) if made_from["code"] != code else ()
    notes = [vouched_note(joined), _environment_note(folder)]
    return FRESH, "; ".join(note for note in notes if note), joined


def vouched_note(receipts: Sequence[Receipt]) -> str:
    """What the receipts that join a result's code with today's say; nothing without receipts."""
    if not receipts:
        return ""
    argued = sorted({name for one in receipts for name in one.because})
    figures = sorted({name for one in receipts for name in one.figures})
    notes = [f"code changed since; same in smoke at {receipts[-1].commits[1][:7]}"]
    notes += [f"argued for: {', '.join(argued)}"] if argued else []
    notes += [f"old look: {', '.join(figures)}"] if figures else []
    return "; ".join(notes)


def _parameter_changes(now: dict[str, Any], before: dict[str, Any]) -> str:
    new, old = now["parameters"], before["parameters"]
    names = [name for name in sorted(new | old) if new.get(name) != old.get(name)]
    changes = [f"{name}: {old.get(name)} -> {new.get(name)}" for name in names]
    return f" ({'; '.join(changes)})" if changes else ""


def _environment_note(folder: Path) -> str:
    file = folder.parent / "provenance" / f"{folder.name}.json"
    if not file.is_file():
        return "no provenance"
    try:
        noted = dict(read_json(file))
    except (ClaimbookError, TypeError, ValueError):
        return f"no provenance: {relative(file)} cannot be read"
    made = hash_file(folder / "inputs.json")
    if noted.get("results", made) != made:
        return f"no provenance: {relative(file)} is that of other results"
    return "" if noted.get("environment") == environment_hash() else "made in another environment"


def damaged(folder: Path) -> list[str]:
    """What is wrong with a result: files that are not as its `inputs.json` says, or that file."""
    try:
        written = read_inputs(folder)["outputs"]
    except ClaimbookError as error:
        return [str(error)]
    there = {name: value for name, value in hash_tree(folder).items() if name != "inputs.json"}
    names = sorted(written.keys() | there.keys())
    return [
        f"{relative(folder / name)} "
        + ("is missing" if name not in there else "changed" if name in written else "is unknown")
        for name in names
        if written.get(name) != there.get(name)
    ]


def _verdict_line(paper: Paper, profile: str) -> Line:
    file = paper.results(profile) / "verdicts.json"
    if not file.is_file():
        return Line(paper.slug, profile, "judge", "not run")
    try:
        written = dict(read_json(file)["inputs"])
    except (ClaimbookError, KeyError, TypeError, ValueError):
        return Line(paper.slug, profile, "judge", "damaged", f"{relative(file)}: judge again")
    now = _judged_from(paper, profile)
    changed = [name for name in now if now[name] != written.get(name)]
    if changed:
        return Line(paper.slug, profile, "judge", "stale", f"{', '.join(changed)} changed")
    return Line(paper.slug, profile, "judge", FRESH)


def judge_inputs(paper: Paper, profile: str) -> dict[str, Any]:
    """What verdicts are made from: the claims, the judging code and the tables.

    Raises:
        ClaimbookError: a result is damaged, missing or left over, so a verdict on what is there
            would be worth nothing.
    """
    missing, extra = unlike_the_pipeline(paper, profile)
    there = list(result_folders(paper, profile))
    if there and (missing or extra):
        told = [f"{name} is missing: run it" for name in missing]
        told += [f"{name} is left from an arm that is gone: delete it" for name in extra]
        raise ClaimbookError(
            f"{relative(paper.results(profile))} holds other results than "
            f"{relative(paper.pipeline_file)} lists ({'; '.join(told)}). Nothing was judged."
        )
    for folder in there:
        if damage := damaged(folder):
            raise ClaimbookError(
                f"{relative(folder)} is damaged ({'; '.join(damage)}). `./claimbook verify` says "
                "whether DVC's cache is too; delete what it names, and run "
                f"`dvc repro {relative(paper.pipeline_file)}`."
            )
    return _judged_from(paper, profile)


def _judged_from(paper: Paper, profile: str) -> dict[str, Any]:
    return {
        "claims": hash_file(paper.claims_file),
        "code": closure_hashes(paper)["judge"],
        "tables": {
            folder.name: hash_file(folder / "inputs.json")
            for folder in result_folders(paper, profile)
        },
    }

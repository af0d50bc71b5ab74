"""What is committed: up to date, whole, shown on the pages, and able to fail."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from common.workflow.base.project import COMMITTED_PROFILES, ROOT, Paper, all_papers, relative
from common.workflow.claims.judging.decisions import decide
from common.workflow.claims.judging.judge import combine, evidence
from common.workflow.claims.judging.reverse import reverse_all, strengthened
from common.workflow.claims.judging.samples import Paired, Slopes
from common.workflow.claims.kinds import PairedRatio
from common.workflow.claims.schema import load_claims
from common.workflow.claims.verdicts import read_verdicts
from common.workflow.freshness.records import stages
from common.workflow.freshness.status import paper_status
from common.workflow.pages.scoreboard import update_pages
from common.workflow.running.notebook_form import source_notebooks

RESULTS = [
    (paper, profile)
    for paper in all_papers()
    for profile in COMMITTED_PROFILES
    if read_verdicts(paper, profile) is not None
]
CLAIMS = [
    (paper, profile, name)
    for paper, profile in RESULTS
    for name, claim in (read_verdicts(paper, profile) or {})["claims"].items()
    if claim["verdict"] in ("supported", "contradicted")
]
LARGEST = 500_000
"""Bytes that git takes for one paper's results in one profile, for every version of them."""


@pytest.mark.parametrize(("paper", "profile"), RESULTS, ids=str)
def test_results_are_up_to_date_whole_and_small(paper: Paper, profile: str) -> None:
    assert [line for line in paper_status(paper, profile) if not line.fresh] == []
    # Receipts come and go between runs of their notebook, a kilobyte each.
    folders = [one for one in paper.results(profile).iterdir() if one.name != "receipts"]
    files = [file for one in folders for file in [one, *one.rglob("*")] if file.is_file()]
    assert sum(len(zlib.compress(file.read_bytes())) for file in files) < LARGEST


def test_pages_are_up_to_date() -> None:
    assert update_pages(write=False) == []


@pytest.mark.parametrize(("paper", "profile", "name"), CLAIMS, ids=str)
def test_a_decided_claim_could_have_come_out_the_other_way(
    paper: Paper, profile: str, name: str
) -> None:
    claims = load_claims(paper.claims_file)
    test = claims.claim(name).test
    samples = evidence(claims, name, paper.folder / "results", profile).samples
    before = combine([decide(test, sample) for sample in samples]).verdict
    after = [decide(test, sample).verdict for sample in reverse_all(test, samples)]
    if before == "supported":
        assert set(after) == {"contradicted"}
    else:
        assert "supported" in after
    for sample in samples:
        expect = getattr(test, "expect", None)
        if expect is not None and isinstance(sample.data, Paired | Slopes) and spreads(sample.data):
            ratio = isinstance(test, PairedRatio)
            strong = strengthened(sample, sample.bound, expect.side == "above", 0.95, ratio)
            assert decide(test, strong).verdict == "supported"


def spreads(data: Paired | Slopes) -> bool:
    """Whether units differ: where they do not, no effect is too small to be detected."""
    values = data.values if isinstance(data, Slopes) else data.a - data.b
    return bool(values.std() > 0)


@pytest.mark.parametrize("paper", all_papers(), ids=lambda paper: paper.slug)
def test_the_pipeline_covers_the_paper(paper: Paper) -> None:
    """Every notebook is a stage that depends on its code and parameters; judging comes last."""
    pipeline = stages(paper)
    folder = f"papers/{paper.slug}"
    written = []
    for notebook in paper.notebooks:
        stage = pipeline[notebook.stem]
        params = {key: value for one in stage["params"] for key, value in one.items()}
        assert params[f"{folder}/closure.json"] == [notebook.stem]
        assert params[f"{folder}/params.yaml"] == [f"${{profile}}.{notebook.stem}"]
        assert f"{folder}/{notebook.name} --profile ${{profile}}" in stage["cmd"]
        (out,) = stage["plots"]
        ((path, options),) = out.items()
        assert path.startswith(f"{folder}/results/${{profile}}/{notebook.stem}")
        assert options == {"cache": False}
        written.append(path)
    assert pipeline["judge"]["deps"] == [f"{folder}/claims.yaml", *written]
    assert all(stage["wdir"] == "../.." for stage in pipeline.values())


@pytest.mark.parametrize("notebook", source_notebooks(), ids=lambda path: relative(path))
def test_notebooks_are_short_and_name_nobodys_folder(notebook: Path) -> None:
    import json

    cells = json.loads(notebook.read_text())["cells"]
    assert len(cells) <= 25
    assert max(len(cell["source"]) for cell in cells if cell["cell_type"] == "code") <= 25
    assert str(ROOT) not in notebook.read_text()

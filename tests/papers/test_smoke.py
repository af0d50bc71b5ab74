"""Notebooks of papers, headlessly, through the pipeline, in a copy of the tree."""

from __future__ import annotations

import json
import sys
import time

import pytest

from common.workflow.base.project import ROOT, all_papers
from tests.by_need import ALL, Budget, Choice, changed_files, choices, since
from tests.conftest import Tree

CHOICES = [] if ALL else choices()  # `make test-all` runs every paper in two ways, below


def test_there_is_a_paper() -> None:
    assert all_papers()


@pytest.mark.parametrize("choice", CHOICES, ids=lambda one: one.slug)
def test_a_paper_runs(whole_tree: Tree, smoke_budget: Budget, choice: Choice) -> None:
    """Every notebook once: those of papers that changed, and a sample of the others."""
    slug = choice.slug
    pipeline, results = f"papers/{slug}/dvc.yaml", f"papers/{slug}/results/smoke"
    with smoke_budget.taking(choice) as fits:
        if not fits:
            pytest.skip(f"left to `make test-all`: {slug}")
        printed = whole_tree.warm("dvc", "repro", pipeline)
    assert "starts afresh" not in printed
    status = whole_tree.ok("claimbook", "status", slug, "--profile", "smoke")
    assert "up to date" in status
    verdicts = json.loads(whole_tree.contents(results)["verdicts.json"])
    assert all(claim["verdict"] != "not run" for claim in verdicts["claims"].values())


@pytest.mark.slow
@pytest.mark.parametrize("slug", [paper.slug for paper in all_papers()])
def test_a_paper_runs_and_runs_again_to_the_same_bits(whole_tree: Tree, slug: str) -> None:
    """Afresh, then as forks; and nothing runs where nothing changed."""
    pipeline, results = f"papers/{slug}/dvc.yaml", f"papers/{slug}/results/smoke"
    started = time.monotonic()
    whole_tree.ok("dvc", "repro", "--force", "--no-run-cache", pipeline)
    print(f"{slug}: smoke took {time.monotonic() - started:.1f} s")
    again = whole_tree.ok("dvc", "repro", pipeline)
    assert again.count("Running stage") == 1, "only the stage that hashes the code runs again"
    first = measured(whole_tree, results)
    printed = whole_tree.warm("dvc", "repro", "--force", "--no-run-cache", pipeline)
    assert "starts afresh" not in printed
    assert measured(whole_tree, results) == first, "forked kernels measure what fresh ones did"


def measured(tree: Tree, results: str) -> dict[str, bytes]:
    """Everything that a stage wrote; provenance is what may differ."""
    files = tree.contents(results).items()
    return {name: data for name, data in files if not name.startswith("provenance")}


EXECUTE = """
import os, sys
from pathlib import Path
from common.workflow.running.kernel import execute
environment = dict(os.environ) | {"PYTHONPATH": os.getcwd()}
execute(Path(sys.argv[1]), Path("executed.ipynb"), {}, environment=environment, preamble="",
        time_limit=120, report=lambda *cell: None, working_folder="notebooks")
"""

CHANGED = set() if ALL else changed_files(since())


def across_papers(name: str) -> object:
    """Part of every run where it changed, of `make test-all` otherwise."""
    return pytest.param(name, marks=[] if f"notebooks/{name}" in CHANGED else [pytest.mark.slow])


ACROSS_PAPERS = sorted({path.name for path in ROOT.glob("notebooks/*.ipynb")} - {"tour.ipynb"})


@pytest.mark.parametrize("name", [across_papers(name) for name in ACROSS_PAPERS])
def test_a_notebook_across_papers_runs(whole_tree: Tree, name: str) -> None:
    whole_tree.ok(sys.executable, "-c", EXECUTE, f"notebooks/{name}")


@pytest.mark.parametrize("name", [across_papers("tour.ipynb")])
def test_the_tour_shows_the_verdict_move(whole_tree: Tree, name: str) -> None:
    whole_tree.ok(sys.executable, "-c", EXECUTE, f"notebooks/{name}")
    executed = json.loads((whole_tree.root / "executed.ipynb").read_text())
    outputs = {cell["id"]: cell.get("outputs", []) for cell in executed["cells"]}
    told = {name: "".join(outputs[name][0]["text"]) for name in ("keep", "keep_cauchy")}
    assert told["keep"].startswith("Our runs do not decide this")
    assert told["keep_cauchy"].startswith("Our runs contradict this")
    restored = "".join("".join(one["text"]) for one in outputs["back"])
    assert "01_measure' is cached" in restored and "supported" in restored

"""Every notebook of every paper, headlessly, through the pipeline, in a copy of the tree."""

from __future__ import annotations

import json
import sys
import time

import pytest

from common.workflow.base.project import ROOT, all_papers
from tests.conftest import Tree

SLUGS = [paper.slug for paper in all_papers()]


def test_there_is_a_paper() -> None:
    assert SLUGS


@pytest.mark.parametrize("slug", SLUGS)
def test_a_paper_runs_and_runs_again_to_the_same_bits(whole_tree: Tree, slug: str) -> None:
    pipeline, results = f"papers/{slug}/dvc.yaml", f"papers/{slug}/results/smoke"
    started = time.monotonic()
    whole_tree.ok("dvc", "repro", pipeline)
    print(f"{slug}: smoke took {time.monotonic() - started:.1f} s")

    status = whole_tree.ok("claimbook", "status", slug, "--profile", "smoke")
    assert "up to date" in status
    verdicts = json.loads(whole_tree.contents(results)["verdicts.json"])
    assert all(claim["verdict"] != "not run" for claim in verdicts["claims"].values())

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


ACROSS_PAPERS = sorted({path.name for path in ROOT.glob("notebooks/*.ipynb")} - {"tour.ipynb"})


@pytest.mark.parametrize("name", ACROSS_PAPERS)
def test_a_notebook_across_papers_runs(whole_tree: Tree, name: str) -> None:
    whole_tree.ok(sys.executable, "-c", EXECUTE, f"notebooks/{name}")


def test_the_tour_shows_the_verdict_move(whole_tree: Tree) -> None:
    whole_tree.ok(sys.executable, "-c", EXECUTE, "notebooks/tour.ipynb")
    executed = json.loads((whole_tree.root / "executed.ipynb").read_text())
    outputs = {cell["id"]: cell.get("outputs", []) for cell in executed["cells"]}
    told = {name: "".join(outputs[name][0]["text"]) for name in ("keep", "keep_cauchy")}
    assert told["keep"].startswith("Our runs do not decide this")
    assert told["keep_cauchy"].startswith("Our runs contradict this")
    restored = "".join("".join(one["text"]) for one in outputs["back"])
    assert "01_measure' is cached" in restored and "supported" in restored

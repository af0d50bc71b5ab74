"""What a user waits for when there is nothing to do, and around every notebook.

Rivals, in the same run: the bare `papermill` command for a notebook, and the bare interpreter for
light commands. For a pipeline with nothing to do there is none but DVC itself, so the share of
our own stage is shown.

    python -m benchmarks.pipeline_overhead --papers 1 20 150
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common.workflow.base.project import ROOT
from common.workflow.scaffold import copy_without_papers

EMPTY = {"cell_type": "code", "id": "empty", "metadata": {}, "source": ["1"]} | {
    "execution_count": None,
    "outputs": [],
}


def median_seconds(command: list[str], folder: Path, repeats: int) -> float:
    """Median wall time of a command that has to succeed."""
    environment = dict(os.environ) | {"CLAIMBOOK_PYTHON": sys.executable, "DVC_NO_ANALYTICS": "1"}
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        times.append(time.perf_counter() - started)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return statistics.median(times)


def light_commands(repeats: int) -> None:
    """Commands that should feel immediate."""
    bare = median_seconds([sys.executable, "-c", "pass"], ROOT, repeats)
    for words in (["--help"], ["run", "--help"], ["normalise", "--check"]):
        seconds = median_seconds([str(ROOT / "claimbook"), *words], ROOT, repeats)
        print(f"claimbook {' '.join(words):20} {seconds:.2f} s, {seconds / bare:.0f}x bare python")


def notebook_overhead(tree: Path, repeats: int) -> None:
    """An almost empty notebook: ours, and papermill's command."""
    file = tree / "papers" / "paper_000" / "01_measure.ipynb"
    notebook = json.loads(file.read_text())
    kept = [cell for cell in notebook["cells"] if cell["metadata"].get("tags")]
    file.write_text(json.dumps(notebook | {"cells": [*kept, EMPTY]}))
    ours = ["./claimbook", "run", f"papers/paper_000/{file.name}", "--profile", "smoke"]
    rival = [sys.executable, "-m", "papermill", "-k", "python3", str(file), str(tree / "out.ipynb")]
    a, b = median_seconds(ours, tree, repeats), median_seconds(rival, tree, repeats)
    print(f"an empty notebook: claimbook run {a:.2f} s, papermill {b:.2f} s, ratio {a / b:.2f}")


def nothing_to_do(tree: Path, papers: int, repeats: int) -> None:
    """`dvc repro` of one paper that is up to date among `papers`."""
    command = [sys.executable, "-m", "dvc", "repro", "papers/paper_000/dvc.yaml"]
    median_seconds(command, tree, 1)
    seconds = median_seconds(command, tree, repeats)
    closure = median_seconds(["./claimbook", "closure", "paper_000"], tree, repeats)
    print(f"nothing to do, {papers:3} papers: {seconds:.2f} s, of which closure {closure:.2f} s")


def main() -> None:
    """Parse the command line and print the measurements."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--papers", type=int, nargs="+", default=[1, 20, 150])
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    light_commands(arguments.repeats)
    with tempfile.TemporaryDirectory(prefix="claimbook-bench-") as folder:
        tree = Path(folder)
        copy_without_papers(tree)
        made = 0
        for papers in sorted(arguments.papers):
            for number in range(made, papers):
                median_seconds(["./claimbook", "new-paper", f"paper_{number:03}"], tree, 1)
            made = papers
            nothing_to_do(tree, papers, arguments.repeats)
        notebook_overhead(tree, arguments.repeats)


if __name__ == "__main__":
    main()

"""What a fork server saves around every notebook, against kernels that start afresh.

python -m benchmarks.warm_start                # an empty notebook, and the smoke run of a paper
python -m benchmarks.warm_start --make-test    # the whole of `make test` too: many minutes
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.workflow.base.project import ROOT
from common.workflow.scaffold import copy_without_papers

EMPTY = {"cell_type": "code", "id": "empty", "metadata": {}, "source": ["1"]} | {
    "execution_count": None,
    "outputs": [],
}

TIMES = """
import json, subprocess, sys, time
times = []
for _ in range(int(sys.argv[1])):
    started = time.perf_counter()
    subprocess.run(sys.argv[2:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    times.append(time.perf_counter() - started)
print(json.dumps(times))
"""
"""Wall times of a command, from inside `claimbook warm` or outside."""


def wall_times(command: list[str], folder: Path, repeats: int, warm: bool) -> list[float]:
    """Wall times of a command that has to succeed; its first run, cold, is not among them."""
    environment = dict(os.environ) | {"CLAIMBOOK_PYTHON": sys.executable, "DVC_NO_ANALYTICS": "1"}
    whole = [sys.executable, "-c", TIMES, str(repeats + 1), *command]
    if warm:
        whole = ["./claimbook", "warm", *whole]
    done = subprocess.run(whole, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(whole)} failed:\n{done.stdout}{done.stderr}")
    return list(json.loads(done.stdout.splitlines()[-1]))[1:]


def compare(what: str, command: list[str], folder: Path, repeats: int) -> None:
    """Print both medians and their ratio; the two ways take turns."""
    fresh: list[float] = []
    warm: list[float] = []
    for _ in range(2):
        fresh += wall_times(command, folder, repeats, warm=False)
        warm += wall_times(command, folder, repeats, warm=True)
    a, b = statistics.median(fresh), statistics.median(warm)
    print(f"{what}: afresh {a:.2f} s, forked {b:.2f} s, ratio {b / a:.2f}", flush=True)


@contextmanager
def empty_notebook() -> Iterator[Path]:
    """A copy of the project with one paper whose notebook does nothing."""
    with tempfile.TemporaryDirectory(prefix="claimbook-bench-") as folder:
        tree = Path(folder)
        copy_without_papers(tree)
        subprocess.run(["./claimbook", "new-paper", "paper"], cwd=tree, check=True)
        file = tree / "papers" / "paper" / "01_measure.ipynb"
        notebook = json.loads(file.read_text())
        kept = [
            cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", [])
        ]
        file.write_text(json.dumps(notebook | {"cells": [*kept, EMPTY]}))
        yield tree


@contextmanager
def copy_of_the_project() -> Iterator[Path]:
    """The working tree in profile smoke, uncommitted files included."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    with tempfile.TemporaryDirectory(prefix="claimbook-bench-") as folder:
        for name in listed:
            if (ROOT / name).is_file():
                (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, Path(folder) / name)
        parameters = Path(folder) / "params.yaml"
        parameters.write_text(parameters.read_text().replace("profile: cpu", "profile: smoke"))
        subprocess.run(["git", "init", "-q", folder], check=True)
        yield Path(folder)


def make_test() -> None:
    """`make test` as it is, and with every notebook in a kernel of its own."""
    for how, extra in (("forked", {}), ("afresh", {"CLAIMBOOK_TEST_FRESH": "1"})):
        started = time.perf_counter()
        subprocess.run(["make", "test"], cwd=ROOT, env=dict(os.environ) | extra, check=True)
        print(f"make test, {how}: {time.perf_counter() - started:.0f} s", flush=True)


def main() -> None:
    """Parse the command line and print the measurements."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--paper", default="mces_finite_sample")
    parser.add_argument("--make-test", action="store_true")
    arguments = parser.parse_args()
    with empty_notebook() as tree:
        run = ["./claimbook", "run", "papers/paper/01_measure.ipynb", "--profile", "smoke"]
        compare("an empty notebook", run, tree, arguments.repeats)
    with copy_of_the_project() as tree:
        pipeline = f"papers/{arguments.paper}/dvc.yaml"
        repro = [sys.executable, "-m", "dvc", "repro", "--force", "--no-run-cache", pipeline]
        compare(f"smoke of {arguments.paper}", repro, tree, 1)
    if arguments.make_test:
        make_test()


if __name__ == "__main__":
    main()

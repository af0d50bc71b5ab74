"""What workers gain, and what a task costs.

A paper of sleeping notebooks is reproduced without workers (the rival: one stage after another in
one clone), on one worker and on two. Sleep needs no processor, so the ratio shows the overhead of
scaling out, not how well two notebooks share a machine.

    python -m benchmarks.scale_out --notebooks 4 --seconds 20
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.pipeline_overhead import copy_without_papers, median_seconds

TABLE = r"\"errors\", keys"
"""As it stands in the notebook file: a claim wants its table from one notebook only."""


def sleeping_paper(tree: Path, notebooks: int, seconds: float) -> None:
    """The skeleton paper `sleeper`, its notebook copied, each copy sleeping first."""
    median_seconds(["./claimbook", "new-paper", "sleeper"], tree, 1)
    folder = tree / "papers" / "sleeper"
    first = folder / "01_measure.ipynb"
    notebook = json.loads(first.read_text())
    (cell,) = [cell for cell in notebook["cells"] if cell["id"] == "run"]
    cell["source"] = [f"import time; time.sleep({seconds})\n", *cell["source"]]
    first.write_text(json.dumps(notebook))
    pipeline, parameters = folder / "dvc.yaml", folder / "params.yaml"
    stages, blocks = pipeline.read_text(), parameters.read_text()
    stage = re.search(r"  01_measure:\n(?:    .*\n|\n)+", stages)[0]
    block = re.search(r"(?s)smoke:\n(.*?)(?=^\w)", blocks, flags=re.MULTILINE)[1]
    for number in range(2, notebooks + 1):
        name = f"{number:02}_measure"
        copy = json.dumps(notebook).replace(TABLE, TABLE.replace("errors", f"errors_{number}"))
        (folder / f"{name}.ipynb").write_text(copy)
        stages = stages.replace("  judge:\n", stage.replace("01_measure", name) + "  judge:\n")
        blocks = blocks.replace("smoke:\n", "smoke:\n" + block.replace("01_measure", name))
    pipeline.write_text(stages)
    parameters.write_text(blocks)
    git = ["git", "-c", "user.name=b", "-c", "user.email=b@example.org", "-C", str(tree)]
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-qm", "a benchmark"], check=True)


def reproduce(tree: Path, *options: str) -> tuple[float, str]:
    """Wall time of a reproduction, and what it printed."""
    command = ["./claimbook", "reproduce", "sleeper", "--profile", "smoke", *options]
    environment = dict(os.environ) | {"CLAIMBOOK_PYTHON": sys.executable}
    started = time.perf_counter()
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return seconds, done.stderr


def main() -> None:
    """Parse the command line and print the measurements."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--notebooks", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    notebooks, sleep = arguments.notebooks, arguments.seconds
    with tempfile.TemporaryDirectory(prefix="claimbook-bench-") as folder:
        tree = Path(folder)
        copy_without_papers(tree)
        sleeping_paper(tree, notebooks, sleep)
        plain, _ = reproduce(tree)
        print(
            f"{notebooks} notebooks that sleep {sleep:g} s, one after another: {plain:.0f} s; "
            f"overhead of a notebook {plain / notebooks - sleep:.1f} s"
        )
        for workers in (1, 2):
            seconds, printed = reproduce(tree, "--workers", str(workers))
            tasks = float(re.search(r"the tasks took (\d+) s together", printed)[1])
            print(
                f"{workers} workers: {seconds:.0f} s, {plain / seconds:.2f} times as fast; "
                f"overhead of a task {tasks / notebooks - sleep:.1f} s"
            )


if __name__ == "__main__":
    main()

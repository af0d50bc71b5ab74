"""Core-seconds of `make test` by phase, now and with many papers.

Phases: unit (the library), trees (the workflow in copies of the project), smoke (papers in
miniature), pages (what is committed, claim by claim). Two workers share two cores, so a test's
seconds are about as many seconds of one core. There is no rival but the clock: under nine minutes
now, under twenty with 150 papers.

    python -m benchmarks.test_phases [--papers 150]
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from common.workflow.base.project import ROOT, all_papers

PHASES = {
    "smoke": "tests/papers/test_smoke",
    "pages": "tests/papers/test_committed",
    "trees": ("tests/pipeline", "tests/common/workflow", "tests/test_environment"),
    "unit": "tests/",
}
"""How the names of a phase's tests begin; the first that fits counts."""


PLANT = """
import shutil, sys
from common.workflow.base.project import Paper
from common.workflow.claims.verdicts import judge_paper
from common.workflow.pages.scoreboard import update_pages
from common.workflow.running.runner import run_notebook
from common.workflow.scaffold import make_paper
papers = [Paper(f"planted_{number:03d}") for number in range(int(sys.argv[1]))]
for paper in papers:
    make_paper(paper.slug)
first = run_notebook(papers[0].notebooks[0], "cpu")
for paper in papers:  # what the skeleton measures does not depend on its name
    if paper != papers[0]:
        shutil.copytree(first, paper.results("cpu") / first.name)
    judge_paper(paper, "cpu")
update_pages()
"""


def planted(folder: Path, papers: int) -> Path:
    """A clone with copies of the skeleton beside the papers, run and judged."""
    clone = folder / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    environment = dict(os.environ) | {"CLAIMBOOK_PYTHON": sys.executable, "PYTHONPATH": str(clone)}
    number = str(papers - len(all_papers()))
    subprocess.run([sys.executable, "-c", PLANT, number], cwd=clone, env=environment, check=True)
    who = ["-c", "user.name=benchmark", "-c", "user.email=benchmark@example.org"]
    for words in (["add", "-A"], ["commit", "-qm", "planted"]):
        subprocess.run(["git", *who, *words], cwd=clone, check=True)
    return clone


def main() -> None:
    """Run the quick tests once and add up."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--papers", type=int, default=len(all_papers()))
    papers = parser.parse_args().papers
    with tempfile.TemporaryDirectory(prefix="claimbook-") as name:
        here = ROOT if papers <= len(all_papers()) else planted(Path(name), papers)
        started = time.perf_counter()
        command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal"]
        done = subprocess.run(
            [*command, "--durations=0", "-vv"], cwd=here, capture_output=True, text=True
        )
        minutes = (time.perf_counter() - started) / 60
    seconds: Counter[str] = Counter()
    for found in re.finditer(r"(?m)^([\d.]+)s (?:call|setup|teardown) +(\S+)", done.stdout):
        phase = next(one for one, starts in PHASES.items() if found[2].startswith(starts))
        seconds[phase] += float(found[1])
    print(f"{papers} papers: {minutes:.1f} minutes; {done.stdout.strip().splitlines()[-1]}")
    for phase, total in seconds.most_common():
        print(f"  {phase}: {total:.0f} core-seconds")


if __name__ == "__main__":
    main()

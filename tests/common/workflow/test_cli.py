"""The command line: light to start, and clear when something is wrong."""

from __future__ import annotations

import subprocess
import sys

import pytest

from common.workflow.base.project import ROOT

HEAVY = "{'pandas', 'scipy', 'statsmodels', 'torch', 'papermill', 'numba', 'matplotlib', 'grimp'}"


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "common.workflow", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_light_commands_import_nothing_heavy() -> None:
    code = (
        "import sys, common.workflow.cli\n"
        "import common.workflow.claims.schema, common.workflow.freshness.status\n"
        f"found = {HEAVY} & set(sys.modules)\n"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_help_lists_every_command() -> None:
    printed = run("--help").stdout
    for command in ("run", "judge", "explain", "status", "verify", "reproduce", "new-paper"):
        assert command in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["explain", "mces_finite_sample"], "write <paper>/<claim>"),
        (["explain", "mces_finite_sample/C9"], "has no claim 'C9'; it has C1"),
        (["explain", "mces_finite_samples/C1"], "did you mean 'mces_finite_sample'"),
        (["status", "--profile", "cup"], "did you mean 'cpu'"),
        (["run", "nothing.ipynb"], "does not exist"),
        (["run", "notebooks/scoreboard.ipynb"], "is no notebook of a paper"),
        (["bench", "nothing"], "benchmarks/nothing.py does not exist"),
    ],
)
def test_mistakes_get_a_message_and_no_traceback(words: list[str], message: str) -> None:
    done = run(*words)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr

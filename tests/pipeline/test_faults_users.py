"""Two users, or two runs at once, in the same tree."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Tree
from tests.pipeline.faults import (
    NOTEBOOK,
    PIPELINE,
    REPRO,
    RESULTS,
    RUN,
    SMOKE,
    kill,
    lasting,
    printed,
    start,
    wait_for,
    wait_without_second_writers,
)
from tests.pipeline.test_faults_disk import started

pytestmark = pytest.mark.slow

NOBODY = "65534"


@pytest.fixture
def other(tmp_path: Path) -> tuple[str, ...]:
    """A command that runs another one as another user, who may read everything."""
    reads = "+dac_read_search"  # whichever Python the tests run on, in whosever home
    command = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    command += (f"--inh-caps={reads}", f"--ambient-caps={reads}")
    try:
        done = subprocess.run([*command, sys.executable, "-c", ""], capture_output=True)
    except OSError:
        pytest.skip("setpriv is not installed")
    if done.returncode:
        pytest.skip("no other user may be taken on here")
    home = tmp_path / "home"
    home.mkdir(mode=0o777)
    os.chown(home, int(NOBODY), int(NOBODY))
    return (*command, "env", f"HOME={home}", "USER=nobody", f"TMPDIR={home}")


def test_somebody_elses_tree_can_be_read(finished: Tree, other: tuple[str, ...]) -> None:
    before = lasting(finished)
    assert "0 damaged" in finished.ok(*other, *started(("claimbook", "verify")))
    explain = ("claimbook", "explain", "toy/C1", "--profile", "smoke")
    assert "mean exponent" in finished.ok(*other, *started(explain))
    for command in (("claimbook", "judge", "toy"), REPRO):
        assert "Permission denied" in finished.fails(*other, *started(command))
    assert lasting(finished) == before


def open_to_all(tree: Tree) -> None:
    subprocess.run(["chmod", "-R", "a+rwX", str(tree.root)], check=True)


def test_a_shared_tree_is_worked_in_by_turns(finished: Tree, other: tuple[str, ...]) -> None:
    before = lasting(finished)
    open_to_all(finished)
    finished.ok(*other, *started(RUN))
    finished.ok(*other, *started(("dvc", "repro", "-f", "-s", f"{PIPELINE}:judge")))
    assert lasting(finished) == before
    assert (finished.root / SMOKE / "verdicts.json").stat().st_uid == int(NOBODY)
    finished.ok(*RUN)
    assert lasting(finished) == before


def test_somebody_elses_run_is_not_disturbed(finished: Tree, other: tuple[str, ...]) -> None:
    finished.edit_cell(NOTEBOOK, "run", "import time\ntime.sleep(100)")
    open_to_all(finished)
    run = start(finished, *RUN)
    wait_for(lambda: "cell 7/" in printed(finished))
    refused = finished.fails(*other, *started(RUN))
    assert f"another run (process {run.pid}) is writing {SMOKE}/01_measure" in refused
    finished.command(*other, *started(("claimbook", "status", "toy")))
    assert run.poll() is None
    assert len(list((finished.root / RESULTS / "_partial").glob("smoke-*"))) == 1
    kill(run, whole_group=True)


@pytest.mark.parametrize(
    "again",
    [RUN, ("dvc", "repro", "-f", "-s", f"{PIPELINE}:01_measure")],
    ids=["runners", "pipelines"],
)
def test_two_at_once_do_not_mix(finished: Tree, again: tuple[str, ...]) -> None:
    before = lasting(finished)
    names = ("first", "second")
    both = [start(finished, *again, out=name) for name in names]
    ended = [wait_without_second_writers(finished, one) for one in both]
    assert 0 in ended
    for status, name in zip(ended, names, strict=True):
        told = printed(finished, name)
        assert status == 0 or any(word in told for word in ("busy", "another run", "lock")), told
    finished.ok(*REPRO)
    assert lasting(finished) == before

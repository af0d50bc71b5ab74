"""Interrupts, orphans, and kills of single commands."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.conftest import Tree
from tests.pipeline.faults import (
    MEASURED,
    NOTEBOOK,
    REPRO,
    RESULTS,
    RUN,
    SMOKE,
    assert_no_half_result,
    assert_nothing_left_over,
    kill,
    lasting,
    printed,
    processes,
    start,
    wait_for,
    writers,
)

pytestmark = pytest.mark.slow

AGAIN = ("dvc", "repro", "-f", "papers/toy/dvc.yaml")


@pytest.mark.parametrize("moment", ["cell 7/", "> ./claimbook judge"], ids=["cell", "judge"])
def test_an_interrupt_ends_the_pipeline_cleanly(finished: Tree, moment: str) -> None:
    before = lasting(finished)
    shutil.rmtree(finished.root / ".dvc/cache")
    run = start(finished, *AGAIN)
    wait_for(lambda: moment in printed(finished))
    os.killpg(run.pid, signal.SIGINT)  # as the terminal does on Ctrl-C
    assert run.wait(timeout=30) != 0
    assert "Traceback" not in printed(finished)
    assert_no_half_result(finished, [before])
    assert_nothing_left_over_but_checkpoints(finished)
    finished.ok(*REPRO)
    assert lasting(finished) == before
    assert_nothing_left_over(finished)


def assert_nothing_left_over_but_checkpoints(tree: Tree) -> None:
    wait_for(lambda: not processes(tree), 20)
    assert not list((tree.root / RESULTS / "_partial").glob("smoke-*"))


@pytest.mark.parametrize(("command", "stage"), [("run", "01_measure"), ("judge", "judge")])
def test_a_stage_whose_dvc_dies_before_it_can_look_ends(
    finished: Tree, command: str, stage: str
) -> None:
    """`dvc` is killed while the stage still imports what it needs to look for its `dvc`."""
    run = start(finished, "dvc", "repro", "-f", "-s", f"papers/toy/dvc.yaml:{stage}")
    dvc, started = psutil.Process(run.pid), None
    while started is None:
        started = stage_of(dvc, command)
        assert run.poll() is None, printed(finished)
    started.suspend()
    kill(run, whole_group=False)
    before = finished.contents(SMOKE)
    started.resume()
    psutil.wait_procs([started], timeout=30)
    assert not started.is_running()
    assert "the `dvc` that started this stage is gone" in printed(finished)
    assert finished.contents(SMOKE) == before
    finished.ok(*REPRO)


def stage_of(dvc: psutil.Process, command: str) -> psutil.Process | None:
    try:
        calls = [(child, child.cmdline()) for child in dvc.children(recursive=True)]
    except psutil.Error:
        return None
    wanted = ["-m", "common.workflow", command]
    return next((child for child, called in calls if called[1:4] == wanted), None)


HOLDING = """\
import ctypes

ctypes.PyDLL(None).sleep(60)  # holds the interpreter, so the kernel cannot look for its runner
"""


def test_a_kernel_that_outlives_its_runner_is_ended_before_the_next(finished: Tree) -> None:
    before = lasting(finished)
    good = (finished.root / NOTEBOOK).read_bytes()
    finished.edit_cell(NOTEBOOK, "run", HOLDING)
    run = start(finished, *RUN)
    wait_for(lambda: "cell 7/" in printed(finished))
    time.sleep(0.5)  # now it sleeps
    kill(run, whole_group=True)
    (orphan,) = writers(finished)
    time.sleep(2)
    assert writers(finished) == {orphan}, "the orphan should have lived on by itself"
    (finished.root / NOTEBOOK).write_bytes(good)
    finished.ok(*RUN)
    assert writers(finished) == set()
    assert lasting(finished) == before
    assert_nothing_left_over(finished)


def kill_all_along(tree: Tree, command: tuple[str, ...], file: Path, whole: list[bytes]) -> int:
    """Kill a command at four moments of its life; how many kills came before its end."""
    started = time.monotonic()
    tree.ok(*command)
    seconds, early = time.monotonic() - started, 0
    for part in range(1, 5):
        file.write_bytes(whole[0])
        run = start(tree, *command)
        time.sleep(seconds * part / 4)
        early += run.poll() is None
        kill(run, whole_group=True)
        assert file.read_bytes() in whole, f"{file.name} is half-written at {part}/4"
    tree.ok(*command)
    assert file.read_bytes() == whole[1]
    return early


def test_killed_pages_and_verdicts_are_the_old_or_the_new(finished: Tree) -> None:
    page = finished.root / "SCOREBOARD.md"
    new = page.read_bytes()
    assert kill_all_along(finished, ("claimbook", "scoreboard"), page, [b"old\n", new]) > 1
    verdicts = finished.root / SMOKE / "verdicts.json"
    old = json.dumps(json.loads(verdicts.read_text())).encode()
    judge = ("claimbook", "judge", "toy", "--profile", "smoke")
    assert kill_all_along(finished, judge, verdicts, [old, verdicts.read_bytes()]) > 1


def test_a_killed_write_leaves_the_old_file(finished: Tree) -> None:
    """Killed in the very middle of writing, which no clock could aim at."""
    file = finished.root / "page.md"
    file.write_text("old\n")
    code = (
        "import os, signal, pathlib\n"
        "os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from common.workflow.base.files import write_text\n"
        "write_text(pathlib.Path('page.md'), 'new\\n')\n"
    )
    assert finished.command(sys.executable, "-c", code).returncode == -signal.SIGKILL
    assert file.read_text() == "old\n"


def test_a_folder_that_cannot_be_replaced_stays(finished: Tree) -> None:
    """Interrupted between the two renames: the earlier result comes back."""
    before = finished.contents(MEASURED)
    code = (
        "import os, pathlib\n"
        "from common.workflow.base.files import replace_folder\n"
        f"new, final = pathlib.Path('new'), pathlib.Path('{MEASURED}')\n"
        "new.mkdir()\n"
        "rename = os.replace\n"
        "def interrupted(source, target):\n"
        "    if source == new:\n"
        "        raise KeyboardInterrupt\n"
        "    rename(source, target)\n"
        "os.replace = interrupted\n"
        "replace_folder(new, final)\n"
    )
    assert finished.command(sys.executable, "-c", code).returncode != 0
    assert finished.contents(MEASURED) == before

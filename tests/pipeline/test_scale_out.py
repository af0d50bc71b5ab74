"""Reproductions on Dask workers come out as those without, whatever happens to a worker."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from tests.conftest import Tree, copy_tree
from tests.pipeline.test_dvc import stages_run

IDENTICAL = "identical: every measurement and verdict, to the bit"
SIZES = "sample_sizes: [16, 64, 256, 1024, 4096]"


def without_papers(name: str) -> bool:
    return not name.startswith("papers/") or name.count("/") == 1


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """Two papers, `alpha` and `beta`, with committed cpu results."""
    tree = copy_tree(tmp_path_factory.mktemp("pair"), without_papers)
    for slug in ("alpha", "beta"):
        tree.ok("claimbook", "new-paper", slug)
        tree.edit(f"papers/{slug}/params.yaml", SIZES, "sample_sizes: [16, 64]")
    tree.ok("dvc", "repro", "-R", "papers")
    tree.commit()
    return tree


@pytest.fixture
def pair(committed: Tree, tmp_path: Path) -> Tree:
    """A copy of `committed`, to change at will."""
    shutil.copytree(committed.root, tmp_path / "pair", symlinks=True)
    return Tree(tmp_path / "pair")


@contextmanager
def started(tree: Tree, *options: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """`./claimbook reproduce`, in a process group of its own."""
    process = subprocess.Popen(
        ["./claimbook", "reproduce", *options],
        cwd=tree.root,
        env=tree.environment | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def read_until(process: subprocess.Popen[str], wanted: str) -> str:
    assert process.stdout is not None
    printed = ""
    for line in process.stdout:
        printed += line
        if re.search(wanted, line):
            return printed
    raise AssertionError(f"{wanted!r} never came:\n{printed}")


def stage_process(process: subprocess.Popen[str], target: str) -> psutil.Process:
    """The `dvc` of the task `target`, far below `process`."""
    (found,) = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if child.cmdline()[1:] == ["-m", "dvc", "repro", target]
    ]
    return found


def wait_for(what: str, happened: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


def test_two_workers(toy: Tree) -> None:
    """The quick one: one paper in miniature."""
    toy.commit()
    printed = toy.ok("claimbook", "reproduce", "toy", "--profile", "smoke", "--workers", "2")
    assert "papers/toy/dvc.yaml:01_measure  worker" in printed
    assert "1 done in" in printed
    assert "C1    not decidable here" in printed


@pytest.mark.slow
def test_a_killed_worker_costs_nothing_but_time(pair: Tree) -> None:
    pair.edit(
        "papers/alpha/01_measure.ipynb", "rows = []", "import time; time.sleep(12); rows = []"
    )
    pair.commit()
    with started(pair, "all", "--workers", "2") as process:
        printed = read_until(process, r"alpha/dvc.yaml:01_measure  worker \d  cell [67]/")
        dvc = stage_process(process, "papers/alpha/dvc.yaml:01_measure")
        stage = dvc.children(recursive=True)
        assert stage
        worker = dvc.parents()[1]
        assert "spawn_main" in " ".join(worker.cmdline())
        worker.kill()
        # Sooner than by itself: whoever prints to a pipe without a reader ends, too.
        wait_for("the stage's end", lambda: not any(one.is_running() for one in [dvc, *stage]), 8)
        rest, _ = process.communicate(timeout=200)
    printed += rest
    assert process.returncode == 0, printed
    assert "(1 started again)" in printed
    assert printed.count(IDENTICAL) == 2


@pytest.mark.slow
def test_a_failing_stage_is_told_once_and_the_others_go_on(pair: Tree) -> None:
    pair.edit("papers/alpha/01_measure.ipynb", "rows = []", "raise ValueError('broken here')")
    pair.commit()
    printed = pair.fails("claimbook", "reproduce", "all", "--workers", "2")
    assert "1 failed, 1 done in" in printed and "started again" not in printed
    assert "error: papers/alpha/dvc.yaml:01_measure failed:\n" in printed
    assert "raised ValueError: broken here" in printed
    assert printed.count(IDENTICAL) == 1


@pytest.mark.slow
def test_an_interrupt_leaves_nothing_behind(pair: Tree, tmp_path: Path) -> None:
    pair.edit("papers/alpha/01_measure.ipynb", "rows = []", "import time; time.sleep(60)")
    pair.commit()
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with started(pair, "alpha", "--workers", "1", TMPDIR=str(temporary)) as process:
        read_until(process, "cell [67]/")
        children = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)
        printed, _ = process.communicate(timeout=30)
    assert process.returncode == 130, printed
    assert "Traceback" not in printed
    wait_for("the children's end", lambda: not any(child.is_running() for child in children))
    assert not list(temporary.glob("claimbook-*"))


@pytest.mark.slow
def test_the_gpu_tag_and_what_nobody_committed(pair: Tree) -> None:
    pair.edit("papers/alpha/params.yaml", "[16, 64, 256, 1024, 4096, 16384]", "[16, 64]")
    pair.commit()
    call = ("claimbook", "reproduce", "alpha", "--profile", "gpu", "--workers", "1")
    no_gpu = {"CUDA_VISIBLE_DEVICES": ""}
    assert "finds 0 GPUs for 1 workers" in pair.fails(*call, environment=no_gpu)
    on_processors = {"CLAIMBOOK_WITHOUT_GPU": "1"}
    printed = pair.ok(*call, environment=on_processors)
    assert "nothing committed to compare with" in printed
    assert "with `profile: gpu` in params.yaml, `dvc repro papers/alpha/dvc.yaml`" in printed
    pair.edit("params.yaml", "profile: cpu", "profile: gpu")
    restored = pair.ok("dvc", "repro", "papers/alpha/dvc.yaml", environment=on_processors)
    assert stages_run(restored) == ["closure", "judge"]
    lines = pair.ok("claimbook", "status", "alpha", "--profile", "gpu")
    assert lines.count("up to date") == 2 and "no provenance" not in lines


# ------------------------------------------------------------------------------------- a scheduler


@contextmanager
def scheduler(folder: Path, workers: int) -> Iterator[str]:
    """A scheduler file; `workers` work for it, started where no checkout is."""
    file = folder / "scheduler.json"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    quiet = {"cwd": folder, "env": environment, "stderr": subprocess.DEVNULL}
    local = ["--scheduler-file", str(file), "--host", "127.0.0.1", "--no-dashboard"]
    dask_worker = ["worker", "--nthreads", "1", "--no-nanny", "--local-directory", str(folder)]
    calls = [["scheduler", "--port", "0"], *([dask_worker] * workers)]
    processes = []
    try:
        for call in calls:
            command = [sys.executable, "-m", "dask", *call, *local]
            processes.append(subprocess.Popen(command, **quiet))  # type: ignore[call-overload]
        yield str(file)
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_a_scheduler_whose_workers_know_no_checkout(
    pair: Tree, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with scheduler(elsewhere, 2) as file:
        printed = pair.ok("claimbook", "reproduce", "all", "--scheduler", file)
        assert printed.count(IDENTICAL) == 2
        assert not list((pair.root / ".dvc/tmp").glob("reproduce-*"))
        gpu = pair.fails("claimbook", "reproduce", "all", "--profile", "gpu", "--scheduler", file)
        assert "none of the 2 workers declares a GPU" in gpu
        assert list(elsewhere.glob("dask-scratch-space/worker-*"))
        assert not list(elsewhere.glob("dask-scratch-space/worker-*/*/clone"))


@pytest.mark.slow
def test_an_interrupt_ends_the_tasks_of_a_scheduler(
    pair: Tree, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pair.edit("papers/alpha/01_measure.ipynb", "rows = []", "import time; time.sleep(60)")
    pair.commit()
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with scheduler(elsewhere, 1) as file, started(pair, "alpha", "--scheduler", file) as process:
        read_until(process, "cell [67]/")
        clones = list(elsewhere.glob("dask-scratch-space/worker-*/*/clone"))
        assert len(clones) == 1
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=30) == 130
        wait_for("the clone's end", lambda: not clones[0].exists())


@pytest.mark.slow
def test_calls_that_cannot_work_say_why(toy: Tree) -> None:
    toy.commit()
    for options, said in [
        (["--workers", "0"], "--workers 0: at least one is needed"),
        (["--workers", "2", "--scheduler", "tcp://127.0.0.1:1"], "give one of them"),
        (["--shared", "/tmp"], "--shared is for --workers or --scheduler"),
        (["--scheduler", "somewhere"], "no such file, and no address such as tcp://"),
        (["--scheduler", "tcp://127.0.0.1:1"], "no Dask scheduler answers at tcp://127.0.0.1:1"),
        (["--workers", "2", "--shared", "/proc/none"], "--shared /proc/none:"),
    ]:
        assert said in toy.fails("claimbook", "reproduce", "toy", *options)

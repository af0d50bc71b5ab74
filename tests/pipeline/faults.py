"""A toy paper with long enough steps to be killed in, and what must hold after each fault."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from common.workflow.freshness.status import damaged
from tests.conftest import Tree

NOTEBOOK = "papers/toy/01_measure.ipynb"
PIPELINE = "papers/toy/dvc.yaml"
RESULTS = "papers/toy/results"
SMOKE = f"{RESULTS}/smoke"
MEASURED = f"{SMOKE}/01_measure"
RUN = ("claimbook", "run", NOTEBOOK, "--profile", "smoke")
REPRO = ("dvc", "repro", PIPELINE)

STEPS = """\
import time

from common.checkpoints import resumable


def piece(seed):
    time.sleep(0.15)
    rng = np.random.default_rng(seed)
    means = [rng.standard_normal((repetitions, n)).mean(axis=1) for n in sample_sizes]
    errors = [np.sqrt(np.mean(mean**2)) for mean in means]
    return pd.DataFrame({"seed": seed, "sample_size": sample_sizes, "error": errors})


errors = pd.concat([resumable(f"seed-{seed}", piece, seed) for seed in seeds])
save_table(errors, "errors", keys=["seed", "sample_size"])
draws = np.random.default_rng(0).standard_normal(2000)
save_table(pd.DataFrame({"draw": range(2000), "value": draws}), "draws", keys=["draw"])
"""


def prepare(tree: Tree) -> Tree:
    """Give the toy checkpoints, a CSV table, a Parquet table and a figure, in profile smoke."""
    tree.edit("params.yaml", "profile: cpu", "profile: smoke")
    tree.edit_cell(NOTEBOOK, "run", STEPS)
    tree.ok("claimbook", "normalise")
    return tree


def lasting(tree: Tree) -> dict[str, bytes]:
    """What an undisturbed run leaves: results without provenance, and `dvc.lock`."""
    files = {
        name: content
        for name, content in tree.contents(SMOKE).items()
        if not name.startswith("provenance/")
    }
    lock = tree.root / "papers/toy/dvc.lock"
    return files | ({"dvc.lock": lock.read_bytes()} if lock.exists() else {})


def forget(tree: Tree) -> None:
    """As if nothing had ever run."""
    for folder in (RESULTS, "checkpoints", ".dvc/cache", ".dvc/tmp"):
        shutil.rmtree(tree.root / folder, ignore_errors=True)
    (tree.root / "papers/toy/dvc.lock").unlink(missing_ok=True)


def start(tree: Tree, *arguments: str, out: str = "out") -> subprocess.Popen[str]:
    """Start a command as the leader of a process group of its own; see `printed`."""
    program = ["./claimbook"] if arguments[0] == "claimbook" else [sys.executable, "-m", "dvc"]
    with _output(tree, out).open("w") as output:
        return subprocess.Popen(
            [*program, *arguments[1:]],
            cwd=tree.root,
            env=tree.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            # A test run in the background ignores interrupts, and its children would too.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )


def printed(tree: Tree, out: str = "out") -> str:
    """What the command that was started last has printed."""
    return _output(tree, out).read_text()


def _output(tree: Tree, name: str) -> Path:
    return tree.root.parent / f"{tree.root.name}.{name}"


def kill(process: subprocess.Popen[str], whole_group: bool) -> None:
    with suppress(ProcessLookupError):  # a run that has ended is undisturbed, too
        (os.killpg if whole_group else os.kill)(process.pid, signal.SIGKILL)
    process.wait()


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.002)


def processes(tree: Tree) -> list[psutil.Process]:
    """The living processes that work in the tree."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(tree.root):
                found.append(process)
        except (psutil.Error, OSError):  # gone, a zombie, or another user's
            continue
    return found


def writers(tree: Tree) -> set[str]:
    """The staging folders that a living kernel writes to."""
    folders = set()
    for process in processes(tree):
        try:
            folders.add(process.environ().get("CLAIMBOOK_OUTPUT"))
        except (psutil.Error, OSError):
            continue
    return {folder for folder in folders if folder}


def runs(tree: Tree, command: str) -> bool:
    """Whether `./claimbook <command>` runs in the tree."""
    for process in processes(tree):
        try:
            if process.cmdline()[1:4] == ["-m", "common.workflow", command]:
                return True
        except (psutil.Error, OSError):
            continue
    return False


def wait_without_second_writers(tree: Tree, process: subprocess.Popen[str]) -> int:
    """Wait for the end of a process; never may two kernels live at the same time."""
    deadline = time.monotonic() + 200
    while process.poll() is None:
        assert len(folders := writers(tree)) <= 1, f"two writers: {folders}"
        assert time.monotonic() < deadline, printed(tree)
        time.sleep(0.05)
    return process.returncode


def assert_no_half_result(tree: Tree, whole: list[dict[str, bytes]]) -> None:
    """Every result there is, is one of the `whole` ones, byte for byte.

    Args:
        tree: where to look.
        whole: what undisturbed runs left (`lasting`), one for each set of parameters.
    """
    there = lasting(tree)
    folder = {name for name in there if name.startswith("01_measure/")}
    if folder:
        assert damaged(tree.root / MEASURED) == []
        assert {name: there[name] for name in folder} in [
            {name: value for name, value in one.items() if name in folder} for one in whole
        ]
    for name in there.keys() & {"verdicts.json", "metrics.json"}:
        assert there[name] in [one[name] for one in whole]


def assert_nothing_left_over(tree: Tree) -> None:
    wait_for(lambda: not processes(tree), 20)
    partial = tree.root / RESULTS / "_partial"
    assert {path.name for path in partial.iterdir()} == {"locks"}
    checkpoints = tree.root / "checkpoints"
    assert not checkpoints.exists() or not list(checkpoints.iterdir())
    assert not [path for path in (tree.root / SMOKE).rglob(".*")]

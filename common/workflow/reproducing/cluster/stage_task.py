"""What a Dask worker does with one stage: run it in a clone of its own.

Workers get this module's functions by value, for they may know no checkout, or another one. It
imports nothing of this project but `fresh_clone`, which travels along.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypedDict

from common.workflow.reproducing.fresh_clone import Source, bare_environment, fresh_clone

if TYPE_CHECKING:
    from distributed import Worker

CELL = re.compile(r"  (cell \d+/\d+)  ")


class Outcome(TypedDict):
    """What became of a task."""

    target: str
    state: str
    """`done`, `failed`, or `left out` because something that it needs failed."""
    seconds: float
    message: str
    provenance: dict[str, str]
    """Files that lie outside DVC, by their path in the clone."""


def run_stage(
    target: str,
    source: Source,
    environment: dict[str, str],
    devices: list[str],
    topic: str,
    needs: list[Outcome],
) -> Outcome:
    """Run the stage `target`; what its `needs` made is restored from the shared cache.

    Args:
        target: a stage as `dvc repro` takes it.
        source: what is cloned, and the caches that all tasks share.
        environment: variables for the stage beside the worker's own.
        devices: `CUDA_VISIBLE_DEVICES` by worker number; empty leaves it as it is.
        topic: of the Dask events that tell how far the stage is.
        needs: outcomes of the tasks before this one.

    Raises:
        RuntimeError: the worker could not do its part, so another may try.
    """
    from distributed import get_worker

    if missing := [need["target"] for need in needs if need["state"] != "done"]:
        message = f"needs {', '.join(missing)}"
        return Outcome(target=target, state="left out", seconds=0.0, message=message, provenance={})
    worker = get_worker()
    started = time.monotonic()

    def tell(text: str) -> None:
        worker.log_event(topic, {"target": target, "by": str(worker.name), "text": text})

    tell("running")
    place = worker.local_directory
    with tempfile.TemporaryDirectory(dir=place, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        try:
            clone = fresh_clone(source, folder)
        except (OSError, subprocess.CalledProcessError) as error:
            why = getattr(error, "stderr", None) or str(error)
            raise RuntimeError(f"worker {worker.name} cannot clone: {why.strip()}") from None
        variables = bare_environment(source, folder) | environment
        if devices:
            variables["CUDA_VISIBLE_DEVICES"] = devices[int(worker.name)]
        status, printed = _dvc_repro(target, clone, variables, tell, worker)
        provenance = _provenance(clone, source["profile"])
    if status < 0:
        raise RuntimeError(f"worker {worker.name}: dvc was stopped by signal {-status}")
    return Outcome(
        target=target,
        state="failed" if status else "done",
        seconds=time.monotonic() - started,
        message=_reason(printed) if status else "",
        provenance=provenance,
    )


def _dvc_repro(
    target: str, clone: Path, variables: dict[str, str], tell: Callable[[str], None], worker: Worker
) -> tuple[int, list[str]]:
    """The exit status, and the last lines that were printed."""
    python = [sys.executable, "-m"]
    process = subprocess.Popen(
        [*python, "common.tether", *python, "dvc", "repro", target],
        cwd=clone,
        env=variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # a Ctrl-C is for the one who asked for all this
    )
    assert process.stdin is not None
    printed: deque[str] = deque(maxlen=80)
    reader = threading.Thread(target=_read, args=(process.stdout, printed, tell), daemon=True)
    reader.start()
    key = str(worker.get_current_task())
    while True:
        try:
            process.wait(timeout=0.5)
            break
        except subprocess.TimeoutExpired:
            if not _wanted(worker, key):
                process.stdin.close()
    reader.join(timeout=5)
    process.stdin.close()
    return process.returncode, list(printed)


def _wanted(worker: Worker, key: str) -> bool:
    """Whether somebody still waits for the task: Dask cannot interrupt a thread."""
    task = worker.state.tasks.get(key)
    return worker.status.name == "running" and task is not None and task.state == "executing"


def _read(stream: IO[str], printed: deque[str], tell: Callable[[str], None]) -> None:
    for line in stream:
        if cell := CELL.search(line):
            tell(cell[1])
        else:
            printed.append(line.rstrip())


def _reason(printed: list[str]) -> str:
    """From the command's own message on, or all of it."""
    starts = [number for number, line in enumerate(printed) if line.startswith("error: ")]
    return "\n".join(printed[starts[-1] if starts else 0 :])


def _provenance(clone: Path, profile: str) -> dict[str, str]:
    files = clone.glob(f"papers/*/results/{profile}/provenance/*.json")
    return {file.relative_to(clone).as_posix(): file.read_text() for file in files}

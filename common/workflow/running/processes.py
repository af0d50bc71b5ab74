"""A stage must not outlive the pipeline that started it."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from common.workflow.base.errors import ClaimbookError

if TYPE_CHECKING:
    import psutil

_SHELLS = {"sh", "bash", "dash", "zsh", "fish", "ksh"}


def die_with_pipeline(poll_seconds: float = 0.1) -> None:
    """Stop this process when the `dvc` that started it is gone; without a `dvc`, do nothing.

    DVC killed alone leaves its stage running as an orphan that goes on writing beside a second
    run.

    Raises:
        ClaimbookError: it is gone already.
    """
    if "DVC_STAGE" not in os.environ:
        return
    import psutil

    try:
        pipeline = _pipeline(psutil.Process().parents())
    except psutil.Error:
        return
    if pipeline is None:
        return

    def watch() -> None:
        while pipeline.is_running() and pipeline.status() != psutil.STATUS_ZOMBIE:
            time.sleep(poll_seconds)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _pipeline(ancestors: list[psutil.Process]) -> psutil.Process | None:
    """The ancestor that is the `dvc`: while a stage runs, it stands in DVC's list of locks."""
    holders = _lock_holders()
    if holders:
        found = next((up for up in ancestors if up.pid in holders), None)
        if found is None:
            raise ClaimbookError("the `dvc` that started this stage is gone; nothing was touched.")
        return found
    # No list. A shell may stand in between.
    found = next((up for up in ancestors if up.name() not in _SHELLS), None)
    return None if found is None or found.pid == 1 else found


def _lock_holders() -> set[int]:
    """Process ids in DVC's list of locks; empty when it cannot be read."""
    file = Path(os.environ.get("DVC_ROOT", "."), ".dvc", "tmp", "rwlock")
    for _ in range(5):  # DVC writes the list in place: a reader may see half of it
        try:
            return {int(lock["pid"]) for lock in json.loads(file.read_text())["write"].values()}
        except (KeyError, TypeError, ValueError):
            time.sleep(0.02)
        except OSError:
            break
    return set()


def stop_writers(folder: Path) -> None:
    """Kill the kernels, and what they started, that still write to a killed run's `folder`.

    A kernel looks for its runner once a second, and not while compiled code holds the
    interpreter: long enough to write beside the next run.
    """
    import psutil

    writers = [process for process in psutil.process_iter() if _writes_to(process, folder)]
    for process in writers:
        process.kill()
    psutil.wait_procs(writers, timeout=5)


def _writes_to(process: psutil.Process, folder: Path) -> bool:
    import psutil

    try:
        return process.environ().get("CLAIMBOOK_OUTPUT") == str(folder)
    except (psutil.Error, OSError):  # gone, or another user's
        return False


def stop_cleanly_on_sigterm() -> None:
    """Turn SIGTERM into an exception, so that kernels are shut down on the way out."""

    def stop(signum: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + signum)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)

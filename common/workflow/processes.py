"""A stage must not outlive the pipeline that started it."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType
from typing import NoReturn

_SHELLS = {"sh", "bash", "dash", "zsh", "fish", "ksh"}


def die_with_pipeline(poll_seconds: float = 0.5) -> None:
    """Stop this process when the `dvc` that started it is gone.

    DVC killed alone leaves its stage running as an orphan that goes on writing beside a second
    run. A shell may stand between the two, so the nearest ancestor that is none is watched.
    """
    if "DVC_STAGE" not in os.environ:
        return
    import psutil

    try:
        ancestors = psutil.Process().parents()
        pipeline = next((up for up in ancestors if up.name() not in _SHELLS), None)
    except psutil.Error:
        return
    if pipeline is None or pipeline.pid == 1:
        return

    def watch() -> None:
        while pipeline.is_running() and pipeline.status() != psutil.STATUS_ZOMBIE:
            time.sleep(poll_seconds)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def stop_cleanly_on_sigterm() -> None:
    """Turn SIGTERM into an exception, so that kernels are shut down on the way out."""

    def stop(signum: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + signum)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)

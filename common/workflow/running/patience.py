"""Time limits that count the time in which a process could have run.

On a busy machine a notebook waits for processors: that is not its fault, and what passes meanwhile
does not count. What sleeps, or waits for something that never comes, has no such excuse.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path


class Watch(threading.Thread):
    """Calls `give_up` once a process, with all that it started, has had `limit` seconds.

    Args:
        pid: of the process.
        limit: seconds; the time that its threads waited for a processor counts in part: as much
            as they could not run of what they wanted to.
        give_up: called once, in this thread.
    """

    def __init__(self, pid: int, limit: float, give_up: Callable[[], object]):
        super().__init__(daemon=True)
        self._pid, self._limit, self._give_up = pid, limit, give_up
        self._over = threading.Event()
        self.expired = False

    def stop(self) -> None:
        """Watch no longer."""
        self._over.set()

    def run(self) -> None:
        """Look every half second."""
        elapsed, last, (ran, waited) = 0.0, time.monotonic(), _times(self._pid)
        while not self._over.wait(0.5):
            now, (ran_now, waited_now) = time.monotonic(), _times(self._pid)
            elapsed += (now - last) * _share(ran_now - ran, waited_now - waited)
            last, ran, waited = now, ran_now, waited_now
            if elapsed > self._limit:
                self.expired = True
                self._give_up()
                return


def _share(ran: float, waited: float) -> float:
    """The part of the time that counts; all of it for a process that wanted no processor."""
    if waited <= 0:  # nobody waited, a process has ended, or this system does not tell
        return 1.0 if os.path.exists("/proc/self/schedstat") else 1 / _load()
    return max(ran, 0.0) / (max(ran, 0.0) + waited)


def _load() -> float:
    """How many processes want each processor, at least 1."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def _times(pid: int) -> tuple[float, float]:
    """Seconds that the threads of a process and its children have run, and waited for it."""
    import psutil

    ran = waited = 0.0
    try:
        processes = [psutil.Process(pid)]
        processes += processes[0].children(recursive=True)
    except psutil.Error:
        return 0.0, 0.0
    for process in processes:
        for file in Path(f"/proc/{process.pid}/task").glob("*/schedstat"):
            try:
                a, b, _ = file.read_text().split()
            except (OSError, ValueError):  # it has ended
                continue
            ran, waited = ran + int(a) / 1e9, waited + int(b) / 1e9
    return ran, waited

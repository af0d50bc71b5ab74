"""Run a command that ends when standard input does: `python -m common.tether COMMAND …`.

A killed process stops nothing that it started, but the system closes its end of every pipe: give
this one a pipe as standard input, and the command, with all that it started, ends with you.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

PATIENCE = 5.0
"""Seconds in which the command may end by itself after SIGTERM."""


def main() -> None:
    """Run the command line's command and end as it ends."""
    command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    cut = threading.Event()
    watch = threading.Thread(target=_stop_at_the_end_of_input, args=(command, cut), daemon=True)
    watch.start()
    status = command.wait()
    if cut.is_set():
        watch.join()
    if status < 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


def _stop_at_the_end_of_input(command: subprocess.Popen[bytes], cut: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    import psutil

    cut.set()
    try:
        family = psutil.Process(command.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return
    command.terminate()
    _, alive = psutil.wait_procs(family, timeout=PATIENCE)
    for process in alive:
        process.kill()


if __name__ == "__main__":
    main()

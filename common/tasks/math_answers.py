"""Equivalence of mathematical answers by math_verify, in a process that can be stopped."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import threading
import weakref
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

LONGEST = 20_000  # characters of a completion that are looked at, from its end
START_SECONDS = 120.0  # for importing sympy on a busy machine


class MathVerifier:
    """Whether a completion's final answer is equivalent to the right one; never raises.

    math_verify stops long computations by `signal.alarm`, which works in the main thread only and
    does not interrupt one long operation on huge integers (`9^{9^{9^9}}`). Its parsing and
    comparison therefore run in a process of their own, in that process's main thread and with
    math_verify's time limits switched on; where they do not help, the process is killed and the
    next call starts another. So it can be called from any thread; calls wait for one another.

    Args:
        seconds: after which an answer counts as wrong.

    Raises:
        ValueError: `seconds` is not positive.
    """

    def __init__(self, *, seconds: float = 5.0) -> None:
        if not seconds > 0:
            raise ValueError(f"seconds: must be positive, got {seconds}")
        self._seconds = seconds
        self._lock = threading.Lock()
        self._worker: _Worker | None = None

    def __call__(self, right: str, completion: str) -> bool:
        r"""Compare.

        Args:
            right: text that holds the right answer, for instance `\boxed{\frac{1}{2}}`.
            completion: any text; what is boxed at its end counts, or else the last expression.
        """
        with self._lock:
            try:
                if self._worker is None:
                    self._worker = _Worker(self._seconds)
                return self._worker.ask(right, completion[-LONGEST:])
            except (OSError, EOFError, TimeoutError):
                self._stop()
                return False

    def _stop(self) -> None:
        if self._worker is not None:
            self._worker.stop()
        self._worker = None


class _Worker:
    """A process that answers one question at a time."""

    def __init__(self, seconds: float) -> None:
        context = multiprocessing.get_context("spawn")
        self._seconds = seconds
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, seconds), daemon=True)
        self._process.start()
        theirs.close()
        self.stop = weakref.finalize(self, _end, self._process, self._connection)
        self._receive(START_SECONDS)

    def ask(self, right: str, completion: str) -> bool:
        self._connection.send((right, completion))
        return self._receive(self._seconds + 1)  # math_verify's own limit comes first

    def _receive(self, seconds: float) -> bool:
        if not self._connection.poll(seconds):
            raise TimeoutError
        return bool(self._connection.recv())


def _end(process: BaseProcess, connection: Connection) -> None:
    connection.close()
    process.kill()
    process.join()


def _serve(connection: Connection, seconds: float) -> None:
    """Answer until the other end closes."""
    import logging

    library: Any = importlib.import_module("math_verify")  # it ships no types
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    limit = max(1, int(seconds / 2))
    connection.send(True)
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            right, completion = connection.recv()
            connection.send(_equivalent(library, right, completion, limit))


def _equivalent(library: Any, right: str, completion: str, limit: int) -> bool:
    try:
        parsed = [library.parse(text, parsing_timeout=limit) for text in (right, completion)]
        return bool(library.verify(*parsed, timeout_seconds=limit))
    # Its TimeoutException is no Exception in some releases, and sympy raises nearly anything.
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return False

"""A process that has imported the heavy libraries once, and forks on request.

`python -m MODULE` pays for its imports every time: half a second for the runner and for a kernel
each, seven for TRL. `fork_client.spawn` pays for a fork: it hands arguments, environment, folder
and standard streams to this server, whose child becomes the process that was asked for. Libraries
are imported beforehand, this project's code never, so an edit between two runs counts as ever.

    python -P -m common.workflow.running.fork_server SOCKET LIBRARY ...

SOCKET is the file number of a listening socket. The server ends, and all its children with it,
when its standard input is closed.
"""

from __future__ import annotations

import atexit
import builtins
import gc
import importlib
import os
import random
import runpy
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

from common.workflow.running.fork_client import receive, send, signal_group

RUN_TIME = (
    *("CLAIMBOOK_", "DVC_", "IPYTHONDIR", "JPY_", "NUMBA_CACHE_DIR", "PYTHONPATH"),
    *("_", "OLDPWD", "PWD", "SHLVL"),  # of shells
)
"""Environment variables, by their first letters, that may differ from the server's: nothing has
read them for good by the time that the libraries are imported."""

_GIVEN = dict(os.environ)
"""The server's environment before the libraries set variables of their own."""

_ROOT = str(Path(__file__).resolve().parents[3])


class Server:
    """Forks for whoever connects to `listener`, and stays with the callers until their forks end.

    Args:
        listener: a listening Unix socket.
        owner: a file that is closed when the server shall end.
    """

    def __init__(self, listener: socket.socket, owner: int):
        self.listener, self.owner = listener, owner
        self.callers: dict[int, socket.socket] = {}
        self.woken, self.waker = socket.socketpair()
        self.waker.setblocking(False)
        self.selector = selectors.DefaultSelector()
        for source in (owner, listener, self.woken):
            self.selector.register(source, selectors.EVENT_READ)

    def serve(self) -> dict[str, Any]:
        """Answer requests; returns in the children only, each with its request."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.waker.fileno())
        while True:
            for key, _ in self.selector.select():
                if key.fileobj == self.owner:
                    self._end()
                elif key.fileobj is self.woken:
                    self.woken.recv(4096)
                    self._reap()
                elif key.fileobj is self.listener:
                    if request := self._answer(self.listener.accept()[0]):
                        return request
                else:
                    self._abandon(key.fileobj)

    def _answer(self, caller: socket.socket) -> dict[str, Any] | None:
        """Fork for one caller: the request in the child, None in the server."""
        caller.settimeout(5)
        try:
            _, streams, _, _ = socket.recv_fds(caller, 1, 3)
            request = receive(caller)
        except OSError:
            request = None
        if request is None:  # it hung up
            caller.close()
            return None
        fits = request["any_environment"] or _fits(request["environment"])
        child = os.fork() if fits else None
        if child == 0:
            self._leave(caller, streams)
            return request
        with suppress(OSError):
            send(caller, {"child": child})
        if child:
            self.callers[child] = caller
            self.selector.register(caller, selectors.EVENT_READ)
        else:
            caller.close()
        for stream in streams:
            os.close(stream)
        return None

    def _leave(self, caller: socket.socket, streams: list[int]) -> None:
        """In a child: let go of all that is the server's."""
        os.setsid()
        signal.set_wakeup_fd(-1)
        self.selector.close()
        for connection in (caller, self.listener, self.woken, self.waker, *self.callers.values()):
            connection.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)

    def _reap(self) -> None:
        """Tell the callers whose children have ended."""
        while self.callers:
            child, status = os.waitpid(-1, os.WNOHANG)
            if not child:
                return
            caller = self.callers.pop(child)
            with suppress(OSError):
                send(caller, {"status": os.waitstatus_to_exitcode(status)})
            with suppress(KeyError):
                self.selector.unregister(caller)
            caller.close()

    def _abandon(self, gone: object) -> None:
        """A caller has ended: so does its child."""
        child = next(child for child, caller in self.callers.items() if caller is gone)
        signal_group(child, signal.SIGKILL)
        self.selector.unregister(self.callers[child])

    def _end(self) -> NoReturn:
        for child in self.callers:
            signal_group(child, signal.SIGKILL)
        os._exit(0)


def _fits(environment: dict[str, str]) -> bool:
    """Whether a process with this environment may be a fork; says so where it may not."""
    unlike = sorted(
        name
        for name in environment.keys() | _GIVEN.keys()
        if not name.startswith(RUN_TIME)
        # a forked runner hands on what libraries have set
        and environment.get(name) not in (_GIVEN.get(name), os.environ.get(name))
    )
    if unlike:
        print(f"warm: a kernel starts afresh, since it has another {unlike[0]}", file=sys.stderr)
    return not unlike


@contextmanager
def _like_in_a_kernel() -> Iterator[None]:
    """Libraries that ask for IPython when they are imported, as pandas does, find a kernel."""
    import IPython

    real = IPython.get_ipython
    shell = SimpleNamespace(kernel=True, config={"IPKernelApp": {}})
    builtins.get_ipython = IPython.get_ipython = lambda: shell  # type: ignore[attr-defined]
    try:
        yield
    finally:
        IPython.get_ipython = real
        del builtins.get_ipython  # type: ignore[attr-defined]


def _import(libraries: list[str]) -> None:
    # A URI grammar that nbformat would compile (1 s), and a debugger: nobody needs them here.
    for unwanted in ("rfc3987_syntax", "debugpy"):
        sys.modules.setdefault(unwanted, None)  # type: ignore[arg-type]
    with _like_in_a_kernel():
        for name in libraries:
            with suppress(Exception):  # a favour: it is the child that reports what is wrong
                importlib.import_module(name)
    if nbformat := sys.modules.get("nbformat.validator"):
        nbformat.get_validator(version=4, version_minor=5)  # it keeps what it compiles
    gc.collect()
    gc.freeze()  # the children share these pages as long as nobody writes to them


def _become(request: dict[str, Any]) -> NoReturn:
    """In the child: be the process that was asked for."""
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    set_by_libraries = dict(os.environ.items() - _GIVEN.items())
    os.environ.clear()
    os.environ.update(set_by_libraries | request["environment"])
    os.environ.pop("DVC_STAGE", None)  # the caller watches the `dvc`
    os.chdir(request["folder"])
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w", 1)
    libraries = [path for path in sys.path if path != _ROOT]
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [request["folder"], *paths, *libraries]
    _forget()
    sys.argv = [request["module"], *request["arguments"]]
    status = _run(request["module"])
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # taking all those modules down one by one would cost a second


def _run(module: str) -> int:
    """`python -m module`: its exit status."""
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _forget() -> None:
    """Leave nothing that a fresh process would have imported, drawn or read for itself."""
    for name in [name for name in sys.modules if name.split(".")[0] == "common"]:
        del sys.modules[name]
    random.seed()
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()
    if numba := sys.modules.get("numba.core.config"):
        numba.reload_config()


if __name__ == "__main__":
    _import(sys.argv[2:])
    server = Server(socket.socket(fileno=int(sys.argv[1])), owner=sys.stdin.fileno())
    _become(server.serve())

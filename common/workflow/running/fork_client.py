"""Ask the warm server of `fork_server` for a process; without one, start it afresh.

This file also runs as a script, once per kernel: it imports little, and nothing of ours.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import sys
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

VARIABLE = "CLAIMBOOK_FORK_SERVER"
"""Names the server's socket; unset: processes start afresh."""

_LENGTH = struct.Struct("!I")


def spawn(module: str, arguments: list[str], any_environment: bool = False) -> NoReturn:
    """Become `python -m module arguments`: in a fork of the warm server, or afresh without one.

    Args:
        module: what `python -m` would run.
        arguments: its command line.
        any_environment: fork even where variables that libraries may have read differ from the
            server's; otherwise the process then starts afresh.
    """
    with socket.socket(socket.AF_UNIX) as server:
        child = _fork(server, module, arguments, any_environment)
        if child:
            _stand_in_for(child, server)
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])


def _fork(
    server: socket.socket, module: str, arguments: list[str], any_environment: bool
) -> int | None:
    """The process id of the fork; None where there is no server or it refuses."""
    request = {"module": module, "arguments": arguments, "folder": os.getcwd()}
    settings = {"environment": dict(os.environ), "any_environment": any_environment}
    try:
        server.connect(os.environ.get(VARIABLE, ""))
        socket.send_fds(server, [b"s"], [0, 1, 2])
        send(server, request | settings)
        answer = receive(server)
    except OSError:
        return None
    return answer["child"] if answer else None


def _stand_in_for(child: int, server: socket.socket) -> NoReturn:
    """Pass signals on until the child ends, and end alike; end when the parent ends."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        signal_group(child, number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)
    parent = os.getppid()
    while not select.select([server], [], [], 0.5)[0]:
        if os.getppid() != parent:
            os._exit(1)  # the connection closes, and the server kills the child
    try:
        answer = receive(server)
    except OSError:
        answer = None
    if answer is None:  # the server was killed, and has left the child alone
        signal_group(child, signal.SIGKILL)
    status = answer["status"] if answer else -signal.SIGKILL
    if status < 0:
        with suppress(OSError):  # SIGKILL has no handler to take back
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def signal_group(child: int, number: int) -> None:
    """Signal the child's process group, or the child while it has none yet."""
    for kill in (os.killpg, os.kill):
        with suppress(ProcessLookupError):
            return kill(child, number)


def send(connection: socket.socket, message: dict[str, Any]) -> None:
    """Send a message as its length and its JSON."""
    data = json.dumps(message).encode()
    connection.sendall(_LENGTH.pack(len(data)) + data)


def receive(connection: socket.socket) -> dict[str, Any] | None:
    """The next message, or None at the end."""
    head = _receive_exactly(connection, _LENGTH.size)
    return json.loads(_receive_exactly(connection, *_LENGTH.unpack(head))) if head else None


def _receive_exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        if not (more := connection.recv(size - len(data))):
            return b""
        data += more
    return data


if __name__ == "__main__":
    spawn(sys.argv[1], sys.argv[2:])

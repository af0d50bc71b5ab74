"""Run a command whose notebooks start as forks of one process that has imported the libraries."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from common.workflow.base.errors import ClaimbookError
from common.workflow.base.project import ROOT, all_papers
from common.workflow.freshness.closure import imported_libraries
from common.workflow.running.fork_client import VARIABLE
from common.workflow.running.kernel_environment import kernel_environment
from common.workflow.running.runner import compiled_code
from common.workflow.running.sockets import socket_folder

RUNNER = (
    *("filelock", "grimp", "papermill.execute", "psutil", "ruamel.yaml", "typer"),
    *("pydantic.fields", "pydantic.type_adapter"),
    *("ipykernel.ipkernel", "ipykernel.kernelapp", "nbclient.client"),
)
"""What running a notebook imports, whatever stands in it."""


@contextmanager
def forking(libraries: Iterable[str], environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """Keep a fork server for as long as the context lasts; the variable that names it.

    Args:
        libraries: dotted names to import beforehand; what is no module is passed over.
        environment: what the libraries see when they are imported.
    """
    with listening() as (listener, address), serving(listener, libraries, environment):
        yield {VARIABLE: address}


@contextmanager
def listening() -> Iterator[tuple[socket.socket, str]]:
    """A socket at which callers wait for a server, and its address."""
    with socket_folder() as folder, socket.socket(socket.AF_UNIX) as listener:
        address = str(folder / "fork")
        listener.bind(address)
        listener.listen(64)  # who calls before the libraries are imported waits here
        yield listener, address


@contextmanager
def serving(
    listener: socket.socket, libraries: Iterable[str], environment: dict[str, str]
) -> Iterator[None]:
    """Answer the callers of `listener` with forks for as long as the context lasts."""
    file = listener.fileno()
    module = "common.workflow.running.fork_server"
    server = subprocess.Popen(
        [sys.executable, "-P", "-m", module, str(file), *sorted(libraries)],
        env=environment | {"PYTHONPATH": str(ROOT)},
        pass_fds=[file],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C is for those that were asked for
    )
    try:
        yield
    finally:
        assert server.stdin is not None
        server.stdin.close()  # it ends with its owner, however that ends
        server.wait()


def all_libraries() -> set[str]:
    """What the notebooks of all papers import, and what runs them."""
    notebooks = [notebook for paper in all_papers() for notebook in paper.notebooks]
    return {*RUNNER, *imported_libraries(notebooks)}


def warm_environment() -> dict[str, str]:
    """What kernels of profiles smoke and cpu see, but for what every run has for itself."""
    unused = Path(os.devnull)
    return kernel_environment("smoke", ROOT, unused, compiled_code(), unused)


def run_warm(command: list[str]) -> int:
    """Run `command` with a fork server for notebooks of profiles smoke and cpu at its side.

    Kernels of profile gpu see another environment, and start afresh.

    Returns:
        The command's exit status.

    Raises:
        ClaimbookError: there is no such command.
    """
    if not command:
        raise ClaimbookError("name a command, for example `./claimbook warm dvc repro -R papers`.")
    with forking(all_libraries(), warm_environment()) as variable:
        try:
            return subprocess.run(command, env=dict(os.environ) | variable).returncode
        except FileNotFoundError:
            raise ClaimbookError(f"there is no command `{command[0]}`.") from None

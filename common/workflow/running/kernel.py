"""A papermill engine whose kernel is this very Python, reached over socket files."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty
from typing import Any, TextIO

# nbformat -> jsonschema would compile a URI grammar at import (1 s) that nobody needs here.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, NotebookExecutionManager, papermill_engines
from papermill.exceptions import PapermillExecutionError as PapermillExecutionError

from common.workflow.base.errors import ClaimbookError
from common.workflow.running import fork_client
from common.workflow.running.patience import Watch
from common.workflow.running.sockets import socket_folder

ENGINE = "claimbook"


class TimeLimitError(ClaimbookError):
    """The notebook ran longer than its stage may."""


class KernelClient(AsyncKernelClient):
    """Talks to a new kernel as soon as it answers."""

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        """Wait until the kernel answers on both channels.

        Jupyter's own goes on to listen for 0.2 s, so that nothing of the start is left to read.
        Whoever executes cells tells messages apart by what they answer.

        Raises:
            RuntimeError: the kernel died, or does not answer in time.
        """
        until = time.monotonic() + (timeout or float("inf"))
        while time.monotonic() < until:
            self.kernel_info()
            with suppress(Empty):
                await self.get_shell_msg(timeout=1)
                await self.get_iopub_msg(timeout=0.2)
                return
            if not await self.is_alive():
                raise RuntimeError("Kernel died before replying to kernel_info")
        raise RuntimeError(f"Kernel didn't respond in {timeout} seconds")


class OwnPythonKernel(AsyncKernelManager):
    """The kernel of the running Python, whatever kernels the user has installed."""

    client_factory = KernelClient

    @property
    def kernel_spec(self) -> KernelSpec:
        warm = fork_client.VARIABLE in os.environ
        start = ["-S", "-m", "common.workflow.running.fork_client"] if warm else ["-m"]
        argv = [sys.executable, *start, "common.workflow.running.headless_kernel", "-f"]
        quiet = ["--HistoryManager.enabled=False", "--colors=NoColor"]
        argv += ["{connection_file}", *quiet]
        return KernelSpec(argv=argv, display_name="Python 3 (ipykernel)", language="python")


class Client(PapermillNotebookClient):
    """Executes the cells, passing on what they print, within a time limit for all of them."""

    def __init__(self, nb_man: NotebookExecutionManager, *, terminal: TextIO, **kwargs: Any):
        super().__init__(nb_man, **kwargs)
        self.terminal = terminal
        self.log_output = True

    def log_output_message(self, output: Any) -> None:
        """Pass streams on as they are: a progress bar of the notebook keeps its place."""
        if output.output_type == "stream":
            self.terminal.write("".join(output.text))
            self.terminal.flush()


class ClaimbookEngine(Engine):
    """Registered with papermill as `claimbook`."""

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: NotebookExecutionManager,
        kernel_name: str,
        *,
        environment: dict[str, str],
        preamble: str,
        time_limit: float,
        report: Callable[[int, int, str], None],
        working_folder: str,
        **kwargs: Any,
    ) -> None:
        """Execute all cells in a new kernel.

        Args:
            nb_man: papermill's record of the execution.
            kernel_name: ignored; the kernel is that of the running Python.
            environment: the kernel's environment variables.
            preamble: code that runs first; when it raises, nothing else runs.
            time_limit: seconds for all cells together, as `Watch` counts them.
            report: called with (cell, cells, first line) as each cell starts.
            working_folder: where the notebook runs.
            kwargs: papermill's other options; none matters here.

        Raises:
            TimeLimitError: the cells took longer than `time_limit`.
            ClaimbookError: the preamble failed, or the kernel died.
        """
        from nbclient.exceptions import DeadKernelError

        cells = len(nb_man.nb.cells)
        place = [0]

        def starts(cell: Any) -> None:
            place[0] = nb_man.nb.cells.index(cell) + 1
            report(place[0], cells, cell.source)

        with socket_folder() as folder:
            environment = environment | {"IPYTHONDIR": f"{folder}/ipython"}
            manager = OwnPythonKernel(transport="ipc", connection_file=f"{folder}/k.json")
            client = Client(nb_man, km=manager, timeout_func=starts, terminal=sys.stderr)
            watch = None
            try:
                client.start_new_kernel(env=environment, cwd=working_folder)
                client.start_new_kernel_client()
                pid = _run_preamble(client, preamble)
                watch = Watch(pid, time_limit, lambda: os.kill(pid, signal.SIGKILL))
                watch.start()
                client.execute()
            except DeadKernelError:
                if watch is not None and watch.expired:
                    where = f"cell {place[0]} of {cells}"
                    raise TimeLimitError(
                        f"the time limit of {time_limit:.0f} s passed in {where}."
                    ) from None
                raise ClaimbookError(
                    f"the kernel died in cell {place[0]} of {cells}: was it killed, or did the "
                    "machine run out of memory?"
                ) from None
            finally:
                if watch is not None:
                    watch.stop()
                _stop(client, manager)


def _run_preamble(client: Client, code: str) -> int:
    """Run `code` in the kernel; the kernel's process id, a fork's own where it is one."""
    run = run_sync(client.kc.execute_interactive)
    asked = {"pid": "__import__('os').getpid()"}
    reply = run(code, silent=True, store_history=False, timeout=600, user_expressions=asked)[
        "content"
    ]
    if reply["status"] != "ok":
        raise ClaimbookError(f"the kernel is not fit to run: {reply.get('evalue')}")
    return int(reply["user_expressions"]["pid"]["data"]["text/plain"])


def _stop(client: Client, manager: OwnPythonKernel) -> None:
    """End the kernel at once: its work is over or worthless, and a hanging one would not listen."""
    # What the event loop still had to do for the kernel fails now, and means nothing.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    if client.kc is not None:
        client.kc.stop_channels()
    if manager.has_kernel:
        run_sync(manager.signal_kernel)(signal.SIGKILL)
        for _ in range(10):  # or Jupyter looks for it once, and again in 0.1 s
            if not run_sync(manager.is_alive)():
                break
            time.sleep(0.005)
        run_sync(manager.shutdown_kernel)(now=True)
    manager.context.destroy(linger=0)


def execute(notebook: Path, output: Path, parameters: dict[str, Any], **options: Any) -> None:
    """Run papermill with this engine; see `ClaimbookEngine` for the options.

    Raises:
        PapermillExecutionError: a cell raised; `output` holds all up to there.
    """
    import papermill

    # It guesses at parameters whose comments we have read already, and warns of what it can't.
    logging.getLogger("papermill").setLevel(logging.ERROR)
    papermill_engines.register(ENGINE, ClaimbookEngine)
    # It fills parameters into paths: a brace is to stay one.
    paths = [str(path).replace("{", "{{").replace("}", "}}") for path in (notebook, output)]
    papermill.execute_notebook(
        *paths,
        parameters=parameters,
        engine_name=ENGINE,
        kernel_name="python3",
        progress_bar=False,
        **options,
    )

"""Dask workers: local processes, or those of a scheduler that runs somewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common.workflow.base.errors import ClaimbookError

if TYPE_CHECKING:
    from distributed import Client

TIMEOUT = 10
"""Seconds in which a scheduler has to answer."""


@dataclass(frozen=True)
class Workers:
    """Where tasks run: in `local` processes, or at the scheduler `scheduler`."""

    local: int = 0
    scheduler: str = ""
    shared: Path | None = None
    """A folder that all workers see; None for a default."""


def chosen_workers(local: int | None, scheduler: str | None, shared: Path | None) -> Workers | None:
    """What the command line asks for; None runs without workers.

    Raises:
        ClaimbookError: the options contradict one another.
    """
    if local is not None and scheduler is not None:
        raise ClaimbookError(
            "--workers starts workers here and --scheduler uses those of a running Dask "
            "scheduler: give one of them."
        )
    if local is not None and local < 1:
        raise ClaimbookError(f"--workers {local}: at least one is needed.")
    if local is None and scheduler is None:
        if shared is not None:
            raise ClaimbookError("--shared is for --workers or --scheduler: give one of them.")
        return None
    return Workers(local or 0, scheduler or "", shared)


def without_gpu() -> bool:
    """Whether profile gpu is to run on processors."""
    return os.environ.get("CLAIMBOOK_WITHOUT_GPU") == "1"


def local_devices(workers: int) -> list[str]:
    """`CUDA_VISIBLE_DEVICES` for each of `workers` local workers.

    Raises:
        ClaimbookError: there are fewer devices than workers.
    """
    import torch

    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = visible.split(",")[:count] if visible else [str(number) for number in range(count)]
    if workers > count:
        raise ClaimbookError(
            f"profile gpu: torch finds {count} GPUs for {workers} workers. Start at most that many "
            "workers, or set CLAIMBOOK_WITHOUT_GPU=1 to run the gpu parameters on processors."
        )
    return [",".join(names[number::workers]) for number in range(workers)]


@contextmanager
def local_client(workers: int, folder: Path, resources: dict[str, float]) -> Iterator[Client]:
    """A client of `workers` processes of this machine, which end with the context.

    Args:
        workers: how many.
        folder: where they keep their files.
        resources: what each of them declares.
    """
    import dask
    from distributed import Client, LocalCluster, Security

    # Loopback is open to every user of the machine: hence TLS, and no pages.
    quiet: dict[str, list[str]] = {
        f"distributed.{role}.http.routes": [] for role in ("scheduler", "worker")
    }
    with (
        dask.config.set(quiet),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            security=Security.temporary(),
            protocol="tls://",
            memory_limit=0,
            local_directory=str(folder),
            resources=resources,
            preload=["import os; os.setpgrp()"],  # a Ctrl-C is for this process alone
            silence_logs=50,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@contextmanager
def remote_client(scheduler: str) -> Iterator[Client]:
    """A client of the scheduler at an address, or of the one that a scheduler file names.

    Raises:
        ClaimbookError: nobody answers there, or with another protocol.
    """
    from distributed import Client

    is_address = scheduler.startswith(("tcp://", "tls://"))
    if not is_address and not _appears(Path(scheduler)):
        raise ClaimbookError(
            f"--scheduler {scheduler}: no such file, and no address such as tcp://HOST:8786 or "
            "tls://HOST:8786."
        )
    where = {"address" if is_address else "scheduler_file": scheduler}
    try:
        client = Client(**where, timeout=TIMEOUT)
    except (OSError, ValueError, TypeError) as error:
        raise ClaimbookError(
            f"no Dask scheduler answers at {scheduler} within {TIMEOUT} s: {error}. Does it run, "
            "and does a tls:// address have its certificates in Dask's configuration?"
        ) from None
    with client:
        yield client


def _appears(file: Path) -> bool:
    """Whether the file is there, or comes soon: its scheduler may have been started just now."""
    deadline = time.monotonic() + TIMEOUT
    while not file.is_file() and file.suffix == ".json" and time.monotonic() < deadline:
        time.sleep(0.1)
    return file.is_file()

"""Spread one training over the GPUs, or several processes, of this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]


def accelerate_launch(
    module: ModuleType, arguments: Sequence[str] = (), processes: int | None = None
) -> None:
    """Run a module as a program, in several processes that train together.

    It makes an `accelerate.Accelerator`, and writes its results in the main process only.
    What the processes print is passed on. They end with this process, however that ends. While
    they run, PyTorch's rendezvous listens on every interface of the machine.

    Args:
        module: for example `papers.my_paper.train`, imported: so its code counts for the code hash
            of the notebook, as a name in a string would not.
        arguments: its command line.
        processes: how many; None for one on each GPU, or a single one where there is none.
            Without a GPU they run on processors and share the threads that this process has.

    Raises:
        ValueError: there are GPUs, but fewer than `processes`.
        RuntimeError: one of the processes failed; the last lines that were printed are told.
    """
    gpus = _gpus()
    processes = processes or gpus or 1
    if 0 < gpus < processes:
        raise ValueError(f"{processes} processes for {gpus} GPUs: ask for at most {gpus}")
    with TemporaryDirectory() as folder:
        settings = Path(folder) / "accelerate.json"
        settings.write_text(json.dumps(_settings(processes)))
        launcher = [sys.executable, "-m", "accelerate.commands.launch"]
        options = ["--config_file", str(settings), "--num_cpu_threads_per_process"]
        threads = max(1, int(os.environ.get("OMP_NUM_THREADS", "1")) // processes)
        command = [*launcher, *options, str(threads), "-m", module.__name__, *arguments]
        status, printed = _run(command, _environment(on_gpus=gpus > 0))
    if status:
        raise RuntimeError(f"{module.__name__} failed in {processes} processes:\n{printed}")


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _settings(processes: int) -> dict[str, object]:
    """A whole configuration, so that the user's own one counts for nothing."""
    return {
        "compute_environment": "LOCAL_MACHINE",
        "debug": False,
        "distributed_type": "MULTI_GPU" if processes > 1 else "NO",
        "gpu_ids": "all",
        "machine_rank": 0,
        "main_process_port": 0,  # any free one
        "mixed_precision": "no",
        "num_machines": 1,
        "num_processes": processes,
        "use_cpu": False,
    }


def _environment(on_gpus: bool) -> dict[str, str]:
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    fixed = {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
    # `accelerate launch --cpu` starts a single process; the variable reaches all of several.
    return dict(os.environ) | fixed | ({} if on_gpus else {"ACCELERATE_USE_CPU": "true"})


def _run(command: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """The exit status, and the last lines before the launcher's own complaint."""
    process = subprocess.Popen(
        [sys.executable, "-m", "common.tether", *command],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdin is not None and process.stdout is not None
    last: deque[str] = deque(maxlen=100)
    with process.stdin:  # closed on an interrupt, which ends the processes
        for line in process.stdout:
            print(line, end="")
            last.append(line)
        status = process.wait()
    lines = list(last)
    complaints = [number for number, line in enumerate(lines) if line.startswith("Traceback")]
    return status, "".join(lines[: complaints[-1]] if complaints else lines)

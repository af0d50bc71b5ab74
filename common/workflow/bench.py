"""Run the benchmarks of `benchmarks/`."""

from __future__ import annotations

import os
import subprocess
import sys

from common.workflow.base.errors import ClaimbookError, did_you_mean
from common.workflow.base.project import ROOT


def run_benchmarks(name: str | None) -> None:
    """Run one benchmark, or all, each in a process of its own.

    Raises:
        ClaimbookError: there is no benchmark called `name`, or one failed.
    """
    known = [file.stem for file in sorted((ROOT / "benchmarks").glob("[a-z]*.py"))]
    if name and name not in known:
        raise ClaimbookError(
            f"benchmarks/{name}.py does not exist{did_you_mean(name, known)}. "
            f"Benchmarks: {', '.join(known)}."
        )
    for one in [name] if name else known:
        print(f"== {one}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{one}"]
        environment = dict(os.environ) | {"PYTHONPATH": str(ROOT)}
        if subprocess.run(command, cwd=ROOT, env=environment).returncode:
            raise ClaimbookError(f"benchmarks/{one}.py failed; its message is above.")

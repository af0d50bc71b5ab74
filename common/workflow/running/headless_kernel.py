"""IPython's kernel for notebooks that nobody watches."""

import os
import runpy
import sys

sys.modules.setdefault("debugpy", None)  # type: ignore[arg-type]  # its import takes 0.2 s
if parent := os.environ.get("JPY_PARENT_PID"):  # a fork has read its server's when it was imported
    sys.argv.append(f"--IPKernelApp.parent_handle={parent}")
runpy.run_module("ipykernel_launcher", run_name="__main__")

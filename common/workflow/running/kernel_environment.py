"""What the runner fixes around every notebook; part of every result's code hash.

Bits depend on the number of threads, on hash seeds and on a user's own start-up files: all of
them are set here and nowhere else.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

THREADS = {"smoke": 2, "cpu": 2}
"""Threads of numerical libraries; other profiles use every core."""

OFFLINE = ("smoke", "cpu")
"""Profiles in which a connection to anything but this machine is an error."""


def kernel_environment(
    profile: str, root: Path, output: Path, cache: Path, checkpoints: Path
) -> dict[str, str]:
    """The environment variables of a notebook's kernel.

    Args:
        profile: decides threads, network and the visibility of accelerators.
        root: the checkout; it becomes the kernel's PYTHONPATH, so that `common` is its own.
        output: the folder that `common.measurements` writes to.
        cache: compiled code of exactly this code version.
        checkpoints: pieces of exactly this run, left by an interruption.
    """
    threads = str(THREADS.get(profile) or os.cpu_count() or 1)
    libraries = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "NUMBA", "VECLIB_MAXIMUM")
    fixed = {f"{library}_NUM_THREADS": threads for library in libraries} | {
        "CLAIMBOOK_CHECKPOINTS": str(checkpoints),
        "CLAIMBOOK_OUTPUT": str(output),
        "PYTHONPATH": str(root),
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "NUMBA_CACHE_DIR": str(cache / "numba"),
        "TOKENIZERS_PARALLELISM": "false",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    }
    if profile in OFFLINE:
        fixed |= {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    dropped = ("PYTHONSTARTUP", "PYTHONHOME", "MATPLOTLIBRC", "PYTHONDONTWRITEBYTECODE")
    return {key: value for key, value in os.environ.items() if key not in dropped} | fixed


PREAMBLE = """
import importlib.util as _util, os as _os, sys as _sys
_origin = _util.find_spec("common").origin
if not _os.path.samefile(_os.path.dirname(_origin), _os.path.join({root!r}, "common")):
    raise ImportError(f"`common` would be imported from {{_origin}}, not from {root}")
def _guard(event, args):
    if event == "socket.connect" and isinstance(args[1], tuple):
        host = args[1][0]
    elif event == "socket.getaddrinfo":
        host = args[0]
    else:
        return
    if host not in (None, "", "localhost") and not str(host).startswith(("127.", "::1")):
        raise ConnectionError(
            f"profile {profile!r} runs without a network; {{host}} was asked for. Load hub data "
            "in the gpu profile, or name a local file.")
if {offline}:
    _sys.addaudithook(_guard)
"""
"""Runs in the kernel before the notebook; its text is formatted with root, profile, offline."""


class _InText(str):
    """A path that may stand in the text of an f-string, too, whatever its characters."""

    def __format__(self, spec: str) -> str:
        return json.dumps(str(self))[1:-1].replace("{", "{{").replace("}", "}}")


def preamble(profile: str, root: Path) -> str:
    """The check of `common` and the network guard, as code for the kernel."""
    return PREAMBLE.format(root=_InText(root), profile=profile, offline=profile in OFFLINE)

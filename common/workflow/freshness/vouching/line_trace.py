"""Writes down which lines of a checkout run: copied into it as `sitecustomize.py`.

Python imports that at its start wherever the checkout is on PYTHONPATH, so this sees the runner,
its kernels and their worker processes. Every line is written when it runs for the first time: a
process that is killed loses nothing. It imports nothing of the project.
"""

import os
import sys
import threading
from types import CodeType, FrameType
from typing import Any

VARIABLE = "CLAIMBOOK_TRACE"
"""Names the folder of the traces; unset: nothing is written."""

_ROOT = os.path.dirname(os.path.abspath(__file__)) + os.sep
_OWN = (_ROOT + "common" + os.sep, _ROOT + "papers" + os.sep)

_keys: dict[str, str] = {}
_tracers: dict[int, tuple[CodeType, set[int], Any]] = {}
_file: list[int] = []


def _key(filename: str) -> str:
    """How the trace names a file: by its path in the checkout, or as a notebook's cell."""
    if filename.startswith(_OWN):
        return filename[len(_ROOT) :]
    folder, name = os.path.split(filename)
    return name if os.path.basename(folder).startswith("ipykernel_") else ""


def _write(key: str, line: int) -> bool:
    if not _file:
        folder = os.environ.get(VARIABLE)
        if not folder:
            return False
        os.makedirs(folder, exist_ok=True)
        name = os.path.join(folder, f"{os.getpid()}")
        _file.append(os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644))
    os.write(_file[0], f"{key}\t{line}\n".encode())
    return True


def _tracer(code: CodeType, key: str) -> tuple[set[int], Any]:
    """Lines of a code object that have not run, and what notices that they do."""
    lines = {line for _, _, line in code.co_lines() if line}
    # Entering a function is no line of it, unless everything stands on the first one.
    left = lines - {code.co_firstlineno} or set(lines)

    def local(frame: FrameType, event: str, argument: Any) -> Any:
        number = frame.f_lineno
        if event == "line" and number in lines and _write(key, number):
            lines.discard(number)
            left.discard(number)
        if not left:
            frame.f_trace_lines = False  # nothing more to see: run at full speed
        return local

    return left, local


def _calls(frame: FrameType, event: str, argument: Any) -> Any:
    code = frame.f_code
    key = _keys.get(code.co_filename)
    if key is None:
        key = _keys[code.co_filename] = _key(code.co_filename)
    if not key:
        return None
    if id(code) not in _tracers:
        _tracers[id(code)] = (code, *_tracer(code, key))  # kept, so that its id stays its own
    _, left, local = _tracers[id(code)]
    return local if left else None


def _start() -> None:
    _file.clear()
    _tracers.clear()
    threading.settrace(_calls)
    sys.settrace(_calls)


os.register_at_fork(after_in_child=_start)
if os.environ.get(VARIABLE):
    _start()

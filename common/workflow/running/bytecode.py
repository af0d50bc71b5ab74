"""Bytecode that Python checks against the source's content instead of its time and size."""

from __future__ import annotations

import py_compile
from collections.abc import Iterable
from contextlib import suppress
from importlib.util import cache_from_source
from pathlib import Path

from common.workflow.base.project import ROOT

_CHECKED_BY_CONTENT = (0b11).to_bytes(4, "little")
"""The flags after the magic number of a `.pyc` file: see PEP 552."""


def check_by_content(modules: Iterable[str]) -> None:
    """Let the next import of these modules compare their source by content, now and for good.

    By default Python takes a module that was edited within the same second, to the same size, from
    its old bytecode. The code hash is that of the source: it would certify what did not run.

    Args:
        modules: dotted names of this checkout's modules.
    """
    for name in modules:
        path = ROOT.joinpath(*name.split("."))
        source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if source.is_file() and not _is_checked(Path(cache_from_source(str(source)))):
            with suppress(OSError, py_compile.PyCompileError):  # a read-only tree; a broken module
                py_compile.compile(
                    str(source),
                    doraise=True,
                    invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH,
                )


def _is_checked(bytecode: Path) -> bool:
    try:
        with bytecode.open("rb") as file:
            return file.read(8)[4:] == _CHECKED_BY_CONTENT
    except OSError:
        return False

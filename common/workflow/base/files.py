"""Files that are whole or absent, and their hashes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common.workflow.base.errors import ClaimbookError
from common.workflow.base.project import relative


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` at once: a reader sees the old file or the new one.

    Raises:
        OSError: it cannot be written (full disk, read-only folder); its `filename` is `path`.
    """
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w") as file:  # closing flushes: it can fail as well
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an `OSError` name `path` where it names no file, or a temporary one beside it."""
    try:
        yield
    except OSError as error:
        hidden, named = path.with_name(f".{path.name}."), error.filename
        if error.errno is not None and (named is None or str(named).startswith(str(hidden))):
            error.filename = str(path)
        raise


def to_json(value: Any) -> str:
    """Canonical JSON: sorted keys, shortest float text, NaN refused."""
    return json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write canonical JSON at once."""
    write_text(path, to_json(value))


def read_json(path: Path) -> Any:
    """The value of a JSON file; a clear error when it is damaged."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise ClaimbookError(f"{relative(path)} does not exist.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ClaimbookError(f"{relative(path)} is damaged (no JSON): {error}.") from None


def sha256(data: bytes | str) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_tree(path: Path) -> dict[str, str]:
    """SHA-256 of a file (key ".") or of every file below a folder, by relative path."""
    if path.is_file():
        return {".": hash_file(path)}
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {file.relative_to(path).as_posix(): hash_file(file) for file in files}


def hash_path(path: Path) -> str:
    """One hash for a file or a folder with all that it holds."""
    return sha256(to_json(hash_tree(path)))


def replace_folder(new: Path, final: Path) -> None:
    """Put the folder `new` in the place of `final`.

    A kill in between leaves the old one, the new one or none, never a mixture.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    old = new.with_name(f"{new.name}.old")
    try:
        if final.exists():
            os.replace(final, old)
        os.replace(new, final)
    except BaseException:  # an interrupt included
        if old.exists() and not final.exists():
            os.replace(old, final)
        raise
    shutil.rmtree(old, ignore_errors=True)


PATIENCE = 2.0
"""Seconds in which a run whose pipeline was killed ends and gives back its lock."""


@contextmanager
def folder_lock(folder: Path, lock_folder: Path) -> Iterator[None]:
    """Hold the only right to write `folder`.

    Raises:
        ClaimbookError: another process holds it; its process id is named. The lock goes with the
            process, so there is never one to remove by hand.
    """
    from filelock import FileLock, Timeout

    lock_folder.mkdir(parents=True, exist_ok=True)
    file = lock_folder / f"{folder.parent.name}-{folder.name}.lock"
    holder = file.with_suffix(".pid")
    try:
        with FileLock(file, timeout=PATIENCE):
            write_text(holder, str(os.getpid()))
            yield
    except Timeout:
        pid = holder.read_text() if holder.exists() else "unknown"
        raise ClaimbookError(
            f"another run (process {pid}) is writing {relative(folder)}. Wait for it, or stop it; "
            "nothing was touched."
        ) from None

"""Folders for socket files, whose paths may have about 100 characters."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.workflow.base.errors import ClaimbookError

LONGEST = 70
"""Bytes of a folder's path that leave room for the names of sockets in it (107 in all on Linux)."""


@contextmanager
def socket_folder() -> Iterator[Path]:
    """A new folder with a short path, in TMPDIR where that is short enough.

    Raises:
        ClaimbookError: there is none that can be written.
    """
    places = (
        tempfile.gettempdir(),
        os.environ.get("XDG_RUNTIME_DIR"),
        "/tmp",
        "/var/tmp",
        "/dev/shm",
    )
    for place in places:
        if place and len(os.fsencode(place)) <= LONGEST and os.access(place, os.W_OK | os.X_OK):
            with tempfile.TemporaryDirectory(prefix="cb-", dir=place) as folder:
                yield Path(folder)
            return
    raise ClaimbookError(
        f"no folder for sockets: TMPDIR ({tempfile.gettempdir()}) is longer than {LONGEST} "
        "characters, and /tmp cannot be written. Set TMPDIR to a shorter path."
    )

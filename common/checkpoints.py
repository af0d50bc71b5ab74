"""Long measurements in pieces that survive an interruption."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

from common.file_names import file_name

if TYPE_CHECKING:
    import pandas as pd


P = ParamSpec("P")


def resumable(
    name: str, measure: Callable[P, pd.DataFrame], *args: P.args, **kwargs: P.kwargs
) -> pd.DataFrame:
    """`measure(*args, **kwargs)`, or what it returned before this very run was interrupted.

    The runner gives every combination of code, parameters and data a folder of its own and
    deletes it when the notebook is through, so a piece is never taken from another version. A
    notebook that is run by hand keeps nothing.

    Args:
        name: tells the pieces of one notebook apart.
        measure: returns one piece of a table.
        args: what `measure` is called with; it follows from the notebook's parameters.
        kwargs: likewise, by name.
    """
    import pandas as pd

    folder = os.environ.get("CLAIMBOOK_CHECKPOINTS")
    if not folder:
        return measure(*args, **kwargs)
    file = Path(folder) / f"{file_name(name)}.parquet"
    if file.exists():
        with suppress(OSError, ValueError):  # a damaged piece is measured again
            return pd.read_parquet(file)
    frame = measure(*args, **kwargs)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    frame.to_parquet(partial)
    os.replace(partial, file)
    return frame

"""Writing down what a notebook measured: tidy tables and figures.

Every notebook imports this module, so a change here makes every result stale. It stays tiny.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from common.file_names import file_name

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def output_folder() -> Path:
    """Where results go: the runner's folder, or `results/_interactive` when run by hand."""
    folder = Path(os.environ.get("CLAIMBOOK_OUTPUT", "results/_interactive"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


LARGE = 1000
"""Tables with more rows are written as Parquet, which is a quarter of the size."""


def save_table(frame: pd.DataFrame, name: str, keys: list[str]) -> None:
    """Write one observation per row to `<name>.csv`, sorted by its keys.

    A table of more than `LARGE` rows becomes `<name>.parquet`.

    Args:
        frame: factors (seed, method, step, ...) and metrics as columns.
        name: the name by which claims refer to the table.
        keys: the columns that tell observations apart.

    Raises:
        ValueError: a key is no column, or two rows have the same keys.
    """
    unknown = [key for key in keys if key not in frame.columns]
    if unknown:
        raise ValueError(f"table {name!r}: the keys {unknown} are no columns of {list(frame)}")
    twins = frame[frame.duplicated(keys, keep=False)]
    if len(twins):
        raise ValueError(f"table {name!r}: rows with equal keys {keys}:\n{twins.head(4)}")
    folder = output_folder()
    frame = frame.sort_values(keys, ignore_index=True)
    if len(frame) > LARGE:
        frame.to_parquet(folder / f"{file_name(name)}.parquet", compression="zstd", index=False)
    else:
        frame.to_csv(folder / f"{file_name(name)}.csv", index=False, lineterminator="\n")
    index = folder / "tables.json"
    tables = json.loads(index.read_text()) if index.exists() else {}
    index.write_text(json.dumps(tables | {name: {"keys": keys}}))


def save_figure(figure: Figure, name: str) -> None:
    """Write `<name>.png`, without the date and version that would make equal figures differ."""
    from io import BytesIO

    file = BytesIO()
    figure.savefig(file, format="png", dpi=90, metadata={"Software": None})
    (output_folder() / f"{file_name(name)}.png").write_bytes(small_png(file.getvalue()))


def small_png(png: bytes) -> bytes:
    """The picture with 64 colours, which is a quarter of the size: git remembers every one."""
    from io import BytesIO

    from PIL import Image

    picture = Image.open(BytesIO(png))
    if picture.mode == "P":
        return png
    file = BytesIO()
    small = picture.convert("RGB").quantize(64, dither=Image.Dither.NONE)
    small.save(file, "PNG", optimize=True)
    return file.getvalue()

"""How near a re-run came to the committed results, on five levels."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.file_names import text_of
from common.workflow.base.files import hash_tree, read_json

if TYPE_CHECKING:
    import pandas as pd

FLOAT_TOLERANCE = 1e-9
"""Relative; what another compiler or instruction set may change in float64 arithmetic."""


class Level(enum.IntEnum):
    """From the best to the worst; only `DIFFERENT` is a failure."""

    IDENTICAL = 0
    EQUAL = 1
    WITHIN_INTERVALS = 2
    SAME_VERDICTS = 3
    DIFFERENT = 4

    @property
    def text(self) -> str:
        return (
            "identical: every measurement and verdict, to the bit",
            f"equal within float tolerance ({FLOAT_TOLERANCE:g} relative)",
            "estimates inside the committed intervals",
            "same verdicts",
            "DIFFERENT",
        )[self]


@dataclass(frozen=True)
class Comparison:
    """The level reached, and what kept it from a better one."""

    level: Level
    differences: list[str]


def compare(committed: Path, fresh: Path) -> Comparison:
    """Compare two `results/<profile>` folders by the keyed values of their tables and by verdicts.

    Args:
        committed: results as they stand in git.
        fresh: results of the re-run.
    """
    before, after = _claims(committed), _claims(fresh)
    changed = _changed_verdicts(before, after)
    if changed:
        return Comparison(Level.DIFFERENT, changed)
    bytes_differ = _differing_measurements(committed, fresh)
    if not bytes_differ and before == after:
        return Comparison(Level.IDENTICAL, [])
    beyond = [text for name in bytes_differ for text in _table_differences(committed, fresh, name)]
    if not beyond:
        return Comparison(Level.EQUAL, bytes_differ)
    outside = _outside_intervals(before, after)
    if not outside:
        return Comparison(Level.WITHIN_INTERVALS, beyond)
    return Comparison(Level.SAME_VERDICTS, outside)


def _claims(results: Path) -> dict[str, Any]:
    return dict(read_json(results / "verdicts.json")["claims"])


def _changed_verdicts(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    names = sorted(before.keys() | after.keys())
    verdicts = {
        name: [side.get(name, {}).get("verdict", "absent") for side in (before, after)]
        for name in names
    }
    return [f"{name}: {old} -> {new}" for name, (old, new) in verdicts.items() if old != new]


def _differing_measurements(committed: Path, fresh: Path) -> list[str]:
    """Tables whose bytes differ or that only one side has."""
    old, new = (
        {k: v for k, v in hash_tree(side).items() if _is_table(k)} for side in (committed, fresh)
    )
    return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))


def _is_table(name: str) -> bool:
    return name.endswith((".csv", ".parquet"))


def _table_differences(committed: Path, fresh: Path, name: str) -> list[str]:
    """What differs in one table beyond the float tolerance, keyed by its key columns."""
    import numpy as np
    import pandas as pd

    if not (committed / name).exists() or not (fresh / name).exists():
        return [
            f"{name}: only in the {'committed' if (committed / name).exists() else 'new'} results"
        ]
    old, new = _keyed(committed, name), _keyed(fresh, name)
    if not old.index.equals(new.index) or list(old.columns) != list(new.columns):
        return [f"{name}: other rows or columns ({old.shape} -> {new.shape})"]
    differences = []
    for column in old.columns:
        a, b = old[column], new[column]
        if pd.api.types.is_float_dtype(a) and pd.api.types.is_numeric_dtype(b):
            unequal = ~np.isclose(a, b, rtol=FLOAT_TOLERANCE, atol=0.0, equal_nan=True)
        else:
            unequal = ~((a == b) | (a.isna() & b.isna())).to_numpy()
        if unequal.any():
            row = int(unequal.argmax())
            differences.append(
                f"{name}: {column} differs in {unequal.sum()} of {len(a)} rows, first at "
                f"{dict(zip(old.index.names, np.atleast_1d(old.index[row]), strict=False))}: "
                f"{a.iloc[row]} -> {b.iloc[row]}"
            )
    return differences


def _keyed(results: Path, name: str) -> pd.DataFrame:
    import pandas as pd

    file = results / name
    tables = read_json(file.parent / "inputs.json")["tables"]
    read = pd.read_parquet if file.suffix == ".parquet" else pd.read_csv
    return read(file).set_index(tables[text_of(file.stem)]["keys"]).sort_index()


def _outside_intervals(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    outside = []
    for name, claim in before.items():
        old, new = claim.get("effect"), after[name].get("effect")
        if not old or not new or old.get("interval") is None:
            continue
        low, high = old["interval"]
        low = float("-inf") if low is None else low
        high = float("inf") if high is None else high
        if not low <= new["estimate"] <= high:
            outside.append(f"{name}: {new['estimate']:.6g} is not in [{low:.6g}, {high:.6g}]")
    return outside

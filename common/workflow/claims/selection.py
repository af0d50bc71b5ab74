"""From the tables that notebooks wrote to the rows that one claim uses.

A table is looked up in every results folder of the profile; the parts that the arms of a matrix
stage wrote are put together. Nothing is dropped silently: whatever cannot be found is an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.file_names import file_name, text_of
from common.workflow.base.errors import ClaimbookError, did_you_mean
from common.workflow.claims.kinds import Arithmetic, Bound, ClosedForm, Measured, TimeToEvent
from common.workflow.claims.schema import LAST, Claim, Claims

SUFFIXES = (".csv", ".parquet")


class SelectionError(ClaimbookError):
    """A claim names something that its results do not hold; `keys` lead to it in the claim."""

    def __init__(self, keys: Sequence[str], message: str) -> None:
        super().__init__(message)
        self.keys = keys


class NoResults(ClaimbookError):
    """The profile has no results at all: the claim has not been run."""


@dataclass(frozen=True)
class Table:
    """One measured table, all parts together.

    Attributes:
        frame: one observation per row.
        seeds: all seeds with which its notebooks ran, from `inputs.json`.
        folders: names of the results folders that the parts come from.
    """

    frame: pd.DataFrame
    seeds: tuple[int, ...]
    folders: tuple[str, ...]


@dataclass(frozen=True)
class Rows:
    """The rows that one claim uses: `groups` of equal `for_each` values (one without it)."""

    groups: tuple[tuple[dict[str, Any], pd.DataFrame], ...]
    seeds: tuple[int, ...]
    folders: tuple[str, ...]

    @property
    def used_seeds(self) -> list[int]:
        """The seeds that the rows carry, otherwise those of the run."""
        frames = [frame for _, frame in self.groups if "seed" in frame]
        found = {int(seed) for frame in frames for seed in frame["seed"].dropna()}
        return sorted(found or set(self.seeds))


def select_rows(claims: Claims, claim_id: str, results: Path, profile: str) -> Rows:
    """The rows that a claim uses from `<results>/<profile>/*/<table>.csv` or `.parquet`.

    Raises:
        NoResults: nothing was run in this profile.
        ClaimbookError: table, column, value or level not found; begins with file and line.
    """
    claim = claims.claim(claim_id)
    try:
        return rows_of(claim, read_table(claim, results / profile))
    except SelectionError as error:
        place = claims.place(claim_id.rpartition("/")[2], error.keys)
        raise ClaimbookError(f"{place}: {error}") from None


def read_table(claim: Claim, folder: Path) -> Table:
    """All parts of the claim's table below the results `folder` of one profile."""
    assert claim.measure is not None, "arithmetic claims use no table"
    name = claim.measure.table
    files = sorted(file for suffix in SUFFIXES for file in folder.glob(f"*/*{suffix}"))
    if not files:
        raise NoResults(f"no results in {folder.name}")
    parts = [file for file in files if file.stem == file_name(name)]
    if not parts:
        known = sorted({text_of(file.stem) for file in files})
        raise SelectionError(
            ("measure", "table"),
            f"no notebook wrote a table {name!r} in profile {folder.name}"
            f"{did_you_mean(name, known)}; there are {', '.join(known)}",
        )
    frames = [_read(file) for file in parts]
    for file, frame in zip(parts[1:], frames[1:], strict=True):
        if odd := set(frame.columns) ^ set(frames[0].columns):
            raise SelectionError(
                ("measure", "table"),
                f"the parts of {name!r} in {parts[0].parent.name} and {file.parent.name} "
                f"differ in their columns: {', '.join(sorted(odd))}",
            )
    folders = tuple(file.parent.name for file in parts)
    seeds = {seed for file in parts for seed in _seeds(file.parent)}
    return Table(pd.concat(frames, ignore_index=True), tuple(sorted(seeds)), folders)


def _read(file: Path) -> pd.DataFrame:
    if file.suffix == ".parquet":
        return pd.read_parquet(file)
    # A method may be called "None" or "NA"; only an empty cell and nan mean missing.
    return pd.read_csv(file, keep_default_na=False, na_values=["", "nan", "NaN"])


def _seeds(folder: Path) -> list[int]:
    file = folder / "inputs.json"
    return json.loads(file.read_text()).get("seeds", []) if file.exists() else []


def rows_of(claim: Claim, table: Table) -> Rows:
    """The claim's rows of `table`, filtered, in groups.

    Raises:
        SelectionError: a column or value that the table does not have, or nothing left.
    """
    measure, test = claim.measure, claim.test
    assert measure is not None
    assert not isinstance(test, Arithmetic)
    for keys, column in _columns(claim):
        if column not in table.frame:
            known = [str(name) for name in table.frame.columns]
            raise SelectionError(
                keys,
                f"table {measure.table!r} has no column {column!r}"
                f"{did_you_mean(column, known)}; it has {', '.join(known)}",
            )
    frame = _filtered(table.frame, measure.where, test)
    frame = frame.assign(**{measure.metric: _numbers(frame, measure.metric)})
    for keys, column in _columns(claim):
        if keys[-1] in ("event", "expected", "limit"):
            _numbers(frame, column, keys)
    if isinstance(test, TimeToEvent):
        _check_flags(frame, test.event)
    groups = tuple(_groups(frame, test.for_each))
    return Rows(groups, table.seeds, table.folders)


def _columns(claim: Claim) -> Iterable[tuple[tuple[str, ...], str]]:
    """Every column that the claim names, with the keys under which it does."""
    measure, test = claim.measure, claim.test
    assert measure is not None
    yield ("measure", "metric"), measure.metric
    yield from ((("measure", "where", name), name) for name in measure.where)
    for key in ("factor", "x", "event"):
        if isinstance(column := getattr(test, key, None), str):
            yield ("test", key), column
    for key in ("per", "pair_by", "for_each"):
        yield from ((("test", key), column) for column in getattr(test, key, ()))
    if isinstance(test, ClosedForm) and isinstance(test.expected, str):
        yield ("test", "expected"), test.expected
    if isinstance(test, Bound) and isinstance(test.limit, str):
        yield ("test", "limit"), test.limit
    bound = getattr(getattr(test, "expect", None), "bound", None)
    if isinstance(bound, str):
        yield ("test", "expect", "bound"), bound


def _filtered(frame: pd.DataFrame, where: dict[str, Any], test: Measured) -> pd.DataFrame:
    whole = frame
    for column, wanted in where.items():
        if wanted == LAST:
            continue
        mask = pd.Series(False, index=frame.index)
        for value in wanted if isinstance(wanted, tuple) else (wanted,):
            _check_occurs(whole[column], value, ("measure", "where", column))
            mask |= matches(frame[column], value)
        frame = frame[mask]
        if frame.empty:
            raise SelectionError(
                ("measure", "where", column),
                f"no row is left with {column} = {wanted!r} after the filters before it",
            )
    for column in (name for name, wanted in where.items() if wanted == LAST):
        by = [frame[name] for name in test.for_each] or [pd.Series(0, index=frame.index)]
        frame = frame[frame[column] == frame[column].groupby(by, dropna=False).transform("max")]
    for key in ("compare", "order"):
        for level in getattr(test, key, ()):
            _check_occurs(frame[getattr(test, "factor")], level, ("test", key))  # noqa: B009
    return frame


def _check_occurs(column: pd.Series, value: Any, keys: tuple[str, ...]) -> None:
    if not matches(column, value).any():
        known = [str(one) for one in sorted(column.dropna().unique().tolist(), key=_order)]
        shown = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
        near = did_you_mean(str(value), known) if isinstance(value, str) else ""
        raise SelectionError(
            keys, f"{value!r} does not occur in column {column.name!r}{near}; there are {shown}"
        )


def matches(column: pd.Series, value: Any) -> pd.Series:
    """Where `column` equals `value`; numbers are compared up to rounding, others as text."""
    if pd.api.types.is_numeric_dtype(column):
        if isinstance(value, str):
            return pd.Series(False, index=column.index)
        close = np.isclose(column.to_numpy(dtype=float), float(value), rtol=1e-9, atol=0)
        return pd.Series(close, index=column.index)
    return column.astype(str) == str(value)


def _numbers(
    frame: pd.DataFrame, column: str, keys: tuple[str, ...] = ("measure", "metric")
) -> pd.Series:
    """The column as floats; infinite values count as missing."""
    try:
        values = frame[column].astype(float)
    except (TypeError, ValueError):
        example = next(value for value in frame[column] if isinstance(value, str))
        raise SelectionError(
            keys, f"column {column!r} holds {example!r}, which is no number"
        ) from None
    return values.where(np.isfinite(values))


def _check_flags(frame: pd.DataFrame, column: str) -> None:
    if odd := sorted(set(frame[column].dropna().astype(float)) - {0.0, 1.0}):
        raise SelectionError(
            ("test", "event"), f"column {column!r} should hold 0 or 1, but has {odd[0]:g}"
        )


def _groups(
    frame: pd.DataFrame, columns: tuple[str, ...]
) -> Iterable[tuple[dict[str, Any], pd.DataFrame]]:
    if not columns:
        yield {}, frame
        return
    for values, part in frame.groupby(list(columns), dropna=False, sort=True):
        yield dict(zip(columns, (_plain(value) for value in values), strict=True)), part


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _order(value: Any) -> tuple[bool, Any]:
    """Sorts numbers before texts."""
    return isinstance(value, str), value


def by_unit(
    claim: Claim, frame: pd.DataFrame, unit: tuple[str, ...], extra: tuple[str, ...] = ()
) -> pd.Series:
    """One value of the metric per unit (and per value of the `extra` columns).

    A missing value stays missing through every kind of `reduce`.

    Raises:
        SelectionError: several rows of one unit, and the claim does not say how to reduce them.
    """
    measure = claim.measure
    assert measure is not None
    by = list(unit + extra)
    grouped = frame.groupby(by, sort=True, dropna=False)[measure.metric]
    if measure.reduce is None:
        sizes = grouped.size()
        if sizes.max() > 1:
            _raise_ambiguous(claim, frame, by, sizes)
        return grouped.agg(lambda values: values.iloc[0])
    if measure.reduce == "last":
        return grouped.agg(lambda values: values.iloc[-1])
    function = getattr(np, measure.reduce)
    return grouped.agg(lambda values: float(function(values.to_numpy())))


def _raise_ambiguous(claim: Claim, frame: pd.DataFrame, by: list[str], sizes: pd.Series) -> None:
    assert claim.measure is not None
    first = sizes.idxmax()
    key = first if isinstance(first, tuple) else (first,)
    mask = np.logical_and.reduce([frame[name] == one for name, one in zip(by, key, strict=True)])
    same = frame[mask]
    differ = [str(name) for name in frame if name not in by and same[name].nunique() > 1]
    differ = [name for name in differ if name != claim.measure.metric]
    at = ", ".join(f"{name} = {one}" for name, one in zip(by, key, strict=True))
    raise SelectionError(
        ("measure",),
        f"{int(sizes.max())} rows are left for {at}; they differ in "
        f"{', '.join(differ) or 'nothing but the metric'}: choose with `where`, split with "
        "`test.for_each`, or say how they become one number with `reduce`",
    )


def constant(frame: pd.DataFrame, value: float | str, keys: tuple[str, ...]) -> float:
    """`value` itself, or the one value of the column of that name.

    Raises:
        SelectionError: the column has several values.
    """
    if not isinstance(value, str):
        return float(value)
    found = frame[value].unique()
    if len(found) != 1 or not np.isfinite(float(found[0])):
        raise SelectionError(
            keys, f"column {value!r} has {len(found)} values in one group; use `for_each`"
        )
    return float(found[0])

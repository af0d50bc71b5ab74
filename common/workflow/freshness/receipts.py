"""Receipts: today's code was seen to measure in miniature what the code of a result measured.

A receipt joins two code hashes for one result. `results/<profile>/receipts/` belongs to no stage.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.workflow.base.errors import ClaimbookError
from common.workflow.base.files import hash_file, read_json, write_json
from common.workflow.base.project import relative

SCHEMA = 1


@dataclass(frozen=True)
class Receipt:
    """What was seen.

    Attributes:
        result: name of the result's folder.
        results: SHA-256 of its `inputs.json`, which holds the hashes of all that was measured.
        old: the code hash that is known for the result.
        new: the code hash that measured the same.
        commits: (old, new), by which anybody can repeat it.
        tables: SHA-256 of the tables of the runs in miniature, by name.
        figures: names of figures that came out different: those of the result have the old look.
        changes: names of the definitions that differ.
        because: reasons that somebody gave, by function.
    """

    result: str
    results: str
    old: str
    new: str
    commits: tuple[str, str]
    tables: dict[str, str]
    figures: list[str]
    changes: list[str]
    because: dict[str, str]


def receipt_file(folder: Path, code: str) -> Path:
    """Where the receipt for the result in `folder` and the hash `code` lies."""
    return folder.parent / "receipts" / f"{folder.name}-{code}.json"


def write_receipt(folder: Path, receipt: Receipt) -> None:
    """Put a receipt beside the result in `folder`."""
    value = {
        "schema": SCHEMA,
        "result": receipt.result,
        "results": receipt.results,
        "code": {"old": receipt.old, "new": receipt.new},
        "commits": {"old": receipt.commits[0], "new": receipt.commits[1]},
        "smoke": {"tables": receipt.tables, "other_figures": receipt.figures},
        "changes": receipt.changes,
        "because": receipt.because,
    }
    write_json(receipt_file(folder, receipt.new), value)


def receipts(folder: Path) -> list[Receipt]:
    """All receipts for the result in `folder`.

    Raises:
        ClaimbookError: one of them is damaged, misnamed, or of another result.
    """
    return [_read(folder, file) for file in _files(folder)]


def discard_receipts(folder: Path) -> None:
    """Take away all receipts for `folder`: its results are about to be made anew."""
    for file in _files(folder):
        file.unlink()


def joining(folder: Path, made: str, today: str) -> list[Receipt] | None:
    """Receipts that join the hash of a result's code with today's; None when they do not.

    Raises:
        ClaimbookError: a receipt is inconsistent.
    """
    edges = receipts(folder)
    ways: dict[str, list[Receipt]] = {made: []}
    waiting = [made]
    while waiting:
        here = waiting.pop(0)
        for edge in edges:
            for a, b in ((edge.old, edge.new), (edge.new, edge.old)):
                if a == here and b not in ways:
                    ways[b] = [*ways[here], edge]
                    waiting.append(b)
    return ways.get(today)


def known_codes(folder: Path, made: str) -> set[str]:
    """Hashes of the code that made a result, and of all code that was vouched for it."""
    edges = receipts(folder)
    known = {made}
    while (
        more := {code for one in edges if {one.old, one.new} & known for code in (one.old, one.new)}
        - known
    ):
        known |= more
    return known


def _files(folder: Path) -> Iterator[Path]:
    pattern = re.compile(re.escape(folder.name) + r"-[0-9a-f]{64}\.json")
    beside = sorted((folder.parent / "receipts").glob("*.json"))
    return (file for file in beside if pattern.fullmatch(file.name))


def _read(folder: Path, file: Path) -> Receipt:
    try:
        receipt = _parsed(read_json(file))
    except (KeyError, TypeError, ValueError) as error:
        raise ClaimbookError(f"{relative(file)} is damaged ({error!r}): delete it.") from None
    if file != receipt_file(folder, receipt.new) or receipt.result != folder.name:
        raise ClaimbookError(
            f"{relative(file)} is named after another receipt than it holds: delete it."
        )
    if receipt.results != hash_file(folder / "inputs.json"):
        raise ClaimbookError(
            f"{relative(file)} vouches for other results than {relative(folder)} holds: delete it."
        )
    return receipt


def _parsed(value: Any) -> Receipt:
    if value["schema"] != SCHEMA:
        raise ValueError(f"schema {value['schema']}")
    texts = [value["result"], value["results"], *value["code"].values()]
    texts += [*value["commits"].values(), *value["changes"], *value["because"].values()]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a text is none")
    return Receipt(
        result=value["result"],
        results=value["results"],
        old=value["code"]["old"],
        new=value["code"]["new"],
        commits=(value["commits"]["old"], value["commits"]["new"]),
        tables=dict(value["smoke"]["tables"]),
        figures=list(value["smoke"]["other_figures"]),
        changes=list(value["changes"]),
        because=dict(value["because"]),
    )

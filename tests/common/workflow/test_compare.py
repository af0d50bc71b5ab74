"""The five levels of a reproduction."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.workflow.base.files import write_json
from common.workflow.freshness.compare import Level, compare


def results(folder: Path, value: str, verdict: str = "supported", estimate: float = 1.0) -> Path:
    table = folder / "01_a"
    table.mkdir(parents=True)
    (table / "t.csv").write_text(f"seed,loss\n0,{value}\n1,2.0\n")
    write_json(table / "inputs.json", {"tables": {"t": {"keys": ["seed"]}}})
    claim = {"verdict": verdict, "effect": {"estimate": estimate, "interval": [0.5, 1.5]}}
    write_json(folder / "verdicts.json", {"claims": {"C1": claim}})
    return folder


@pytest.mark.parametrize(
    ("value", "verdict", "estimate", "level", "difference"),
    [
        ("1.0", "supported", 1.0, Level.IDENTICAL, ""),
        ("1.0000000000001", "supported", 1.0, Level.EQUAL, "01_a/t.csv"),
        ("1.01", "supported", 1.4, Level.WITHIN_INTERVALS, "loss differs in 1 of 2 rows"),
        ("3.0", "supported", 1.6, Level.SAME_VERDICTS, "1.6 is not in [0.5, 1.5]"),
        ("3.0", "undecided", 1.6, Level.DIFFERENT, "C1: supported -> undecided"),
        ("nan", "supported", 1.0, Level.WITHIN_INTERVALS, "loss differs in 1 of 2 rows"),
    ],
)
def test_levels(
    tmp_path: Path, value: str, verdict: str, estimate: float, level: Level, difference: str
) -> None:
    committed = results(tmp_path / "committed", "1.0")
    comparison = compare(committed, results(tmp_path / "fresh", value, verdict, estimate))
    assert comparison.level == level
    assert difference in "\n".join(comparison.differences)


def test_a_missing_table_or_row_is_no_small_difference(tmp_path: Path) -> None:
    committed = results(tmp_path / "committed", "1.0")
    fresh = results(tmp_path / "fresh", "1.0")
    (fresh / "01_a" / "t.csv").write_text("seed,loss\n0,1.0\n")
    assert compare(committed, fresh).level == Level.WITHIN_INTERVALS
    (fresh / "01_a" / "t.csv").unlink()
    comparison = compare(committed, fresh)
    assert comparison.level > Level.EQUAL
    assert "only in the committed results" in comparison.differences[0]

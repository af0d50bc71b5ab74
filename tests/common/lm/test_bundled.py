"""Converted weights are those of today's converting code."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.lm import bundled

NAME = "smollm2-135m-instruct"


def test_other_code_converts_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def first(file: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "weights").write_text("first")

    def second(file: Path, folder: Path) -> None:
        folder.mkdir()
        (folder / "weights").write_text("second")

    monkeypatch.setenv("CLAIMBOOK_CACHE", str(tmp_path))
    monkeypatch.setattr(bundled, "weights", lambda name: tmp_path)
    found = []
    for convert in (first, first, second, first):
        monkeypatch.setattr(bundled, "_convert", convert)
        found.append((bundled.converted(NAME) / "weights").read_text())
    assert found == ["first", "first", "second", "first"]
    monkeypatch.setattr("transformers.__version__", "0")
    assert not list(bundled.cache().glob(f"*/{bundled.converter()}"))

"""Files that are whole or absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from common.workflow.base.errors import ClaimbookError
from common.workflow.base.files import folder_lock, hash_path, read_json, replace_folder, write_text


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.json"
    write_text(file, "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_text(file, "new")
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]


def test_replace_folder_leaves_nothing_of_the_old_one(tmp_path: Path) -> None:
    final, new = tmp_path / "final", tmp_path / "new"
    for folder, name in ((final, "old.csv"), (new, "new.csv")):
        folder.mkdir()
        (folder / name).write_text(name)
    replace_folder(new, final)
    assert os.listdir(final) == ["new.csv"]
    assert os.listdir(tmp_path) == ["final"]


def test_the_lock_is_held_once_and_given_back(tmp_path: Path) -> None:
    folder = tmp_path / "cpu" / "01_a"
    with (
        folder_lock(folder, tmp_path / "locks"),
        pytest.raises(ClaimbookError, match=f"process {os.getpid()}"),
        folder_lock(folder, tmp_path / "locks"),
    ):
        pass
    with folder_lock(folder, tmp_path / "locks"):
        pass


def test_hash_path_sees_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = hash_path(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert hash_path(tmp_path) != first


def test_damaged_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"a": ')
    with pytest.raises(ClaimbookError, match=r"x\.json is damaged"):
        read_json(tmp_path / "x.json")

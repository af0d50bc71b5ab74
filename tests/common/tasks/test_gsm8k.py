"""GSM8K's files, and other files of their form."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from pathlib import Path

import pytest

from common.tasks import gsm8k
from common.tasks.gsm8k import load_gsm8k, numbers_in, read_jsonl, without_annotations

ITEM = {"question": "One and 1?", "answer": "1+1=<<1+1=2>>2\n#### 2"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small file in the place of the published test items."""
    content = json.dumps(ITEM) + "\n\n" + json.dumps(ITEM | {"question": "Ünö?"}) + "\n"
    (tmp_path / "test.jsonl").write_text(content, encoding="utf-8")
    digest = hashlib.sha256(content.encode()).hexdigest()
    monkeypatch.setitem(gsm8k.FILES, "test", ("test.jsonl", digest))
    monkeypatch.setenv("CLAIMBOOK_GSM8K", str(tmp_path))
    return tmp_path


def test_items_come_in_their_order(folder: Path) -> None:
    assert load_gsm8k("test") == [ITEM, ITEM | {"question": "Ünö?"}]


def test_another_file_is_refused(folder: Path) -> None:
    with (folder / "test.jsonl").open("a") as file:
        file.write("\n")
    with pytest.raises(ValueError, match="not the published file"):
        load_gsm8k("test")


def test_a_missing_file_says_where_to_get_it(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no train.jsonl in .*openai/gsm8k, config main"):
        load_gsm8k("train")
    with pytest.raises(ValueError, match="split: one of train, test, model_solutions, got 'dev'"):
        load_gsm8k("dev")


def test_folders_are_searched_in_their_order(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLAIMBOOK_GSM8K")
    monkeypatch.setattr(gsm8k, "FOLDERS", (str(tmp_path / "none"), str(folder)))
    assert len(load_gsm8k("test")) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "line 2: no JSON"),
        (b"[1]", "line 2: expected an object"),
        (b'{"question": "?"}', "line 2: no text 'answer'"),
        (b'{"question": "?", "answer": 3}', "line 2: no text 'answer'"),
        (b"\xff", "no UTF-8"),
        (b"[" * 100_000, "line 2: no JSON"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    file = tmp_path / "items.jsonl"
    file.write_bytes(json.dumps(ITEM).encode() + b"\n" + line + b"\n")
    with pytest.raises(ValueError, match=message):
        read_jsonl(file)


def test_a_separator_inside_a_text_is_no_end_of_line(tmp_path: Path) -> None:
    file = tmp_path / "items.jsonl"
    item = ITEM | {"question": "a\u2028b\x85c"}
    file.write_text(json.dumps(item, ensure_ascii=False), encoding="utf-8")
    assert read_jsonl(file) == [item]
    file.write_text("")
    assert read_jsonl(file) == []


def test_numbers_and_annotations() -> None:
    text = "She pays $1,200.50 for 3/4 of 20%, at 5:30, not 12,34 or .5"
    expected = ["1200.50", "3", "4", "20", "5", "30", "12", "34", "0.5"]
    assert numbers_in(text) == list(map(Decimal, expected))
    assert numbers_in("no number, one word") == []
    assert without_annotations("48/2 = <<48/2=24>>24 clips") == "48/2 = 24 clips"


def published() -> bool:
    try:
        for name, _ in gsm8k.FILES.values():
            gsm8k.find_gsm8k(name)
    except FileNotFoundError:
        return False
    return True


@pytest.mark.skipif(not published(), reason="GSM8K is not on this machine")
@pytest.mark.parametrize(
    ("split", "count"), [("train", 7473), ("test", 1319), ("model_solutions", 1319)]
)
def test_the_published_files(split: str, count: int) -> None:
    items = load_gsm8k(split)
    assert len(items) == count
    assert all(item["question"] for item in items)

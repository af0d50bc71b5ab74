"""GSM8K (arXiv 2110.14168) from files, and other files of its form."""

from __future__ import annotations

import hashlib
import json
import os
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

FILES = {
    "train": (
        "train.jsonl",
        "17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465",
    ),
    "test": (
        "test.jsonl",
        "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14",
    ),
    "model_solutions": (
        "example_model_solutions.jsonl",
        "4bc62db838f8418365d51c627bd66294cbdca9fb7f01519cb13f0dce8c51580b",
    ),
}
"""File and SHA-256 of every split of openai/grade-school-math (MIT licence): 7,473 and 1,319 items,
and four models' solutions of the test items."""

FOLDERS = ("~/.cache/claimbook/gsm8k", "data/gsm8k")

_ANNOTATION = re.compile(r"<<[^<>]*>>")
_NUMBER = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|\.[0-9]+")


def load_gsm8k(split: str) -> list[dict[str, Any]]:
    """The items of a published file, in its order.

    Args:
        split: "train" and "test" have the fields `question` and `answer` (lines of text with
            `<<expr=value>>` before computed numbers, last `#### N`); "model_solutions" has
            `question`, `ground_truth` and one solution per model.

    Raises:
        ValueError: the split is unknown, or the file is not the published one.
        FileNotFoundError: the file is not on this machine; says where to get it.
    """
    if split not in FILES:
        raise ValueError(f"split: one of {', '.join(FILES)}, got {split!r}")
    name, digest = FILES[split]
    file = find_gsm8k(name)
    if hashlib.sha256(file.read_bytes()).hexdigest() != digest:
        raise ValueError(f"{file}: not the published file (its SHA-256 differs); get it again")
    return read_jsonl(file, fields=("question",))


def find_gsm8k(name: str) -> Path:
    """The file in the first folder that has it.

    Args:
        name: of the file, see `FILES`.

    Raises:
        FileNotFoundError: no folder has it; says where to get it.
    """
    own = os.environ.get("CLAIMBOOK_GSM8K")
    folders = [Path(folder).expanduser() for folder in ((own,) if own else FOLDERS)]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(
        f"GSM8K: no {name} in {', '.join(map(str, folders))}. Get it from "
        "https://github.com/openai/grade-school-math (grade_school_math/data; on the Hugging Face "
        "hub openai/gsm8k, config main, holds the items of train and test) and name its folder in "
        "the variable CLAIMBOOK_GSM8K."
    )


def read_jsonl(
    path: Path | str, fields: tuple[str, ...] = ("question", "answer")
) -> list[dict[str, Any]]:
    """One JSON object per line, each with some text fields; blank lines are skipped.

    Args:
        path: of a UTF-8 file.
        fields: that every object must have.

    Raises:
        ValueError: a line is no such object; names the file and the line.
        OSError: the file cannot be read.
    """
    items = []
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: no UTF-8 text ({error})") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"{path}, line {number}: no JSON ({error})") from None
        if not isinstance(item, dict):
            raise ValueError(f"{path}, line {number}: expected an object")
        for field in fields:
            if not isinstance(item.get(field), str):
                raise ValueError(f"{path}, line {number}: no text {field!r}")
        items.append(item)
    return items


def without_annotations(answer: str) -> str:
    """A solution as people read it, without `<<expr=value>>`."""
    return _ANNOTATION.sub("", answer)


def numbers_in(text: str) -> list[Decimal]:
    """All numbers written in digits, without signs; commas may separate thousands.

    `1,000` is one number, `3/4` and `5:30` are two, `$2.50` is 2.5, `20%` is 20; number words do
    not count.
    """
    return [Decimal(found.replace(",", "")) for found in _NUMBER.findall(text)]

"""The command line that writes word problems, and the sizes of their numbers."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from common.tasks.gsm8k import read_jsonl
from common.tasks.word_problem_templates import TEMPLATES
from papers.gsm_ranges.generate import app
from papers.gsm_ranges.number_sizes import (
    COUNTED,
    derived,
    draws,
    hub_items,
    level_facts,
    percent_below,
    sizes,
    sources,
    texts,
)

OWN = Path(__file__).parents[2] / "papers/gsm_ranges/own_items.jsonl"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_lines_can_be_read_again_and_have_a_provenance(tmp_path: Path) -> None:
    file = tmp_path / "new" / "problems.jsonl"
    result = run(file, "--levels", "6,0,1,1", "--sets", 2, "--seed", 3)
    assert result.exit_code == 0, result.output
    rows = read_jsonl(file)
    count = len(TEMPLATES)
    assert [row["level"] for row in rows] == [0] * count + [1] * 2 * count + [6] * 2 * count
    assert {row["set"] for row in rows} == {0, 1}
    for row in rows:
        assert row["answer"].endswith(f"\n#### {row['value']}")
        assert set(re.findall(r"\d+", row["question"])) == {str(v) for v in row["values"].values()}
        assert row["steps"][-1].endswith(f"={row['value']}")
    made_by = json.loads((tmp_path / "new" / "problems.jsonl.provenance.json").read_text())
    assert made_by["problems"] == len(rows) and made_by["levels"] == [0, 1, 6]
    assert made_by["seed"] == 3 and made_by["source"] is None
    assert set(made_by["versions"]) == {"python", "numpy"}
    again = tmp_path / "again.jsonl"
    run(again, "--levels", "0,1,6", "--sets", 2, "--seed", 3)
    assert again.read_bytes() == file.read_bytes()


def test_items_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "own.jsonl"
    options = ["--templates", OWN, "--sets", 3, "--levels", "2", "--separators"]
    assert run(file, *options).exit_code == 0
    rows = read_jsonl(file)
    assert len(rows) == 18
    assert {row["template"] for row in rows} == {f"own_items-{i}" for i in range(6)}
    assert any("," in str(row["answer"]).split("\n")[-1] for row in rows)
    made_by = json.loads(file.with_name("own.jsonl.provenance.json").read_text())
    assert made_by["source"]["file"] == "own_items.jsonl" and len(made_by["source"]["sha256"]) == 64
    assert made_by["items_rejected"] == 6
    # What was written is of the same form, so it can be turned again.
    assert run(tmp_path / "twice.jsonl", "--templates", file, "--sets", 1).exit_code == 0


def test_trailing_zeros(tmp_path: Path) -> None:
    file = tmp_path / "zeros.jsonl"
    assert run(file, "--levels", "6", "--sets", 1, "--trailing-zeros").exit_code == 0
    assert all(
        any(value % 1_000_000 == 0 for value in row["values"].values()) for row in read_jsonl(file)
    )


def test_nothing_is_overwritten_without_force(tmp_path: Path) -> None:
    file = tmp_path / "kept.jsonl"
    file.write_text("kept")
    result = run(file, "--levels", "1", "--sets", 1)
    assert result.exit_code == 1 and "kept.jsonl exists; --force" in result.output
    assert file.read_text() == "kept" and list(tmp_path.iterdir()) == [file]
    assert run(file, "--levels", "1", "--sets", 1, "--force").exit_code == 0
    assert len(read_jsonl(file)) == len(TEMPLATES)


def test_rejected_items_are_listed_with_reasons() -> None:
    result = run("--templates", OWN, "--list-rejected")
    assert result.exit_code == 0
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert [line[:2] for line in lines[:2]] == [["7", "NOT_WHOLE"], ["8", "DEPENDS_ON_SIZE"]]
    assert len(lines) == 6 and "6 items rejected, 6 templates" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sets", "1"], "OUTPUT is missing"),
        (["{tmp}/o.jsonl", "--levels", "1,7"], "numbers from 0 to 6"),
        (["{tmp}/o.jsonl", "--levels", ""], "numbers from 0 to 6"),
        (["{tmp}/o.jsonl", "--templates", "{tmp}/none.jsonl"], "none.jsonl"),
        (["{tmp}/o.jsonl", "--templates", "gsm8k:dev"], "gsm8k:train or gsm8k:test"),
        (["{tmp}/o.jsonl", "--templates", "{tmp}/bad.jsonl"], "bad.jsonl, line 2: no JSON"),
        (["{tmp}/o.jsonl", "--templates", "{tmp}/empty.jsonl"], "no item becomes a template"),
        (["{tmp}/bad.jsonl/o.jsonl", "--sets", "1", "--levels", "1"], "cannot be written"),
        (["--list-rejected"], "needs --templates"),
        (["{tmp}/o.jsonl", "--sets", "0"], "greater than or equal to 1"),
    ],
)
def test_errors_are_plain(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "bad.jsonl").write_text(OWN.read_text().split("\n")[0] + "\n{\n")
    (tmp_path / "empty.jsonl").write_text("")
    result = run(*(argument.format(tmp=tmp_path) for argument in arguments))
    assert result.exit_code != 0
    assert message in result.output.replace("\n", "")
    assert "Traceback" not in result.output
    assert not (tmp_path / "o.jsonl").exists()


def test_sizes_of_numbers() -> None:
    items = [{"question": "Has 1,500 and 3?", "answer": "1500+3 = <<1500+3=1503>>1503\n#### 1503"}]
    expected = {
        "question": 50,
        "question and solution": 100 * 2 / 6,
        "question and final answer": 100 / 3,
        "everything": 100 * 3 / 9,
    }
    assert set(expected) == set(COUNTED)
    for counted, percent in expected.items():
        assert percent_below(sizes(texts(items, counted)), 1000) == pytest.approx(percent)
    assert percent_below([Decimal(1000)], 1000) == 0
    with pytest.raises(ValueError, match="numbers: there are none"):
        percent_below([], 1000)
    with pytest.raises(ValueError, match="counted: one of"):
        texts(items, "words")
    with pytest.raises(ValueError, match="name: SVAMP or MATH"):
        hub_items("AIME")


def test_tables_of_bundled_items() -> None:
    files = sources([])
    templates, outcomes = derived(files)
    assert outcomes["items"].sum() == 12 and outcomes.percent.sum() == pytest.approx(100)
    assert outcomes.set_index("outcome")["items"]["becomes a template"] == 6
    facts = level_facts("own", draws(templates["own items"], [0, 1, 5], sets=2, seed=0))
    assert facts.problems.tolist() == [6, 12, 12]
    assert 100_000 <= facts.median_largest.iloc[2] < 1_000_000
    assert facts.published_largest.tolist() == [20, 40, 743_375]

"""`claims.yaml`: what is accepted, and what mistakes are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.workflow.claims import load_claims
from common.workflow.errors import ClaimbookError

GOOD = """\
schema: 1
paper: {arxiv: "2410.02994", version: v1, title: A paper}
claims:
  C1:
    statement: It is so.
    source: {place: Figure 2}
    measure:
      table: train
      metric: loss
    test:
      kind: paired_ratio
      factor: smoothing
      compare: [0.05, 0.0]
      pair_by: seed
      expect: {side: below, bound: 1}
    decidable_from: cpu
"""


def load(folder: Path, text: str) -> str:
    """The message of the error that `text` gives, or nothing."""
    file = folder / "claims.yaml"
    file.write_text(text)
    try:
        load_claims(file)
    except ClaimbookError as error:
        return str(error)
    return ""


def test_a_claim_is_read(tmp_path: Path) -> None:
    (tmp_path / "claims.yaml").write_text(GOOD)
    claim = load_claims(tmp_path / "claims.yaml").claim("C1")
    assert claim.test.kind == "paired_ratio"
    assert claim.measure is not None and claim.measure.table == "train"
    assert len(claim.hash) == 16


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("      factor:", "      facter:", 12, "did you mean"),
        ("paired_ratio", "paired_ration", 11, "did you mean"),
        ("side: below", "side: under", 15, "above"),
        ("decidable_from: cpu", "decidable_from: cup", 16, "smoke"),
        ("      metric: loss\n", "", 7, "metric"),
        ("schema: 1", "schema: 2", 1, "schema"),
        ("  C1:", "  first claim:", 4, "C1"),
        ("compare: [0.05, 0.0]", "compare: [0.05, 0.05]", 10, "twice"),
        ("    measure:\n      table: train\n      metric: loss\n", "", 4, "`measure` is missing"),
    ],
    ids=[
        "misspelled key",
        "unknown kind",
        "unknown side",
        "unknown profile",
        "missing key",
        "schema",
        "claim's name",
        "same arms",
        "no measure",
    ],
)
def test_a_mistake_is_told_with_file_and_line(
    tmp_path: Path, old: str, new: str, line: int, message: str
) -> None:
    assert old in GOOD
    told = load(tmp_path, GOOD.replace(old, new, 1))
    assert "claims.yaml:" in told, told
    lines = {int(part.split(":")[1]) for part in told.splitlines() if "claims.yaml:" in part}
    assert line in lines, told
    assert message in told


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    told = load(tmp_path, GOOD.replace("side: below", "side: under").replace("cpu", "cup"))
    assert len(told.splitlines()) == 2


def test_broken_yaml_is_told_with_its_line(tmp_path: Path) -> None:
    told = load(tmp_path, GOOD.replace("compare: [0.05, 0.0]", "compare: [0.05, 0.0"))
    assert "claims.yaml:1" in told and "not YAML" in told


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClaimbookError, match=r"claims\.yaml does not exist"):
        load_claims(tmp_path / "claims.yaml")


def test_code_in_an_expression_is_refused(tmp_path: Path) -> None:
    test = (
        "{kind: arithmetic, numbers: {a: '1.0'}, expression: a.__class__, headline: '1.0'}\n"
        "    decidable_from: smoke\n"
    )
    start = GOOD.index("    measure:")
    told = load(tmp_path, GOOD[:start] + "    test: " + test)
    assert "is not allowed" in told

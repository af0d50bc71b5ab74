"""From results to the rows of a claim."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from common.workflow.errors import ClaimbookError
from tests.common.workflow.judged import SmallPaper, arms

TEST = {
    "kind": "paired_difference",
    "factor": "arm",
    "compare": ["new", "old"],
    "pair_by": "seed",
    "expect": {"side": "above"},
}
GOOD = arms([2.0, 2.1, 2.2, 2.1, 2.0], [1.0] * 5)


@pytest.fixture
def paper(tmp_path: Path) -> SmallPaper:
    paper = SmallPaper(tmp_path)
    paper.table(GOOD)
    return paper


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"measure": {"table": "tt", "metric": "y"}}, "no notebook wrote a table 'tt'"),
        ({"measure": {"table": "t", "metric": "yy"}}, "no column 'yy'.*did you mean 'y'"),
        ({"test": TEST | {"factor": "amr"}}, "no column 'amr'.*did you mean 'arm'"),
        ({"test": TEST | {"compare": ["new", "odl"]}}, "'odl' does not occur.*'old'"),
        (
            {"measure": {"table": "t", "metric": "y", "where": {"arm": "newer"}}},
            "'newer' does not occur in column 'arm'",
        ),
        ({"measure": {"table": "t", "metric": "arm"}}, "which is no number"),
    ],
    ids=["table", "metric", "factor", "level", "where", "text"],
)
def test_what_is_not_there_is_named_with_near_names(
    paper: SmallPaper, changes: dict[str, Any], message: str
) -> None:
    claims = paper.claim(changes.pop("test", TEST), **changes)
    with pytest.raises(ClaimbookError, match=rf"(?s)claims\.yaml:\d+: claims\.C1\..*{message}"):
        paper.verdict(claims)


def steps() -> pd.DataFrame:
    return pd.concat(GOOD.assign(step=step, y=GOOD.y * step) for step in (1, 2))


def test_several_rows_per_unit_need_a_choice(paper: SmallPaper) -> None:
    paper.table(steps())
    with pytest.raises(ClaimbookError, match=r"2 rows are left for .*they differ in step"):
        paper.verdict(paper.claim(TEST))


@pytest.mark.parametrize(
    ("choice", "estimate"),
    [
        ({"where": {"step": "last"}}, 2 * 1.08),
        ({"where": {"step": 1}}, 1.08),
        ({"reduce": "mean"}, 1.5 * 1.08),
    ],
)
def test_the_choice_is_followed(paper: SmallPaper, choice: dict[str, Any], estimate: float) -> None:
    paper.table(steps())
    claims = paper.claim(TEST, measure={"table": "t", "metric": "y"} | choice)
    assert paper.verdict(claims)["effect"]["estimate"] == pytest.approx(estimate)


def test_a_run_that_ended_early_is_missing_at_the_last_step(paper: SmallPaper) -> None:
    frame = steps()
    paper.table(frame[~((frame.step == 2) & (frame.seed == 1) & (frame.arm == "old"))])
    measure = {"table": "t", "metric": "y", "where": {"step": "last"}}
    verdict = paper.verdict(paper.claim(TEST, measure=measure))
    assert "no value for seed 1 at arm = old" in verdict["reason"]


def test_parts_of_matrix_arms_are_put_together(tmp_path: Path) -> None:
    paper = SmallPaper(tmp_path)
    for arm, part in GOOD.groupby("arm"):
        paper.table(part, notebook=f"02_train@{arm}")
    assert paper.verdict(paper.claim(TEST))["verdict"] == "supported"

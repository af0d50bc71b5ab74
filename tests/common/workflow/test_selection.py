"""From results to the rows of a claim."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from common.workflow.base.errors import ClaimbookError
from common.workflow.claims.selection import select_rows
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


MEASURE: dict[str, Any] = {"table": "t", "metric": "y"}


def why(paper: SmallPaper, **changes: Any) -> str:
    """The error that a verdict on the claim ends with."""
    claims = paper.claim(changes.pop("test", TEST), **changes)
    with pytest.raises(ClaimbookError) as caught:
        paper.verdict(claims)
    return str(caught.value)


def test_the_line_of_the_mistake_is_that_of_its_key(paper: SmallPaper) -> None:
    told = why(paper, measure=MEASURE | {"where": {"arm": "odl"}})
    text = (paper.folder / "claims.yaml").read_text().splitlines()
    line = int(told.split("claims.yaml:")[1].split(":")[0])
    assert text[line - 1].strip() == "arm: odl"
    assert "claims.C1.measure.where.arm: 'odl' does not occur" in told
    assert "(did you mean 'old'?); there are new, old" in told


def test_a_misspelled_table_is_answered_with_those_that_exist(paper: SmallPaper) -> None:
    (paper.folder / "results/cpu/01_a/training.csv").write_text("a\n1\n")
    told = why(paper, measure=MEASURE | {"table": "trainin"})
    assert "(did you mean 'training'?); there are t, training" in told


def test_filters_that_leave_nothing_are_an_error(paper: SmallPaper) -> None:
    paper.table(GOOD.assign(data=GOOD.arm.map({"new": "a", "old": "b"})))
    told = why(paper, measure=MEASURE | {"where": {"data": "a", "arm": "old"}})
    assert "no row is left with arm = 'old' after the filters before it" in told


def test_a_number_is_not_found_among_texts(paper: SmallPaper) -> None:
    paper.table(steps())
    assert "'1' does not occur" in why(paper, measure=MEASURE | {"where": {"step": "1"}})
    assert "there are 1, 2" in why(paper, measure=MEASURE | {"where": {"step": 3}})


def test_columns_of_every_role_are_looked_up(paper: SmallPaper) -> None:
    assert "test.pair_by: table 't' has no column 'sed'" in why(
        paper, test=TEST | {"pair_by": "sed"}
    )
    assert "test.for_each: table" in why(paper, test=TEST | {"for_each": "data"})
    bound = {"expect": {"side": "above", "bound": "least"}}
    assert "test.expect.bound: table" in why(paper, test=TEST | bound)
    case = {"kind": "closed_form", "expected": "theory", "tolerance": 0.1}
    assert "test.expected: table" in why(paper, test=case)


def test_a_bound_in_a_column_has_one_value(paper: SmallPaper) -> None:
    test = TEST | {"expect": {"side": "above", "bound": "least"}}
    paper.table(GOOD.assign(least=0.5))
    assert "above 0.5" in paper.verdict(paper.claim(test))["reason"]
    paper.table(GOOD.assign(least=range(10)))
    assert "column 'least' has 10 values in one group; use `for_each`" in why(paper, test=test)


# --------------------------------------------------------------------------- which rows


@pytest.mark.parametrize(
    ("choice", "factor"),
    [("last", 2.0), ("max", 2.0), ("min", 1.0), ("sum", 3.0), ("median", 1.5)],
)
def test_rows_of_a_unit_are_reduced(paper: SmallPaper, choice: str, factor: float) -> None:
    paper.table(steps())
    verdict = paper.verdict(paper.claim(TEST, measure=MEASURE | {"reduce": choice}))
    assert verdict["effect"]["estimate"] == pytest.approx(factor * 1.08)


@pytest.mark.parametrize("choice", ["mean", "median", "min", "max", "sum", "last"])
def test_a_missing_step_is_not_averaged_away(paper: SmallPaper, choice: str) -> None:
    frame = steps().reset_index(drop=True)
    frame.loc[(frame.step == 2) & (frame.seed == 1) & (frame.arm == "new"), "y"] = np.nan
    paper.table(frame)
    verdict = paper.verdict(paper.claim(TEST, measure=MEASURE | {"reduce": choice}))
    assert (verdict["verdict"], verdict["reason"]) == (
        "undecided",
        "no value for seed 1 at arm = new",
    )


def test_an_infinite_value_is_a_missing_one(paper: SmallPaper) -> None:
    paper.table(GOOD.assign(y=GOOD.y.where(GOOD.y != 2.2, np.inf)))
    verdict = paper.verdict(paper.claim(TEST))
    assert verdict["reason"] == "no value for seed 2 at arm = new"


def test_the_last_step_is_that_of_each_group(paper: SmallPaper) -> None:
    long = steps().assign(data="long")
    short = GOOD.assign(step=1, data="short")
    paper.table(pd.concat([long, short]))
    measure = MEASURE | {"where": {"step": "last"}}
    verdict = paper.verdict(paper.claim(TEST | {"for_each": "data"}, measure=measure))
    found = {one["group"]["data"]: one["effect"]["estimate"] for one in verdict["groups"]}
    assert found == {"long": pytest.approx(2 * 1.08), "short": pytest.approx(1.08)}


def test_the_last_step_is_taken_after_the_other_filters(paper: SmallPaper) -> None:
    early = steps().assign(part="valid")
    late = GOOD.assign(step=3, y=100.0, part="test")
    paper.table(pd.concat([early, late]))
    measure = MEASURE | {"where": {"step": "last", "part": "valid"}}
    verdict = paper.verdict(paper.claim(TEST, measure=measure))
    assert verdict["effect"]["estimate"] == pytest.approx(2 * 1.08)


def test_a_list_of_values_selects_any_of_them(paper: SmallPaper) -> None:
    third = GOOD[GOOD.arm == "old"].assign(arm="other", y=50.0)
    paper.table(pd.concat([GOOD, third]))
    measure = MEASURE | {"where": {"arm": ["new", "old"]}}
    found = select_rows(paper.claim(TEST, measure=measure), "C1", paper.folder / "results", "cpu")
    ((_, frame),) = found.groups
    assert sorted(frame.arm.unique()) == ["new", "old"]
    assert len(frame) == len(GOOD)


def test_an_arm_may_be_called_none(paper: SmallPaper) -> None:
    paper.table(GOOD.replace({"arm": {"old": "None"}}))
    test = TEST | {"compare": ["new", "None"]}
    assert paper.verdict(paper.claim(test))["verdict"] == "supported"


def test_numbers_are_found_up_to_rounding(paper: SmallPaper) -> None:
    paper.table(GOOD.assign(rate=0.1 + 0.2))
    measure = MEASURE | {"where": {"rate": 0.3}}
    assert paper.verdict(paper.claim(TEST, measure=measure))["verdict"] == "supported"


# --------------------------------------------------------------------------- parts and seeds


def test_parts_that_differ_in_their_columns_are_refused(paper: SmallPaper) -> None:
    paper.table(GOOD.assign(extra=1), notebook="02_b")
    assert "the parts of 't' in 01_a and 02_b differ in their columns: extra" in why(paper)


def test_all_parts_and_all_their_seeds_count(tmp_path: Path) -> None:
    paper = SmallPaper(tmp_path)
    for number, arm in enumerate(("new", "old")):
        part = GOOD[GOOD.arm == arm]
        paper.table(part, seeds=[*range(5), 5 + number], notebook=f"02_train@{arm}")
    rows = select_rows(paper.claim(TEST), "C1", tmp_path / "results", "cpu")
    assert rows.folders == ("02_train@new", "02_train@old")
    assert rows.seeds == (0, 1, 2, 3, 4, 5, 6)
    assert rows.used_seeds == [0, 1, 2, 3, 4]
    assert len(rows.groups[0][1]) == len(GOOD)


def test_a_parquet_table_is_read_like_a_csv(tmp_path: Path) -> None:
    paper = SmallPaper(tmp_path)
    folder = tmp_path / "results/cpu/01_a"
    folder.mkdir(parents=True)
    GOOD.to_parquet(folder / "t.parquet")
    assert paper.verdict(paper.claim(TEST))["effect"]["estimate"] == pytest.approx(1.08)


def test_other_profiles_do_not_count(paper: SmallPaper) -> None:
    assert paper.verdict(paper.claim(TEST), profile="gpu")["verdict"] == "not run"


def test_a_seed_of_the_run_without_a_row_is_missing(paper: SmallPaper) -> None:
    paper.table(GOOD, seeds=[0, 1, 2, 3, 4, 7])
    verdict = paper.verdict(paper.claim(TEST))
    assert verdict["verdict"] == "undecided"
    assert verdict["reason"] == "no value for seed 7 at arm = new (and 1 more)"


def test_a_seed_is_missing_in_each_group_that_lacks_it(paper: SmallPaper) -> None:
    whole, part = GOOD.assign(data="a"), GOOD[GOOD.seed < 4].assign(data="b")
    paper.table(pd.concat([whole, part]), seeds=list(range(5)))
    verdict = paper.verdict(paper.claim(TEST | {"for_each": "data"}))
    assert [one["verdict"] for one in verdict["groups"]] == ["supported", "undecided"]
    assert verdict["reason"] == "no value for seed 4 at arm = new (and 1 more)"


@pytest.mark.parametrize(
    "test",
    [
        {"kind": "monotone_trend", "x": "x", "per": "seed", "expect": {"side": "above"}},
        {"kind": "exponent", "x": "x", "per": "seed", "range": [0.5, 1.5]},
        {"kind": "closed_form", "expected": 1.0, "tolerance": 9.0},
        {"kind": "bound", "side": "below", "limit": 99.0},
        {"kind": "bound", "side": "below", "limit": 99.0, "max_rate": 0.9, "per": "seed"},
    ],
    ids=["trend", "exponent", "closed form", "bound", "rate"],
)
def test_no_kind_overlooks_a_seed_without_rows(paper: SmallPaper, test: dict[str, Any]) -> None:
    frame = pd.DataFrame(
        {"seed": seed, "x": x, "y": x + 0.01 * x * seed} for seed in range(6) for x in (1, 2, 4)
    )
    paper.table(frame, seeds=list(range(6)))
    assert paper.verdict(paper.claim(test))["verdict"] == "supported"
    paper.table(frame, seeds=list(range(7)))
    verdict = paper.verdict(paper.claim(test))
    assert verdict["verdict"] == "undecided"
    assert "no value for seed 6" in verdict["reason"]

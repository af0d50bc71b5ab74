"""Corners in which a verdict was once wrong, or a message missing."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from common.workflow.base.errors import ClaimbookError
from common.workflow.base.files import write_json
from common.workflow.claims.judging.decisions import decide
from common.workflow.claims.judging.judge import evidence, judge
from common.workflow.claims.judging.reverse import reverse
from common.workflow.claims.schema import Claims
from common.workflow.claims.verdicts import read_verdicts
from tests.common.workflow.judged import SmallPaper, arms

PAIR = {"factor": "arm", "compare": ["new", "old"]}
ABOVE = {"expect": {"side": "above"}}
SPREAD = np.array([-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.05])


@pytest.fixture
def paper(tmp_path: Path) -> SmallPaper:
    return SmallPaper(tmp_path)


def turned(paper: SmallPaper, claims: Claims) -> tuple[str, str]:
    """The verdict, and that on the reversed measurements."""
    (sample,) = evidence(claims, "C1", paper.folder / "results", "cpu").samples
    test = claims.claim("C1").test
    return decide(test, sample).verdict, decide(test, reverse(test, sample)).verdict


def arithmetic(numbers: dict[str, Any], expression: str, headline: Any) -> dict[str, Any]:
    return {"kind": "arithmetic", "numbers": numbers, "expression": expression} | {
        "headline": headline
    }


def test_an_exact_headline_survives_binary_fractions(paper: SmallPaper) -> None:
    test = arithmetic({"a": 50, "b": 57}, "100 * (b / a - 1)", 14)
    assert paper.verdict(paper.claim(test))["verdict"] == "supported"


@pytest.mark.parametrize("expression", ["1 / a", "log(a)", "(a - 1) ** 0.5"])
def test_an_expression_without_a_value_is_undecided(paper: SmallPaper, expression: str) -> None:
    verdict = paper.verdict(paper.claim(arithmetic({"a": "0.0"}, expression, "1.0")))
    assert verdict["verdict"] == "undecided"
    assert "has no value" in verdict["reason"]


@pytest.mark.parametrize(
    ("shift", "bound", "verdict"), [(2.0, -5.0, "supported"), (1.0, 3.0, "contradicted")]
)
def test_times_are_reversed_about_their_bound(
    paper: SmallPaper, shift: float, bound: float, verdict: str
) -> None:
    paper.table(arms(list(10 + shift + SPREAD), list(10 - SPREAD)).assign(seen=1))
    test = PAIR | {"kind": "time_to_event", "per": "seed", "event": "seen", "horizon": 30.0}
    claims = paper.claim(test | {"expect": {"side": "above", "bound": bound}})
    other = {"supported": "contradicted", "contradicted": "supported"}[verdict]
    assert turned(paper, claims) == (verdict, other)


def test_a_rate_is_reversed_by_units_and_not_by_rows(paper: SmallPaper) -> None:
    rows = [
        {"unit": unit, "row": row, "y": float(row == 0)} for unit in range(20) for row in range(10)
    ]
    paper.table(pd.DataFrame(rows))
    test = {"kind": "bound", "side": "below", "limit": 0.5, "max_rate": 0.2, "per": "unit"}
    assert turned(paper, paper.claim(test)) == ("contradicted", "supported")


def test_a_far_exponent_is_reversed_into_its_range(paper: SmallPaper) -> None:
    rows = [
        {"seed": i, "x": x, "y": float(x) ** (-3 + s)} for i, s in enumerate(SPREAD) for x in (1, 2)
    ]
    paper.table(pd.DataFrame(rows))
    test = {"kind": "exponent", "x": "x", "per": "seed", "range": [1.5, 2.5]}
    assert turned(paper, paper.claim(test)) == ("contradicted", "supported")


def test_sign_flips_are_asked_only_where_they_can_reject(paper: SmallPaper) -> None:
    paper.table(arms(list(5 + SPREAD[:6]), [0.0] * 6))
    test = PAIR | ABOVE | {"kind": "paired_difference", "pair_by": "seed", "level": 0.99}
    assert paper.verdict(paper.claim(test))["verdict"] == "supported"


@pytest.mark.parametrize(
    ("test", "measure"),
    [
        ({"kind": "proportion", "per": "seed", "expect": {"side": "above", "bound": 0.5}}, 0.5),
        ({"kind": "bound", "side": "below", "limit": 1.0}, float("nan")),
        ({"kind": "bound", "side": "below", "limit": float("inf")}, "undecided"),
        (PAIR | ABOVE | {"kind": "paired_difference", "pair_by": []}, "undecided"),
    ],
    ids=["half an outcome", "nan", "infinite limit", "no unit"],
)
def test_what_could_only_crash_later_is_refused(
    paper: SmallPaper, test: dict[str, Any], measure: Any
) -> None:
    with pytest.raises(ClaimbookError, match=r"claims\.yaml:\d+"):
        paper.claim(test, measure={"table": "t", "metric": "y", "missing": measure})


def test_an_arm_without_rows_in_one_group_is_undecided(paper: SmallPaper) -> None:
    frame = arms([1.0] * 9, [0.0] * 9).assign(data="a")
    paper.table(pd.concat([frame, frame[frame.arm == "new"].assign(data="b")]))
    test = PAIR | ABOVE | {"kind": "difference_of_proportions", "per": "seed", "for_each": "data"}
    verdict = paper.verdict(paper.claim(test))
    assert (verdict["verdict"], verdict["reason"]) == ("undecided", "no row for arm = old")
    assert verdict["marks"] == []


@pytest.mark.parametrize("flag", ["yes", 2])
def test_event_flags_are_0_or_1(paper: SmallPaper, flag: Any) -> None:
    paper.table(arms([1.0] * 6, [2.0] * 6).assign(seen=flag))
    test = PAIR | ABOVE | {"kind": "time_to_event", "per": "seed", "event": "seen", "horizon": 3.0}
    with pytest.raises(ClaimbookError, match=r"claims\.yaml:\d+: claims\.C1\.test\.event"):
        paper.verdict(paper.claim(test))


TEST = PAIR | ABOVE | {"kind": "paired_difference", "pair_by": "seed"}


def test_a_claim_that_was_never_run_may_change(paper: SmallPaper) -> None:
    before = {"claims": {"C1": paper.verdict(paper.claim(TEST))}}
    assert before["claims"]["C1"]["verdict"] == "not run"
    paper.table(arms(list(1 + SPREAD), [0.0] * 8))
    paper.verdict(paper.claim(TEST | {"level": 0.9}), earlier=before)


def test_an_old_reason_does_not_cover_a_new_change(paper: SmallPaper) -> None:
    paper.table(arms(list(1 + SPREAD), [0.0] * 8))
    before = {"claims": {"C1": paper.verdict(paper.claim(TEST))}}
    entry = {"date": date(2026, 1, 1), "replaces": before["claims"]["C1"]["hash"], "reason": "r"}
    other = entry | {"replaces": "0123456789abcdef"}
    changed = TEST | {"level": 0.9}
    paper.verdict(paper.claim(changed, history=[other, entry]), earlier=before)
    with pytest.raises(ClaimbookError, match="changed after results existed"):
        paper.verdict(paper.claim(changed, history=[entry, other]), earlier=before)


def test_a_judged_claim_is_not_dropped_silently(paper: SmallPaper) -> None:
    paper.table(arms(list(1 + SPREAD), [0.0] * 8))
    before = {"claims": {"C9": paper.verdict(paper.claim(TEST))}}
    claims = paper.claim(TEST)
    with pytest.raises(ClaimbookError, match=r"(?s)C9 was judged supported and is gone.*retired:"):
        paper.verdict(claims, earlier=before)
    text = (paper.folder / "claims.yaml").read_text()
    (paper.folder / "claims.yaml").write_text(f"{text}retired: {{C9: it repeats C1}}\n")
    from common.workflow.claims.schema import load_claims

    claims = load_claims(paper.folder / "claims.yaml")
    assert judge(claims, paper.folder / "results", "cpu", before)["retired"] == {
        "C9": "it repeats C1"
    }


def test_claims_are_read_in_their_own_order(tmp_path: Path) -> None:
    """In the file keys are sorted: B1 and C10 would stand before C2."""
    claims = {name: {} for name in ("C2", "C10", "B1")}
    write_json(tmp_path / "verdicts.json", {"claims": claims, "order": list(claims)})
    paper = SimpleNamespace(results=lambda profile: tmp_path)
    assert list(read_verdicts(paper, "cpu")["claims"]) == ["C2", "C10", "B1"]

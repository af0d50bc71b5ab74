"""Rules of judging that are easy to lose: second opinions, weakest groups, conduct."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter

from common.stats import log_rank_p_value, mean_interval
from common.workflow.claims.judging.decisions import decide
from common.workflow.claims.judging.judge import combine, judge
from common.workflow.claims.judging.reverse import reverse, reverse_all, strengthened
from common.workflow.claims.judging.samples import Arms, Paired, Sample, Slopes, Survival
from common.workflow.claims.kinds import AnyTest, Test
from tests.common.workflow.judged import SmallPaper, arms

PAIR = {"factor": "arm", "compare": ["new", "old"]}
ABOVE = {"expect": {"side": "above"}}
PAIRED = {"kind": "paired_difference", "pair_by": "seed"} | PAIR | ABOVE
GAINS = [1.0, 2.0, 1.5, 1.1, 1.2, 0.9]
ZEROS = [0.0] * 6
DOUBTFUL = np.array([1.8, 0.99, 0.16, -0.02, -0.05, 1.12, 1.5])  # t excludes 0, flips do not


@pytest.fixture
def paper(tmp_path: Path) -> SmallPaper:
    return SmallPaper(tmp_path)


def a_test(**options: Any) -> AnyTest:
    return TypeAdapter(Test).validate_python(options)


def survival(a: Any, b: Any, horizon: float) -> Sample:
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    return Sample(Survival(a, (a < horizon) * 1.0, b, (b < horizon) * 1.0), ("unit",) * 99)


TIMES = {"kind": "time_to_event", "per": "seed", "event": "e", "horizon": 10.0} | PAIR | ABOVE


def test_a_log_rank_test_that_points_the_other_way_does_not_confirm() -> None:
    """Arm a outlives b on average, yet all of it dies while half of b survives the period."""
    a = np.repeat([8, 8.2, 8.4, 8.6, 8.8, 9, 9.1, 9.2], 3)
    b = np.concatenate([np.linspace(0.1, 1, 10), np.full(14, 10.0)])
    decision = decide(a_test(**TIMES), survival(a, b, 10))
    assert decision.interval is not None
    assert decision.interval.low > 0
    assert log_rank_p_value(a, a < 10, b, b < 10) < 0.05
    assert decision.verdict == "undecided"


def test_what_happens_after_the_horizon_does_not_count() -> None:
    """Two units of b outlive all others, long after the period; one-sided p = 0.018, not 0.30."""
    a = np.array([7.0, 7.1, 8.2, 10.9, 11.0, 11.5, 11.6, 11.6])
    b = np.array([5.1, 5.9, 6.2, 6.2, 6.5, 6.8, 40.0, 41.0])
    followed = Sample(Survival(a, np.ones(8), b, np.ones(8)), ("unit",) * 16)
    cut = survival(np.minimum(a, 10), np.minimum(b, 10), 10)
    test = a_test(**TIMES)
    assert decide(test, cut).verdict == "supported"
    assert decide(test, followed) == decide(test, cut)


@pytest.mark.parametrize(
    ("test", "sample"),
    [
        ({"kind": "exponent", "x": "x", "per": "s", "range": [0, None]}, Slopes(DOUBTFUL)),
        ({"kind": "exponent", "x": "x", "per": "s", "range": [None, 0]}, Slopes(DOUBTFUL)),
        (
            {"kind": "equivalence", "pair_by": "s", "margin": 2.0} | PAIR,
            Paired(DOUBTFUL - 2, np.zeros(7)),
        ),
    ],
    ids=["inside", "outside", "equivalence"],
)
def test_ranges_ask_the_sign_flips_too(test: dict[str, Any], sample: Slopes | Paired) -> None:
    assert mean_interval(DOUBTFUL).low > 0
    decision = decide(a_test(**test), Sample(sample, ("unit",) * 7))
    assert decision.verdict == "undecided"
    assert "sign-flip" in decision.reason


def test_the_bound_of_a_ratio_is_told_as_a_ratio() -> None:
    test = a_test(kind="paired_ratio", pair_by="seed", **PAIR, **ABOVE)
    decision = decide(test, Sample(Paired(np.exp(DOUBTFUL), np.ones(7)), ("u",) * 7, bound=1.0))
    assert "excludes 1, the sign-flip" in decision.reason


def test_large_arms_are_compared_in_no_time() -> None:
    """Boschloo's exact test of 1,000 against 1,000 takes half a minute."""
    a, b = (np.repeat([1.0, 0.0], [k, 1000 - k]) for k in (700, 600))
    test = a_test(kind="difference_of_proportions", per="s", **PAIR, **ABOVE)
    assert decide(test, Sample(Arms(a, b), ("unit",) * 2000)).verdict == "supported"


def test_the_largest_error_of_all_groups_stands_for_the_claim(paper: SmallPaper) -> None:
    test = {"kind": "closed_form", "expected": 1.0, "tolerance": 0.1, "for_each": ["g"]}
    paper.table(pd.DataFrame({"g": ["a", "b", "c"], "y": [1.2, 1.0, 3.0]}))
    verdict = paper.verdict(paper.claim(test))
    assert verdict["group"] == {"g": "c"}
    assert verdict["effect"]["estimate"] == pytest.approx(2)


def test_the_clearest_contradiction_stands_for_the_claim(paper: SmallPaper) -> None:
    noise = np.array([0.5, -0.5, 0.2, -0.2, 0.0, 1.1])
    frames = [arms(list(noise - by), ZEROS).assign(g=by) for by in (1.5, 50)]
    paper.table(pd.concat(frames))
    verdict = paper.verdict(paper.claim(PAIRED | {"for_each": ["g"]}))
    assert (verdict["verdict"], verdict["group"]) == ("contradicted", {"g": 50.0})


def test_what_is_not_decidable_here_costs_the_others_nothing(paper: SmallPaper) -> None:
    claim = {
        "statement": "It is so.",
        "source": {"place": "Table 1"},
        "measure": {"table": "t", "metric": "y"},
        "test": PAIRED,
        "decidable_from": "cpu",
    }
    paper.table(arms(GAINS, ZEROS))
    claims = paper.claims({"C1": claim, "C2": claim | {"decidable_from": "gpu"}})
    found = judge(claims, paper.folder / "results", "cpu")["claims"]
    assert found["C1"]["holm_p_value"] == found["C1"]["p_value"]
    assert "holm_p_value" not in found["C2"]


def test_a_claim_that_never_had_results_may_change(paper: SmallPaper) -> None:
    folder = paper.folder / "results"
    before = judge(paper.claim(PAIRED), folder, "cpu")
    assert before["claims"]["C1"]["verdict"] == "not run"
    judge(paper.claim(PAIRED | {"level": 0.9}), folder, "cpu", before)


def test_a_division_by_nothing_decides_nothing(paper: SmallPaper) -> None:
    test = {"kind": "arithmetic", "numbers": {"a": "1.0", "b": "1.0"}, "headline": "3"}
    verdict = paper.verdict(paper.claim(test | {"expression": "1 / (a - b)"}))
    assert verdict["verdict"] == "undecided"


def test_an_error_is_not_compared_with_the_papers_number(paper: SmallPaper) -> None:
    paper.table(pd.DataFrame({"y": [3.499]}))
    test = {"kind": "closed_form", "expected": 3.4987, "tolerance": 0.01}
    claims = paper.claim(test, source={"place": "Figure 1", "value": 3.4987})
    assert paper.verdict(claims)["paper_value"] is None


@pytest.mark.parametrize("kind", ["proportion", "welch", "exponent"])
def test_undecided_says_how_many_units_it_would_take(paper: SmallPaper, kind: str) -> None:
    if kind == "proportion":
        paper.table(pd.DataFrame({"seed": range(10), "y": [1] * 6 + [0] * 4}))
        test = {"kind": kind, "per": "seed", "expect": {"side": "above", "bound": 0.5}}
    elif kind == "welch":
        paper.table(arms([1.0, -1, 2, -2, 1], [0.5, -0.5, 0.1, -0.1, 0.2]))
        test = {"kind": "unpaired_difference", "per": "seed"} | PAIR | ABOVE
    else:
        rows = [{"seed": s, "x": x, "y": x ** (0.1 + 0.3 * (-1) ** s)}
                for s in range(6) for x in (1.0, 10.0)]  # fmt: skip
        paper.table(pd.DataFrame(rows))
        test = {"kind": kind, "x": "x", "per": "seed", "range": [0, None]}
    verdict = paper.verdict(paper.claim(test))
    assert verdict["verdict"] == "undecided"
    assert verdict["needed_n"] > verdict["n"]


def test_a_far_exponent_reversed_is_inside_a_narrow_range() -> None:
    test = a_test(kind="exponent", x="x", per="s", range=[1, 1.2])
    sample = Sample(Slopes(2 + np.array([0.01, -0.01, 0.02, -0.02, 0.0])), ("unit",) * 5)
    assert decide(test, sample).verdict == "contradicted"
    assert decide(test, reverse(test, sample)).verdict == "supported"


def test_times_are_reflected_about_the_bound() -> None:
    test = a_test(**TIMES | {"horizon": 100.0, "expect": {"side": "above", "bound": 20.0}})
    a, b = np.linspace(40, 50, 8), np.linspace(35, 45, 8)
    sample = Sample(Survival(a, np.ones(8), b, np.ones(8)), ("unit",) * 16, bound=20.0)
    assert decide(test, sample).verdict == "contradicted"
    assert decide(test, reverse(test, sample)).verdict == "supported"


def test_one_contradicting_pair_reversed_is_enough() -> None:
    test = a_test(kind="ordering", factor="arm", order=["a", "b", "c"], pair_by="s", **ABOVE)
    noise = np.array([0.1, -0.1, 0.2, -0.2, 0.05, 0.0])
    pairs = [Sample(Paired(noise + by, np.zeros(6)), ("unit",) * 6) for by in (3.0, -2.0)]
    assert combine([decide(test, one) for one in pairs]).verdict == "contradicted"
    turned = reverse_all(test, pairs)
    assert combine([decide(test, one) for one in turned]).verdict == "supported"


def test_twice_the_detectable_ratio_is_supported() -> None:
    test = a_test(kind="paired_ratio", pair_by="s", **PAIR, expect={"side": "below"})
    b = np.array([1e-3, 2e-3, 5e-3, 1e-2, 3e-2, 8e-2])
    sample = Sample(Paired(b * [0.5, 0.6, 0.4, 0.55, 0.45, 0.5], b), ("unit",) * 6, bound=1.0)
    strong = strengthened(sample, 1.0, above=False, level=0.95, ratio=True)
    assert decide(test, strong).verdict == "supported"

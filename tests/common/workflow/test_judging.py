"""Every kind of test on a claim that is true, one that is false, and one that is all noise."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from common.workflow.base.errors import ClaimbookError
from common.workflow.claims.judging.building import build_samples
from common.workflow.claims.judging.decisions import decide
from common.workflow.claims.judging.judge import evidence
from common.workflow.claims.judging.reverse import reverse, strengthened
from tests.common.workflow.judged import SmallPaper, arms

N = 12
RNG = np.random.default_rng(0)
NOISE = RNG.normal(size=(4, N))
PAIR = {"factor": "arm", "compare": ["new", "old"]}
PAIRED = PAIR | {"pair_by": "seed"}
ABOVE = {"expect": {"side": "above"}}


def shifted(by: float, noise: float = 0.1) -> pd.DataFrame:
    """Arm `new` lies `by` above arm `old`; all values positive."""
    return arms(list(10 + by + noise * NOISE[0]), list(10 + noise * NOISE[1]))


def outcomes(a: int, b: int, n: int = 40) -> pd.DataFrame:
    return arms([1.0] * a + [0.0] * (n - a), [1.0] * b + [0.0] * (n - b))


def survival(late: float, early: float, noise: float = 1.0) -> pd.DataFrame:
    frame = arms(list(late + noise * np.abs(NOISE[0])), list(early + noise * np.abs(NOISE[1])))
    return frame.assign(seen=1)


def trend(slope: float, noise: float = 0.1) -> pd.DataFrame:
    return pd.DataFrame(
        {"seed": seed, "x": x, "y": 5 + slope * x + noise * NOISE[x % 4, seed]}
        for seed in range(N)
        for x in range(1, 6)
    )


def power(exponent: float, noise: float = 0.02) -> pd.DataFrame:
    return pd.DataFrame(
        {"seed": seed, "x": x, "y": float(x) ** exponent * np.exp(noise * NOISE[i % 4, seed])}
        for seed in range(N)
        for i, x in enumerate((1, 2, 4, 8))
    )


def ladder(steps: tuple[float, float], noise: float = 0.1) -> pd.DataFrame:
    levels = {"a": 10 + steps[0] + steps[1], "b": 10 + steps[1], "c": 10.0}
    return pd.DataFrame(
        {"seed": seed, "arm": arm, "y": level + noise * NOISE[i, seed]}
        for seed in range(N)
        for i, (arm, level) in enumerate(levels.items())
    )


def cases(errors: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"case": i, "y": 4.0 + e, "truth": 4.0} for i, e in enumerate(errors))


KINDS: dict[str, tuple[dict[str, Any], pd.DataFrame, pd.DataFrame, pd.DataFrame | None]] = {
    "paired_difference": (
        PAIRED | ABOVE,
        shifted(1.0),
        shifted(-1.0),
        shifted(0.0, 3.0),
    ),
    "paired_ratio": (PAIRED | ABOVE, shifted(1.0), shifted(-1.0), shifted(0.0, 2.0)),
    "unpaired_difference": (
        PAIR | ABOVE | {"per": "seed"},
        shifted(1.0),
        shifted(-1.0),
        shifted(0.0, 3.0),
    ),
    "equivalence": (PAIRED | {"margin": 0.5}, shifted(0.1), shifted(1.0), shifted(0.0, 3.0)),
    "ordering": (
        {"factor": "arm", "order": ["a", "b", "c"], "pair_by": "seed"} | ABOVE,
        ladder((1.0, 1.0)),
        ladder((1.0, -1.0)),
        ladder((1.0, 0.0), 2.0),
    ),
    "proportion": (
        {"per": "seed", "expect": {"side": "above", "bound": 0.5}},
        outcomes(35, 35).iloc[:40],
        outcomes(5, 5).iloc[:40],
        outcomes(21, 21).iloc[:40],
    ),
    "difference_of_proportions": (
        PAIR | ABOVE | {"per": "seed"},
        outcomes(35, 5),
        outcomes(5, 35),
        outcomes(20, 19),
    ),
    "time_to_event": (
        PAIR | ABOVE | {"per": "seed", "event": "seen", "horizon": 30.0},
        survival(15, 5),
        survival(5, 15),
        survival(5, 5, 10.0),
    ),
    "monotone_trend": (
        ABOVE | {"x": "x", "per": "seed"},
        trend(1.0),
        trend(-1.0),
        trend(0.0, 1.0),
    ),
    "exponent": (
        {"x": "x", "per": "seed", "range": [1.5, 2.5]},
        power(2.0),
        power(1.0),
        power(1.5, 2.0),
    ),
    "closed_form": (
        {"expected": "truth", "tolerance": 0.01},
        cases([0.0, 0.01, -0.03]),
        cases([0.0, 0.05]),
        None,
    ),
    "bound": (
        {"side": "below", "limit": "truth"},
        cases([-1.0, 0.0, -0.5]),
        cases([-1.0, 0.1]),
        None,
    ),
    "bound_rate": (
        {"kind": "bound", "side": "below", "limit": "truth", "max_rate": 0.2, "per": "case"},
        cases([-1.0] * 60),
        cases([0.1] * 30 + [-1.0] * 30),
        cases([0.1] * 10 + [-1.0] * 50),
    ),
    "arithmetic": (
        {"numbers": {"a": "0.312", "b": "0.440"}, "expression": "100 * (b / a - 1)"},
        pd.DataFrame({"y": [0.0]}),
        pd.DataFrame({"y": [0.0]}),
        None,
    ),
}


def test_of(name: str, wanted: str = "supported") -> dict[str, Any]:
    test = {"kind": name} | KINDS[name][0]
    headline = "41.0" if wanted == "supported" else "45.2"
    return test | ({"headline": headline} if name == "arithmetic" else {})


test_of.__test__ = False  # type: ignore[attr-defined]


@pytest.fixture
def paper(tmp_path: Path) -> SmallPaper:
    return SmallPaper(tmp_path)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("wanted", ["supported", "contradicted", "undecided"])
def test_true_false_and_noise(paper: SmallPaper, name: str, wanted: str) -> None:
    _, true, false, noise = KINDS[name]
    frame = {"supported": true, "contradicted": false, "undecided": noise}[wanted]
    if frame is None:
        pytest.skip("this kind holds or does not")
    paper.table(frame)
    verdict = paper.verdict(paper.claim(test_of(name, wanted)))
    assert verdict["verdict"] == wanted, verdict["takeaway"]
    assert verdict["effect"]["estimate"] is not None


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("verdict", ["supported", "contradicted"])
def test_the_reversed_effect_is_judged_the_other_way(
    paper: SmallPaper, name: str, verdict: str
) -> None:
    paper.table(KINDS[name][1 if verdict == "supported" else 2])
    claims = paper.claim(test_of(name, verdict))
    samples = evidence(claims, "C1", paper.folder / "results", "cpu").samples
    test = claims.claim("C1").test
    turned = {decide(test, reverse(test, sample)).verdict for sample in samples}
    if verdict == "supported":
        assert turned == {"contradicted"}
    else:
        assert "supported" in turned


@pytest.mark.parametrize("name", ["paired_difference", "monotone_trend"])
def test_twice_the_detectable_effect_is_supported(paper: SmallPaper, name: str) -> None:
    noise = KINDS[name][3]
    assert noise is not None
    paper.table(noise)
    claims = paper.claim(test_of(name))
    claim = claims.claim("C1")
    (sample,) = evidence(claims, "C1", paper.folder / "results", "cpu").samples
    strong = strengthened(sample, sample.bound, above=True, level=0.95)
    assert decide(claim.test, strong).verdict == "supported"


# -------------------------------------------------------------------------- rules of conduct


def test_a_missing_seed_leaves_it_undecided(paper: SmallPaper) -> None:
    frame = shifted(1.0)
    paper.table(frame[~((frame.seed == 3) & (frame.arm == "new"))])
    verdict = paper.verdict(paper.claim(test_of("paired_difference")))
    assert verdict["verdict"] == "undecided"
    assert "no value for seed 3 at arm = new" in verdict["reason"]


def test_a_seed_of_the_run_without_any_row_is_missing_too(paper: SmallPaper) -> None:
    paper.table(outcomes(35, 35).iloc[:40], seeds=list(range(41)))
    verdict = paper.verdict(paper.claim(test_of("proportion")))
    assert (verdict["verdict"], verdict["reason"]) == ("undecided", "no value for seed 40")


def test_missing_counts_as_the_claim_says(paper: SmallPaper) -> None:
    frame = outcomes(40, 40).iloc[:40].copy()
    frame.loc[frame.seed < 3, "y"] = np.nan
    paper.table(frame)
    measure = {"table": "t", "metric": "y", "missing": "failure"}
    verdict = paper.verdict(paper.claim(test_of("proportion"), measure=measure))
    assert verdict["effect"]["estimate"] == pytest.approx(37 / 40)
    assert "3 missing values counted as the claim says" in verdict["marks"]


def test_four_seeds_are_too_few(paper: SmallPaper) -> None:
    paper.table(arms([1.0, 1.1, 1.2, 1.3], [0.0, 0.1, 0.2, 0.4]))
    verdict = paper.verdict(paper.claim(test_of("paired_difference")))
    assert verdict["verdict"] == "undecided"
    assert "4 units are too few" in verdict["reason"]


def test_the_sign_flip_test_has_to_agree(paper: SmallPaper) -> None:
    # The t interval lies above 0, but with six units the smallest two-sided p is 2/64: one
    # negative difference that does not cost the mean much is enough to miss 5 %.
    differences = [1.0, 1.1, 0.9, 1.0, 1.0, -0.02]
    paper.table(arms(differences, [0.0] * 6))
    verdict = paper.verdict(paper.claim(test_of("paired_difference")))
    assert verdict["effect"]["interval"][0] > 0
    assert verdict["verdict"] == "undecided"
    assert "the sign-flip test does not (p = 0.062)" in verdict["reason"]


def test_no_variation_is_marked(paper: SmallPaper) -> None:
    paper.table(arms([2.0] * 5, [1.0] * 5))
    verdict = paper.verdict(paper.claim(test_of("paired_difference")))
    assert verdict["verdict"] == "supported"
    assert "no variation across units: is the seed used at all?" in verdict["marks"]


def test_a_close_call_is_fragile(paper: SmallPaper) -> None:
    # With five units, two of the 32 flips of these differences still say supported.
    paper.table(arms([3.0, 3.1, 2.9, 3.0, 0.01], [0.0] * 5))
    verdict = paper.verdict(paper.claim(test_of("paired_difference")))
    assert verdict["verdict"] == "supported"
    assert verdict["fragility"] == pytest.approx(2 / 32)
    assert "fragile" in verdict["marks"]


def test_a_small_profile_decides_nothing(paper: SmallPaper) -> None:
    paper.table(shifted(1.0))
    claims = paper.claim(test_of("paired_difference"), decidable_from="gpu")
    verdict = paper.verdict(claims)
    assert (verdict["verdict"], verdict["computed"]) == ("not decidable here", "supported")


def test_without_results_it_is_not_run(paper: SmallPaper) -> None:
    assert paper.verdict(paper.claim(test_of("paired_difference")))["verdict"] == "not run"


def test_one_contradicted_group_contradicts(paper: SmallPaper) -> None:
    good, bad = shifted(1.0).assign(data="a"), shifted(-1.0).assign(data="b")
    paper.table(pd.concat([good, bad]))
    verdict = paper.verdict(paper.claim(test_of("paired_difference") | {"for_each": "data"}))
    assert verdict["verdict"] == "contradicted"
    assert verdict["group"] == {"data": "b"}
    assert [one["verdict"] for one in verdict["groups"]] == ["supported", "contradicted"]


def test_holm_marks_what_holds_only_without_it(paper: SmallPaper) -> None:
    paper.table(pd.concat([shifted(0.06).assign(data="a"), shifted(0.0, 3.0).assign(data="b")]))
    base: dict[str, Any] = {
        "statement": "s",
        "source": {"place": "p"},
        "test": test_of("paired_difference"),
        "decidable_from": "cpu",
    }
    measures = {
        name: {"table": "t", "metric": "y", "where": {"data": data}}
        for name, data in {"C1": "a", "C2": "b", "C3": "b", "C4": "b"}.items()
    }
    claims = paper.claims({name: base | {"measure": one} for name, one in measures.items()})
    verdict = paper.verdict(claims)
    assert verdict["holm_p_value"] == pytest.approx(4 * verdict["p_value"])
    marked = "only without Holm's correction" in verdict["marks"]
    assert marked == (verdict["verdict"] == "supported" and verdict["holm_p_value"] > 0.05)
    assert 0.0125 < verdict["p_value"] < 0.05, "the example should need the correction"


def test_a_changed_claim_has_to_say_why(paper: SmallPaper) -> None:
    paper.table(shifted(1.0), seeds=list(range(N)))
    before = {"claims": {"C1": paper.verdict(paper.claim(test_of("paired_difference")))}}
    test = test_of("paired_difference") | {"expect": {"side": "above", "bound": 0.5}}
    with pytest.raises(ClaimbookError, match=r"(?s)claims\.yaml:\d+: .*replaces: \"[0-9a-f]{16}\""):
        paper.verdict(paper.claim(test), earlier=before)
    entry = {
        "date": date(2026, 1, 1),
        "replaces": before["claims"]["C1"]["hash"],
        "seeds": [0, 1],
        "reason": "0 was no effect of interest",
    }
    verdict = paper.verdict(paper.claim(test, history=[entry]), earlier=before)
    assert "seeds reused after the change" in verdict["marks"]
    assert verdict["history"][0]["reason"] == "0 was no effect of interest"


def test_prose_does_not_change_the_hash(paper: SmallPaper) -> None:
    test = test_of("paired_difference")
    first = paper.claim(test).claim("C1").hash
    assert paper.claim(test, statement="Other words.").claim("C1").hash == first
    assert paper.claim(test, decidable_from="gpu").claim("C1").hash != first


def test_the_papers_number_is_compared_in_size(paper: SmallPaper) -> None:
    paper.table(shifted(1.0))
    source = {"place": "Table 1", "value": 2.0}
    verdict = paper.verdict(paper.claim(test_of("paired_difference"), source=source))
    assert verdict["paper_value"]["ratio"] == pytest.approx(0.5, abs=0.1)
    assert not verdict["paper_value"]["inside_our_interval"]


def test_build_samples_keeps_every_unit(paper: SmallPaper) -> None:
    paper.table(shifted(1.0))
    claims = paper.claim(test_of("paired_difference"))
    found = evidence(claims, "C1", paper.folder / "results", "cpu")
    assert found.rows is not None
    (sample,) = build_samples(claims.claim("C1"), found.rows)
    assert sample.units == tuple(f"seed {seed}" for seed in range(N))


# ---------------------------------------------------------------------------- printed numbers


@pytest.mark.parametrize(
    ("headline", "relation", "wanted"),
    [
        ("45.2", "equals", "contradicted"),
        ("41", "equals", "supported"),
        ("40.6", "equals", "supported"),
        ("41.4", "equals", "supported"),
        ("40.5", "equals", "contradicted"),
        ("41.5", "equals", "contradicted"),
        ("42", "equals", "contradicted"),
        ("40", "at_least", "supported"),
        ("45.2", "at_least", "contradicted"),
        ("45.2", "at_most", "supported"),
        ("40", "at_most", "contradicted"),
    ],
)
def test_a_headline_follows_from_its_table_or_not(
    paper: SmallPaper, headline: str, relation: str, wanted: str
) -> None:
    # .4395 / .3125 - 1 = 40.64 % and .4405 / .3115 - 1 = 41.41 %.
    test = test_of("arithmetic") | {"headline": headline, "relation": relation}
    verdict = paper.verdict(paper.claim(test))
    assert verdict["verdict"] == wanted
    assert verdict["effect"]["interval"] == pytest.approx([40.64, 41.413], abs=1e-3)
    assert (verdict["p_value"], verdict["seeds"]) == (None, [])


def test_printed_numbers_need_no_results_and_are_told_as_the_papers(paper: SmallPaper) -> None:
    verdict = paper.verdict(paper.claim(test_of("arithmetic", "contradicted")))
    assert verdict["takeaway"].startswith("The paper's own numbers contradict this")


# ---------------------------------------------------------------------- what is missing counts


def without(frame: pd.DataFrame, seed: int, arm: str) -> pd.DataFrame:
    """The value of one seed in one arm is not a number."""
    return frame.assign(y=frame.y.where((frame.seed != seed) | (frame.arm != arm)))


@pytest.mark.parametrize(
    "name",
    [name for name in KINDS if name not in ("arithmetic",)],
)
def test_a_value_that_is_no_number_decides_nothing(paper: SmallPaper, name: str) -> None:
    frame = KINDS[name][1].reset_index(drop=True)
    frame.loc[0, "y"] = np.nan
    paper.table(frame)
    verdict = paper.verdict(paper.claim(test_of(name)))
    assert verdict["verdict"] == "undecided"
    assert "no value for" in " ".join(
        [verdict["reason"], *(g["reason"] for g in verdict["groups"])]
    )


def test_a_number_for_what_is_missing_is_used(paper: SmallPaper) -> None:
    paper.table(without(arms([2.0] * 9 + [1.0], [1.0] * 10), 9, "new"))
    measure = {"table": "t", "metric": "y", "missing": -9.0}
    verdict = paper.verdict(paper.claim(test_of("paired_difference"), measure=measure))
    assert verdict["effect"]["estimate"] == pytest.approx((9 * 1 - 10) / 10)
    assert "1 missing values counted as the claim says" in verdict["marks"]


@pytest.mark.parametrize(("side", "arm"), [("above", "new"), ("below", "old")])
def test_a_failure_speaks_against_the_claim_in_either_arm(
    paper: SmallPaper, side: str, arm: str
) -> None:
    frame = outcomes(20, 20)
    measure = {"table": "t", "metric": "y", "missing": "failure"}
    test = test_of("difference_of_proportions") | {"expect": {"side": side}}
    for one in ("new", "old"):
        # Seed 0 had a 1, seed 39 a 0: lost, both count as what the claim does not want.
        paper.table(without(without(frame, 0, one), 39, one))
        verdict = paper.verdict(paper.claim(test, measure=measure))
        against = -1 / 40 if side == "above" else 1 / 40
        assert verdict["effect"]["estimate"] == pytest.approx(against), (side, one)


def test_a_lost_run_dies_at_once_in_the_arm_that_should_live(paper: SmallPaper) -> None:
    measure = {"table": "t", "metric": "y", "missing": "failure"}
    claims = paper.claim(test_of("time_to_event"), measure=measure)
    estimates = {}
    for arm in ("none", "new", "old"):
        paper.table(without(survival(15, 5, 0.0), 0, arm))
        estimates[arm] = paper.verdict(claims)["effect"]["estimate"]
    # 15 against 5 up to 30; one of 12 runs at 0 instead of 15, or at 30 instead of 5.
    assert estimates["none"] == pytest.approx(10)
    assert estimates["new"] == pytest.approx(10 - 15 / 12)
    assert estimates["old"] == pytest.approx(10 - 25 / 12)


def test_a_failure_violates_a_bound_and_a_closed_form(paper: SmallPaper) -> None:
    paper.table(cases([-0.03, np.nan]))
    measure = {"table": "t", "metric": "y", "missing": "failure"}
    for name in ("bound", "closed_form"):
        verdict = paper.verdict(paper.claim(test_of(name), measure=measure))
        assert verdict["verdict"] == "contradicted", name


# --------------------------------------------------------------------- second opinions, groups


def test_the_log_rank_test_has_to_agree(paper: SmallPaper) -> None:
    # Up to 7 the new arm lives longer; then the curves cross, and the log-rank test sees it all.
    new = [6.0] * 8 + [7.0] * 2
    old = [1.0] * 6 + [20.0] * 4
    paper.table(arms(new, old).assign(seen=1))
    test = test_of("time_to_event") | {"horizon": 7.0}
    verdict = paper.verdict(paper.claim(test))
    assert verdict["effect"]["interval"][0] > 0
    assert verdict["verdict"] == "undecided"
    assert "the log-rank test does not" in verdict["reason"]


def test_the_exact_test_of_two_shares_has_to_agree(paper: SmallPaper) -> None:
    found = {}
    for new in range(1, 7):
        paper.table(outcomes(new, 0, n=6))
        verdict = paper.verdict(paper.claim(test_of("difference_of_proportions")))
        found[new] = (verdict["effect"]["interval"][0] > 0, verdict["verdict"])
    assert found[1] == (False, "undecided")
    assert found[3] == (True, "undecided")  # Newcombe's interval alone would say supported
    assert found[6] == (True, "supported")


@pytest.mark.parametrize(
    ("second", "wanted"), [(1.0, "supported"), (0.0, "undecided"), (-1.0, "contradicted")]
)
def test_an_ordering_holds_when_every_step_does(
    paper: SmallPaper, second: float, wanted: str
) -> None:
    paper.table(ladder((1.0, second)))
    verdict = paper.verdict(paper.claim(test_of("ordering")))
    groups = {one["group"]["arm"]: one["verdict"] for one in verdict["groups"]}
    assert groups == {"a above b": "supported", "b above c": wanted}
    assert verdict["verdict"] == wanted


def test_an_undecided_group_leaves_it_undecided(paper: SmallPaper) -> None:
    good, vague = shifted(1.0).assign(data="a"), shifted(0.0, 3.0).assign(data="b")
    paper.table(pd.concat([good, vague]))
    verdict = paper.verdict(paper.claim(test_of("paired_difference") | {"for_each": "data"}))
    assert (verdict["verdict"], verdict["group"]) == ("undecided", {"data": "b"})
    assert verdict["detectable"] > 0 and verdict["needed_n"] > N


def test_of_supported_groups_the_weakest_stands_for_the_claim(paper: SmallPaper) -> None:
    strong, weak = shifted(5.0).assign(data="a"), shifted(0.2).assign(data="b")
    paper.table(pd.concat([strong, weak]))
    verdict = paper.verdict(paper.claim(test_of("paired_difference") | {"for_each": "data"}))
    assert (verdict["verdict"], verdict["group"]) == ("supported", {"data": "b"})
    assert verdict["p_value"] == max(one["p_value"] for one in verdict["groups"])


def test_no_significant_difference_is_not_equivalence(paper: SmallPaper) -> None:
    paper.table(shifted(0.0, 3.0))
    difference = paper.verdict(paper.claim(test_of("paired_difference")))
    equivalence = paper.verdict(paper.claim(test_of("equivalence")))
    assert difference["verdict"] == equivalence["verdict"] == "undecided"


def test_rows_of_one_unit_are_not_independent_cases(paper: SmallPaper) -> None:
    # 6 units of 20 rows; one row of each violates: 5 % of the rows, but every unit.
    rows = [{"u": u, "y": 1.0 if i == 0 else -1.0} for u in range(6) for i in range(20)]
    paper.table(pd.DataFrame(rows))
    test = {"kind": "bound", "side": "below", "limit": 0.0, "max_rate": 0.2, "per": "u"}
    verdict = paper.verdict(paper.claim(test))
    assert (verdict["effect"]["estimate"], verdict["n"]) == (1.0, 6)
    assert verdict["verdict"] == "contradicted"


# --------------------------------------------------------------------------------- more marks


def test_a_claim_changed_with_a_reason_on_fresh_seeds_is_only_told_as_changed(
    paper: SmallPaper,
) -> None:
    paper.table(shifted(1.0))
    before = {"claims": {"C1": {"hash": "0" * 16, "seeds": [100, 101]}}}
    claims = paper.claim(test_of("paired_difference"))
    with pytest.raises(ClaimbookError, match=r"seeds: \[100, 101\]\n +reason: \.\.\."):
        paper.verdict(claims, earlier=before)
    entry = {"date": date(2026, 1, 1), "replaces": "0" * 16, "seeds": [100, 101], "reason": "r"}
    claims = paper.claim(test_of("paired_difference"), history=[entry])
    marks = paper.verdict(claims, earlier=before)["marks"]
    assert "definition changed after results existed" in marks
    assert "seeds reused after the change" not in marks
    wrong = paper.claim(test_of("paired_difference"), history=[entry | {"replaces": "1" * 16}])
    with pytest.raises(ClaimbookError, match="Say why"):
        paper.verdict(wrong, earlier=before)


def test_an_unchanged_claim_needs_no_history(paper: SmallPaper) -> None:
    paper.table(shifted(1.0))
    claims = paper.claim(test_of("paired_difference"))
    before = {"claims": {"C1": paper.verdict(claims)}}
    assert paper.verdict(claims, earlier=before) == before["claims"]["C1"]


def test_a_lonely_close_claim_is_not_marked_by_holm(paper: SmallPaper) -> None:
    paper.table(pd.concat([shifted(0.06).assign(data="a"), shifted(0.0, 3.0).assign(data="b")]))
    base = {"statement": "s", "source": {"place": "p"}, "decidable_from": "cpu"}
    measures = [{"table": "t", "metric": "y", "where": {"data": data}} for data in "abbb"]
    test = test_of("paired_difference") | {"expect": {"side": "above"}}
    for count, marked in ((1, False), (4, True)):
        claims = {
            f"C{i + 1}": base | {"test": test, "measure": one}
            for i, one in enumerate(measures[:count])
        }
        verdict = paper.verdict(paper.claims(claims))
        assert verdict["verdict"] == "supported"
        assert ("only without Holm's correction" in verdict["marks"]) == marked


def test_what_is_below_the_profile_says_so_in_words(paper: SmallPaper) -> None:
    paper.table(shifted(-1.0))
    claims = paper.claim(test_of("paired_difference"), decidable_from="gpu")
    verdict = paper.verdict(claims)
    assert verdict["computed"] == "contradicted"
    assert verdict["takeaway"].startswith("Profile cpu is too small to decide this; it takes gpu")
    assert "computed" not in paper.verdict(paper.claim(test_of("paired_difference")))


@pytest.mark.parametrize("name", ["paired_difference", "unpaired_difference", "monotone_trend"])
def test_four_units_decide_no_mean(paper: SmallPaper, name: str) -> None:
    frame = KINDS[name][1]
    for seeds, wanted in ((4, "undecided"), (5, "supported")):
        paper.table(frame[frame.seed < seeds])
        assert paper.verdict(paper.claim(test_of(name)))["verdict"] == wanted


def test_a_ratio_of_a_negative_value_is_no_verdict(paper: SmallPaper) -> None:
    paper.table(arms([2.0, 2.1, -1.0, 2.0, 2.2], [1.0] * 5))
    verdict = paper.verdict(paper.claim(test_of("paired_ratio")))
    assert verdict["verdict"] == "undecided"
    assert verdict["reason"] == "a ratio needs positive values, but seed 2 has -1 at new"

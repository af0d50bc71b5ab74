"""Every kind of test on a claim that is true, one that is false, and one that is all noise."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from common.workflow.errors import ClaimbookError
from common.workflow.judging.building import build_samples
from common.workflow.judging.decisions import decide
from common.workflow.judging.judge import evidence
from common.workflow.judging.reverse import reverse, strengthened
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
    with pytest.raises(ClaimbookError, match=r"(?s)claims\.yaml:\d+: .*replaces: [0-9a-f]{16}"):
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

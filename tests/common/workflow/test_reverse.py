"""Every claim can fail: judged on the opposite of what was measured, the verdict turns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from common.workflow.claims.judging.building import build_samples
from common.workflow.claims.judging.decisions import decide
from common.workflow.claims.judging.judge import evidence
from common.workflow.claims.judging.reverse import reverse, strengthened
from common.workflow.claims.judging.samples import Paired, Sample, Slopes
from common.workflow.claims.kinds import TEST_KINDS, AnyTest
from common.workflow.claims.selection import select_rows
from tests.common.workflow.judged import SmallPaper, arms

Frame = pd.DataFrame
PAIR = {"factor": "arm", "compare": ["new", "old"]}
PAIRED = PAIR | {"pair_by": "seed"}
UNPAIRED = PAIR | {"per": "seed"}
TIMED = UNPAIRED | {"event": "seen", "horizon": 50.0}
SPREAD = np.array([-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.05])


def expect(side: str, bound: float | None = None) -> dict[str, Any]:
    return {"expect": {"side": side} | ({} if bound is None else {"bound": bound})}


def apart(by: float) -> Frame:
    """Differences around `by`, between arms around 10."""
    return arms(list(10 + by + SPREAD), [10.0] * 8)


def ratio(of: float) -> Frame:
    return arms(list(10 * of * np.exp(SPREAD / 10)), [10.0] * 8)


def apart_unpaired(by: float) -> Frame:
    return arms(list(10 + by + SPREAD), list(10 + SPREAD[::-1]))


def shares(new: int, old: int, n: int = 40) -> Frame:
    return arms([1.0] * new + [0.0] * (n - new), [1.0] * old + [0.0] * (n - old))


def share(ones: int, n: int = 40) -> Frame:
    return Frame({"seed": range(n), "y": [1.0] * ones + [0.0] * (n - ones)})


def times(new: float, old: float) -> Frame:
    return arms(list(new + SPREAD), list(old + SPREAD[::-1])).assign(seen=1)


def lines(slope: float) -> Frame:
    return Frame(
        {"seed": seed, "x": x, "y": 5 + (slope + one / 10) * x}
        for seed, one in enumerate(SPREAD)
        for x in range(1, 6)
    )


def powers(exponent: float) -> Frame:
    return Frame(
        {"seed": seed, "x": x, "y": 3 * float(x) ** (exponent + one / 10)}
        for seed, one in enumerate(SPREAD)
        for x in (1, 2, 4, 8)
    )


def steps(first: float, second: float) -> Frame:
    """Arms a, b, c: a lies `first` above b, and b lies `second` above c."""
    levels = {"a": 10 + first + second, "b": 10 + second, "c": 10.0}
    return Frame(
        {"seed": seed, "arm": arm, "y": level + (one if arm == "b" else 0)}
        for seed, one in enumerate(SPREAD)
        for arm, level in levels.items()
    )


def cases(*values: float) -> Frame:
    return Frame({"case": range(len(values)), "y": values})


def violated(bad: int, n: int = 60) -> Frame:
    return Frame({"case": range(n), "y": [1.0] * bad + [-1.0] * (n - bad)})


PRINTED = {"numbers": {"a": "0.312", "b": "0.440"}, "expression": "100 * (b / a - 1)"}
NO_ROWS = cases(0.0)

# A name that begins with the kind; the rest of the test; what supports and what contradicts it.
CASES: dict[str, tuple[dict[str, Any], Frame, Frame]] = {
    "paired_difference above": (PAIRED | expect("above"), apart(1), apart(-1)),
    "paired_difference below": (PAIRED | expect("below"), apart(-1), apart(1)),
    "paired_difference beyond 2": (PAIRED | expect("above", 2.0), apart(3), apart(1)),
    "paired_difference no worse": (PAIRED | expect("above", -2.0), apart(-1), apart(-3)),
    "paired_ratio above": (PAIRED | expect("above"), ratio(1.2), ratio(0.8)),
    "paired_ratio halved": (PAIRED | expect("below", 0.5), ratio(0.4), ratio(0.6)),
    "paired_ratio doubled": (PAIRED | expect("above", 2.0), ratio(3.0), ratio(1.5)),
    "unpaired_difference above": (
        UNPAIRED | expect("above"),
        apart_unpaired(1),
        apart_unpaired(-1),
    ),
    "unpaired_difference no worse": (
        UNPAIRED | expect("below", 2.0),
        apart_unpaired(1),
        apart_unpaired(3),
    ),
    "equivalence difference": (PAIRED | {"margin": 1.0}, apart(0.2), apart(-2)),
    "equivalence ratio": (
        PAIRED | {"margin": 0.1, "scale": "ratio"},
        ratio(0.98),
        ratio(1.3),
    ),
    "ordering above": (
        {"factor": "arm", "order": ["a", "b", "c"], "pair_by": "seed"} | expect("above"),
        steps(1, 1),
        steps(-1, -1),
    ),
    "ordering below": (
        {"factor": "arm", "order": ["c", "b", "a"], "pair_by": "seed"} | expect("below"),
        steps(1, 1),
        steps(-1, -1),
    ),
    "proportion above": ({"per": "seed"} | expect("above", 0.5), share(36), share(4)),
    "proportion below": ({"per": "seed"} | expect("below", 0.5), share(4), share(36)),
    # 90 % or 60 %, failures for successes: 10 % or 40 %, on the same side of the bound for one.
    "proportion nearly all": ({"per": "seed"} | expect("above", 0.7), share(39), share(16)),
    "proportion not few": ({"per": "seed"} | expect("above", 0.2), share(20), share(1)),
    "difference_of_proportions above": (
        UNPAIRED | expect("above"),
        shares(36, 4),
        shares(4, 36),
    ),
    "difference_of_proportions no worse": (
        UNPAIRED | expect("above", -0.5),
        shares(20, 20),
        shares(0, 36),
    ),
    "difference_of_proportions much": (
        UNPAIRED | expect("above", 0.4),
        shares(40, 2),
        shares(20, 20),
    ),
    "time_to_event above": (TIMED | expect("above"), times(20, 10), times(10, 20)),
    "time_to_event below": (TIMED | expect("below"), times(10, 20), times(20, 10)),
    "monotone_trend kendall": ({"x": "x", "per": "seed"} | expect("above"), lines(1), lines(-1)),
    "monotone_trend slope": (
        {"x": "x", "per": "seed", "statistic": "slope"} | expect("below", -0.5),
        lines(-1),
        lines(0.5),
    ),
    "exponent closed": ({"x": "x", "per": "seed", "range": [1.5, 2.5]}, powers(2), powers(1)),
    "exponent at most": ({"x": "x", "per": "seed", "range": [None, 1.0]}, powers(0.5), powers(9)),
    "exponent at least": ({"x": "x", "per": "seed", "range": [1.0, None]}, powers(9), powers(-2)),
    "closed_form tolerance": (
        {"expected": 4.0, "tolerance": 0.01},
        cases(4.0, 4.03, 3.97),
        cases(4.0, 4.05),
    ),
    "closed_form exact": ({"expected": 4.0, "tolerance": 0.0}, cases(4.0, 4.0), cases(4.0, 4.1)),
    "closed_form of zero": (
        {"expected": 0.0, "tolerance": 0.01, "floor": 1.0},
        cases(0.0, 0.005),
        cases(0.0, 0.1),
    ),
    "bound below": ({"side": "below", "limit": 2.0}, cases(1.0, 2.0), cases(1.0, 2.1)),
    "bound above": ({"side": "above", "limit": 2.0}, cases(3.0, 2.0), cases(3.0, 1.9)),
    "bound tolerance": (
        {"side": "below", "limit": 2.0, "tolerance": 0.5},
        cases(1.0, 2.4),
        cases(1.0, 2.6),
    ),
    "bound rate": (
        {"side": "below", "limit": 0.0, "max_rate": 0.2, "per": "case"},
        violated(2),
        violated(30),
    ),
    "arithmetic equals": (PRINTED, NO_ROWS, NO_ROWS),
    "arithmetic at_least": (PRINTED | {"relation": "at_least"}, NO_ROWS, NO_ROWS),
    "arithmetic at_most": (PRINTED | {"relation": "at_most"}, NO_ROWS, NO_ROWS),
}
HEADLINES = {  # of 40.6 to 41.4 %: one that can follow, and one that cannot
    "arithmetic equals": ("41", "45.2"),
    "arithmetic at_least": ("30", "45.2"),
    "arithmetic at_most": ("45.2", "30"),
}


def samples_of(folder: Path, name: str, contradicting: bool) -> tuple[AnyTest, list[Sample]]:
    """The test, and the samples that its rows give on the way through files."""
    paper = SmallPaper(folder)
    options, true, false = CASES[name]
    test = {"kind": name.split()[0]} | options
    if name in HEADLINES:
        claims = paper.claim(test | {"headline": HEADLINES[name][contradicting]})
        found = evidence(claims, "C1", folder / "results", "cpu").samples
        return claims.claim("C1").test, found
    paper.table(false if contradicting else true)
    claims = paper.claim(test)
    rows = select_rows(claims, "C1", folder / "results", "cpu")
    claim = claims.claim("C1")
    return claim.test, build_samples(claim, rows)


def verdicts(test: AnyTest, samples: list[Sample]) -> set[str]:
    return {decide(test, sample).verdict for sample in samples}


def test_every_kind_is_reversed_here() -> None:
    assert {name.split()[0] for name in CASES} == set(TEST_KINDS)


@pytest.mark.parametrize("name", CASES)
def test_what_was_supported_is_contradicted(tmp_path: Path, name: str) -> None:
    test, samples = samples_of(tmp_path, name, contradicting=False)
    assert verdicts(test, samples) == {"supported"}
    assert verdicts(test, [reverse(test, one) for one in samples]) == {"contradicted"}


@pytest.mark.parametrize("name", CASES)
def test_what_was_contradicted_is_supported(tmp_path: Path, name: str) -> None:
    test, samples = samples_of(tmp_path, name, contradicting=True)
    assert verdicts(test, samples) == {"contradicted"}
    assert verdicts(test, [reverse(test, one) for one in samples]) == {"supported"}


@pytest.mark.parametrize(
    "name", [name for name in CASES if name.startswith(("paired", "unpaired", "monotone"))]
)
def test_reversed_twice_is_what_was_measured(tmp_path: Path, name: str) -> None:
    test, samples = samples_of(tmp_path, name, contradicting=False)
    for sample in samples:
        before = decide(test, sample).interval
        after = decide(test, reverse(test, reverse(test, sample))).interval
        assert before is not None and after is not None
        assert (after.low, after.high) == pytest.approx((before.low, before.high))


def test_differences_are_reflected_about_the_bound(tmp_path: Path) -> None:
    test, (sample,) = samples_of(tmp_path, "paired_difference beyond 2", contradicting=False)
    turned = reverse(test, sample).data
    assert isinstance(turned, Paired)
    # Differences 3 + s about the bound 2 become 1 - s.
    assert turned.a - turned.b == pytest.approx(1 - SPREAD)


@pytest.mark.parametrize("name", ["paired_difference above", "ordering above"])
def test_the_interval_is_mirrored_not_widened(tmp_path: Path, name: str) -> None:
    test, samples = samples_of(tmp_path, name, contradicting=False)
    for sample in samples:
        before, after = decide(test, sample).interval, decide(test, reverse(test, sample)).interval
        assert before is not None and after is not None
        assert (after.low, after.high) == pytest.approx((-before.high, -before.low))


# --------------------------------------------------------------------- the effect strengthened


@pytest.mark.parametrize("n", [5, 6, 12, 30])
@pytest.mark.parametrize("side", ["above", "below"])
@pytest.mark.parametrize("bound", [0.0, 2.5, -1.0])
def test_twice_the_detectable_effect_is_supported(n: int, side: str, bound: float) -> None:
    test = TEST_KINDS["paired_difference"].model_validate(
        {"kind": "paired_difference"} | PAIRED | expect(side, bound)
    )
    noise = np.random.default_rng(n).normal(size=n)
    sample = Sample(Paired(noise + 10, np.full(n, 10.0)), ("unit",) * n, bound=bound)
    strong = strengthened(sample, bound, side == "above", 0.95)
    assert decide(test, strong).verdict == "supported"  # type: ignore[arg-type]
    # The noise stays what it was: only the mean moves.
    assert isinstance(strong.data, Paired)
    moved = strong.data.a - strong.data.b
    assert moved - moved.mean() == pytest.approx(noise - noise.mean())


@pytest.mark.parametrize(("side", "other"), [("above", "below"), ("below", "above")])
def test_a_strengthened_slope_supports_one_side_and_contradicts_the_other(
    side: str, other: str
) -> None:
    sample = Sample(Slopes(np.random.default_rng(3).normal(size=8)), ("unit",) * 8)
    strong = strengthened(sample, 0.0, side == "above", 0.95)
    for asked, wanted in ((side, "supported"), (other, "contradicted")):
        test = TEST_KINDS["monotone_trend"].model_validate(
            {"kind": "monotone_trend", "x": "x", "per": "seed"} | expect(asked)
        )
        assert decide(test, strong).verdict == wanted  # type: ignore[arg-type]

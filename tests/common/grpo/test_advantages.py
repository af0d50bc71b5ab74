"""Advantage rules: worked examples, degenerate groups, and properties that all of them share."""

from __future__ import annotations

from itertools import combinations
from math import comb, sqrt
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.grpo.rules.advantages import ADVANTAGES, dr_grpo, grpo, rloo
from common.grpo.rules.canon import canon_entropy, canon_length
from common.grpo.rules.passk import BASELINES, all_wrong, passk_direct, passk_grpo
from common.grpo.rules.prompt_weights import (
    from_surrogate,
    hard_examples,
    log_likelihood,
    std_regularised,
)
from common.grpo.rules.signed import nsr, psr, w_reinforce
from common.workflow.base.project import ROOT

R = torch.tensor([[1.0, 1, 1, 0, 0, 0]])
LENGTHS = torch.tensor([[100.0, 400, 800, 300, 500, 700]])
SIGNS = torch.tensor([[1.0, 1, 1, -1, -1, -1]])

CENTRED: dict[str, dict[str, Any]] = {
    "grpo": {},
    "dr_grpo": {},
    "rloo": {},
    "passk_grpo": {"k": 2},
    "passk_direct": {"k": 2},
    "hard_examples": {"power": 0.5},
    "std_regularised": {"strength": 1.5},
    "log_likelihood": {},
}
"""Rules whose advantages sum to zero, with options."""
SIGNED = ("psr", "nsr", "w_reinforce")
CANON = ("canon_length", "canon_entropy")


def rule(name: str) -> Any:
    return ADVANTAGES[name].bind(CENTRED.get(name, {}))


def group(n: int, n_correct: int) -> torch.Tensor:
    return (torch.arange(n) < n_correct).double()[None]


@st.composite
def rewards(draw: st.DrawFn, binary: bool = True) -> torch.Tensor:
    """(P, G) with 2 to 9 completions; some rewards are missing, but every group has two."""
    shape = draw(st.integers(1, 4)), draw(st.integers(2, 9))
    values = st.sampled_from([0.0, 1.0] if binary else [0.0, 0.1, 0.3, 0.7, 1.0, -2.0])
    cells = st.lists(values, min_size=shape[1], max_size=shape[1])
    rows = draw(st.lists(cells, min_size=shape[0], max_size=shape[0]))
    found = torch.tensor(rows, dtype=torch.float64)
    missing = draw(st.lists(st.booleans(), min_size=shape[1], max_size=shape[1]))
    found[0, [gone and i > 1 for i, gone in enumerate(missing)]] = torch.nan
    return found


def test_every_rule_is_registered_and_tested_here() -> None:
    assert set(ADVANTAGES) == {*CENTRED, *SIGNED, *CANON}
    for name in ADVANTAGES:
        assert ADVANTAGES[name].equation and ADVANTAGES[name].source


def test_worked_example() -> None:
    assert torch.allclose(grpo(R), 0.91270 * SIGNS, atol=5e-6)
    assert torch.allclose(grpo(R, std="population", eps=0.0), SIGNS)
    assert torch.allclose(dr_grpo(R), 0.5 * SIGNS)
    assert torch.allclose(rloo(R), 0.6 * SIGNS)
    assert psr(R).tolist() == [[1, 1, 1, 0, 0, 0]]
    assert nsr(R).tolist() == [[0, 0, 0, -1, -1, -1]]
    assert torch.allclose(w_reinforce(R), torch.tensor([[0.1, 0.1, 0.1, -1, -1, -1]]))
    assert torch.allclose(w_reinforce(R, positive=1.0), SIGNS)


@pytest.mark.parametrize(
    ("mu", "alpha", "expected"),
    [
        (1.0, 1.0, [0.6667, 0.6667, 0.3333, -0.3333, -0.6667, -0.6667]),
        (0.5, 1.0, [0.5, 0.5, 0.5, -0.5, -0.5, -0.5]),
        (0.0, 1.0, [0.3333, 0.3333, 0.6667, -0.6667, -0.3333, -0.3333]),
        (1.0, 0.8, [0.7333, 0.7333, 0.1333, -0.2667, -0.6667, -0.6667]),
    ],
)
def test_canon_example(mu: float, alpha: float, expected: list[float]) -> None:
    found = canon_length(R, lengths=LENGTHS, mu=mu, alpha=alpha)
    assert torch.allclose(found, torch.tensor([expected]), atol=1e-4)


def test_canon_entropy_multiplies_the_low_half() -> None:
    # Low half by entropy: completions 0, 3, 1 with mean 2/3; high half 4, 5, 2 with mean 1/3.
    found = canon_entropy(R, entropies=LENGTHS, mu=1.0, alpha=0.8)
    low, high = 2 / 3, 1 / 3
    expected = [0.8 - high, 0.8 - high, 1 - 0.8 * low, -high, -0.8 * low, -0.8 * low]
    assert torch.allclose(found, torch.tensor([expected]))


def test_canon_odd_group_ties_and_missing_rewards() -> None:
    # Three rewards: the low half has one completion; of equal lengths the earlier is the shorter.
    r = torch.tensor([[1.0, 0, torch.nan, 0.5]])
    found = canon_length(r, lengths=torch.tensor([[7.0, 7, 1, 7]]))
    assert torch.allclose(found, torch.tensor([[1 - 0.25, -1.0, 0.0, 0.5 - 1.0]]))


@given(rewards(binary=False), st.integers(0, 2**31))
@settings(deadline=None, max_examples=50)
def test_canon_with_equal_halves_is_dr_grpo(r: torch.Tensor, seed: int) -> None:
    r = r[:, : r.shape[1] // 2 * 2].nan_to_num(0.3)
    metric = torch.rand(r.shape, generator=torch.Generator().manual_seed(seed))
    for found in (
        canon_length(r, lengths=metric, mu=0.5),
        canon_entropy(r, entropies=metric, mu=0.5),
    ):
        assert torch.allclose(found, dr_grpo(r), atol=1e-12)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.parametrize("n_correct", range(8))
def test_passk_rules_against_all_sets(n_correct: int, k: int) -> None:
    n, r = 7, group(7, n_correct)
    sets = [set(chosen) for chosen in combinations(range(n), k)]
    solved = np.array([any(i < n_correct for i in chosen) for chosen in sets], dtype=float)
    inside = np.array([[i in chosen for chosen in sets] for i in range(n)])

    share = np.array([solved[inside[i]].mean() for i in range(n)])
    assert passk_direct(r, k=k, baseline="none")[0].numpy() == pytest.approx(k * share)
    centred = k * (share - share.mean())
    assert passk_direct(r, k=k, baseline="mean")[0].numpy() == pytest.approx(centred, abs=1e-12)
    others = np.array([solved[~inside[i]].mean() for i in range(n)])
    found = passk_direct(r, k=k, baseline="leave_one_out")[0].numpy()
    assert found == pytest.approx(k * (share - others), abs=1e-12)
    without = [[any(j < n_correct for j in s - {i}) for s in sets if i in s] for i in range(n)]
    found = passk_direct(r, k=k, baseline="subset")[0].numpy()
    assert found == pytest.approx(k * (share - np.mean(without, axis=1)), abs=1e-12)

    expected = np.zeros(n)
    if solved.std() > 0:
        shaped = (solved - solved.mean()) / solved.std()
        expected = np.array([shaped[inside[i]].mean() for i in range(n)])
    assert passk_grpo(r, k=k)[0].numpy() == pytest.approx(expected, abs=1e-12)


def test_passk_with_one_sample_is_grpo_and_rloo() -> None:
    r = torch.stack([group(6, c)[0] for c in range(7)])
    assert torch.allclose(passk_grpo(r, k=1), grpo(r, std="population", eps=0.0))
    assert torch.allclose(passk_direct(r, k=1), dr_grpo(r))
    assert torch.allclose(passk_direct(r, k=1, baseline="leave_one_out"), rloo(r))


def test_easy_prompts_are_switched_off() -> None:
    r = torch.stack([group(8, c)[0] for c in (5, 6, 7, 8)])
    assert not passk_grpo(r, k=4).any()
    assert not passk_direct(r, k=4).any()
    assert (passk_direct(r, k=4, baseline="none") == 4).all()


def test_all_wrong_is_a_ratio_of_binomials() -> None:
    for n in (1, 5, 60, 200):
        for wrong in {0, 1, n // 2, n}:
            for k in {1, n // 2 + 1, n}:
                size, bad = torch.tensor([[float(n)]]), torch.tensor([[float(wrong)]])
                expected = comb(wrong, k) / comb(n, k)
                assert all_wrong(size, bad, k).item() == pytest.approx(expected, rel=1e-12)


def test_hard_examples_weights_its_base() -> None:
    r = torch.stack([group(8, c)[0] for c in range(9)])
    share = 1 - r.mean(1, keepdim=True)
    assert torch.allclose(hard_examples(r, base="rloo", power=2.0), rloo(r) * share**2)
    base = {"name": "passk_grpo", "k": 2}
    assert torch.allclose(hard_examples(r, base=base), passk_grpo(r, k=2) * share)
    assert torch.allclose(hard_examples(r, power=0.0), grpo(r))


@pytest.mark.parametrize("base", ["unknown", "canon_length", {"k": 2}, {"name": "grpo", "x": 1}])
def test_a_wrong_base_is_refused(base: Any) -> None:
    with pytest.raises(
        ValueError, match=r"unknown advantage rule|rule: canon_length needs|unknown option"
    ):
        hard_examples(R, base=base)


def test_surrogate_rules() -> None:
    r = group(8, 2)
    assert log_likelihood(r)[0, 0] == pytest.approx(3.0)
    assert log_likelihood(r)[0, -1] == pytest.approx(-1.0)
    slope = 1 + 0.5 * 0.5 / (2 * sqrt(3 / 16))
    assert std_regularised(r, strength=0.5)[0, 0] == pytest.approx(0.75 * slope)
    easy = group(8, 7)
    assert not std_regularised(easy, strength=5.0).any()
    assert std_regularised(easy, strength=5.0, floor=None)[0, 0] < 0
    assert torch.allclose(from_surrogate(torch.ones_like, r), dr_grpo(r))


@pytest.mark.parametrize("name", CENTRED)
@given(data=st.data())
@settings(deadline=None, max_examples=40)
def test_centred_rules(name: str, data: st.DataObject) -> None:
    r = data.draw(rewards(binary=name not in ("grpo", "dr_grpo", "rloo")))
    found = rule(name)(r)
    assert found.isfinite().all()
    assert found.sum(1).abs().max() < 1e-9
    assert not found[r.isnan()].any()
    above = r > r.nanmean(1, keepdim=True)
    assert (found[above] >= 0).all() and (found[~above & ~r.isnan()] <= 0).all()
    order = torch.tensor(data.draw(st.permutations(range(r.shape[1]))))
    assert torch.allclose(rule(name)(r[:, order]), found[:, order], rtol=0, atol=1e-12)
    # A missing reward changes nothing for the others.
    kept = ~r[0].isnan()
    k = CENTRED[name].get("k", 1)
    if kept.sum() >= k:
        assert torch.allclose(rule(name)(r[:1, kept]), found[:1, kept], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", [*CENTRED, *CANON])
@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_rewards_get_nothing(name: str, value: float, dtype: torch.dtype) -> None:
    r = torch.full((2, 5), value, dtype=dtype)
    extra = {need: torch.rand(2, 5) for need in ADVANTAGES[name].needs}
    found = rule(name)(r, **extra)
    assert found.dtype == dtype and not found.any()


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "rloo"])
def test_equal_rewards_that_round_get_nothing(name: str) -> None:
    options = {"eps": 0.0} if name == "grpo" else {}
    assert not ADVANTAGES[name].bind(options)(torch.full((1, 7), 0.1)).any()


@pytest.mark.parametrize("name", [*CENTRED, *SIGNED, *CANON])
def test_groups_of_one_and_groups_without_rewards(name: str) -> None:
    options = {"k": 1} if "k" in CENTRED.get(name, {}) else CENTRED.get(name, {})
    extra = {need: torch.ones(2, 1) for need in ADVANTAGES[name].needs}
    found = ADVANTAGES[name].bind(options)(torch.tensor([[1.0], [torch.nan]]), **extra)
    expected = {"psr": 1.0, "w_reinforce": 0.1}.get(name, 0.0)
    assert found.flatten().tolist() == pytest.approx([expected, 0.0])


@pytest.mark.parametrize("name", ["psr", "passk_grpo", "passk_direct", "hard_examples"])
def test_other_than_binary_rewards_need_a_threshold(name: str) -> None:
    r = torch.tensor([[0.2, 0.6, 1.0, 0.0]])
    with pytest.raises(ValueError, match=r"rewards: .* 0 or 1, got 0\.2.*threshold"):
        rule(name)(r)
    found = ADVANTAGES[name].bind({**CENTRED.get(name, {}), "threshold": 0.5})(r)
    if name != "hard_examples":
        assert torch.equal(found, rule(name)((r >= 0.5).float()))


def test_conventions_of_grpo() -> None:
    r = torch.tensor([[1.0, 0, 0, 0], [1, 1, 0, torch.nan]], dtype=torch.float64)
    deviation = r[1, :3] - 2 / 3
    expected = deviation / (r[1, :3].std() + 1e-6)
    assert torch.allclose(grpo(r, eps=1e-6)[1, :3], expected)
    everything = r[~r.isnan()].std()
    expected = (r - r.nanmean(1, keepdim=True)) / (everything + 1e-4)
    assert torch.allclose(grpo(r, over="batch"), expected.nan_to_num(0))
    alone = torch.tensor([[1.0, torch.nan]])
    assert not grpo(alone, eps=0.0).any()


@pytest.mark.slow
def test_trl_computes_the_same() -> None:
    from trl.trainer.utils import nanstd

    r = torch.rand(5, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    r[0, 3] = torch.nan
    theirs = (r - r.nanmean(1, keepdim=True)) / (nanstd(r, dim=1)[:, None] + 1e-4)
    assert torch.allclose(grpo(r), theirs.nan_to_num(0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: grpo(torch.ones(3)), r"rewards: needs shape \(P, G\)"),
        (lambda: grpo(torch.ones(3, 0)), "rewards: needs shape"),
        (lambda: grpo(torch.ones(1, 2, dtype=torch.long)), "rewards: needs a floating"),
        (lambda: rloo(torch.tensor([[1.0, torch.inf]])), "rewards: a reward is infinite"),
        (lambda: grpo(R, std="none"), "std: "),
        (lambda: grpo(R, over="all"), "over: "),
        (lambda: passk_grpo(R, k=0), "k: must lie in 1…6"),
        (lambda: passk_grpo(R, k=7), "k: must lie in 1…6"),
        (lambda: passk_direct(R, k=6, baseline="leave_one_out"), "k: must lie in 1…5"),
        (lambda: passk_direct(R, k=2, baseline="median"), "baseline: one of"),
        (lambda: w_reinforce(R, positive=-0.1), "positive: "),
        (lambda: hard_examples(R, power=-1.0), "power: "),
        (lambda: canon_length(R, lengths=LENGTHS[:, :2]), "lengths: needs shape"),
        (lambda: canon_entropy(R, entropies=LENGTHS * torch.nan), "entropies: NaN"),
        (lambda: canon_length(R, lengths=LENGTHS, mu=1.5), "mu: "),
        (lambda: canon_length(R, lengths=LENGTHS, alpha=-1.0), "alpha: "),
    ],
)
def test_bad_input(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_baselines_agree_in_expectation_only() -> None:
    r = group(8, 2)
    found = [passk_direct(r, k=3, baseline=name)[0, 0].item() for name in BASELINES]
    assert len(set(found)) == len(BASELINES)


def test_a_rule_is_found_whatever_was_imported_before() -> None:
    import subprocess
    import sys

    code = "from common.grpo.rules.prompt_weights import bound_rule\n"
    code += "bound_rule({'name': 'passk_grpo', 'k': 2})"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)

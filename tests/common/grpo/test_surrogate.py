"""Surrogate rewards: enumeration, quadrature, finite differences and closed forms agree."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.grpo.analysis import closed_forms
from common.grpo.analysis.closed_forms import Surrogate
from common.grpo.analysis.surrogate import (
    AdvantageTable,
    advantage_table,
    binomial,
    expected_update,
    integrate,
    omega,
    rule_table,
)
from common.grpo.rules.prompt_weights import bound_rule

EXACT_GRPO = {"name": "grpo", "std": "population", "eps": 0.0}
RATES = np.array([0.02, 0.1, 0.25, 0.5, 0.8, 0.97])
LIMITS: dict[str, tuple[Any, Surrogate]] = {
    "dr_grpo": ("dr_grpo", closed_forms.identity()),
    "grpo": (EXACT_GRPO, closed_forms.arcsine()),
    "passk_direct": ({"name": "passk_direct", "k": 4}, closed_forms.passk(4)),
    "passk_grpo": ({"name": "passk_grpo", "k": 4}, closed_forms.passk_arcsine(4)),
    "passk_grpo 3": ({"name": "passk_grpo", "k": 3}, closed_forms.passk_arcsine(3)),
    "hard grpo": ({"name": "hard_examples", "base": EXACT_GRPO}, closed_forms.hard_arcsine()),
    "hard grpo 2": (
        {"name": "hard_examples", "base": EXACT_GRPO, "power": 2.0},
        closed_forms.hard_arcsine(2.0),
    ),
    "hard rloo": ({"name": "hard_examples", "base": "rloo"}, closed_forms.hard_identity()),
    "log": ("log_likelihood", closed_forms.log_likelihood()),
    "std": (
        {"name": "std_regularised", "strength": 0.7, "floor": None},
        closed_forms.std_regularised(0.7),
    ),
}
"""Rules and their surrogates as groups grow."""


def by_all_outcomes(rule: Any, n: int, rate: float) -> float:
    """Expected (1/N) Σ A_i dlogπ_i/dρ over all 2^N outcomes of a group."""
    total = 0.0
    for outcome in product([0.0, 1.0], repeat=n):
        r = np.array(outcome)
        chance = np.prod(np.where(r == 1, rate, 1 - rate))
        score = np.where(r == 1, 1 / rate, -1 / (1 - rate))
        advantages = bound_rule(rule)(torch.from_numpy(r)[None])[0].numpy()
        total += chance * (advantages * score).mean()
    return total


@pytest.mark.parametrize(
    "rule",
    [
        "rloo",
        "grpo",
        "psr",
        "nsr",
        "w_reinforce",
        {"name": "passk_grpo", "k": 2},
        {"name": "passk_direct", "k": 2, "baseline": "none"},
    ],
    ids=str,
)
def test_the_expected_update_against_all_outcomes(rule: Any) -> None:
    table = advantage_table(rule, 5)
    for rate in (0.1, 0.6):
        expected = by_all_outcomes(rule, 5, rate)
        assert expected_update(table, rate) == pytest.approx(expected, rel=1e-10)
        assert table.derivative(rate) == pytest.approx(expected, rel=1e-10)


@st.composite
def tables(draw: st.DrawFn) -> AdvantageTable:
    n = draw(st.integers(1, 12))
    values = st.lists(st.floats(-5, 5), min_size=n + 1, max_size=n + 1)
    positive, negative = np.array(draw(values)), np.array(draw(values))
    positive[0] = negative[-1] = 0.0
    return AdvantageTable(positive, negative)


@given(tables(), st.floats(0.01, 0.99))
@settings(deadline=None, max_examples=100)
def test_any_rule_is_reinforce_on_its_group_reward(table: AdvantageTable, rate: float) -> None:
    found = table.derivative(rate)
    assert found == pytest.approx(expected_update(table, rate), abs=1e-10)
    difference = (table.value(rate + 1e-6) - table.value(rate - 1e-6)) / 2e-6
    assert found == pytest.approx(difference, abs=1e-6)
    area = table.value(rate) - table.value(0.0)
    assert integrate(lambda p: float(table.derivative(p)), rate) == pytest.approx(area, abs=1e-9)


@pytest.mark.parametrize(("rule", "limit"), LIMITS.values(), ids=list(LIMITS))
def test_the_closed_form_is_the_limit(rule: Any, limit: Surrogate) -> None:
    inner = RATES[1:-1]
    errors = [
        np.abs(advantage_table(rule, n).derivative(inner) / limit.derivative(inner) - 1).max()
        for n in (32, 128, 512)
    ]
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.02
    # The error falls as 1/N, so four times the group leaves about a quarter.
    assert errors[2] < 0.4 * errors[1]


@pytest.mark.parametrize("limit", [pair[1] for pair in LIMITS.values()], ids=list(LIMITS))
def test_derivative_value_and_quadrature_agree(limit: Surrogate) -> None:
    step = 1e-6
    difference = (limit.value(RATES + step) - limit.value(RATES - step)) / (2 * step)
    assert limit.derivative(RATES) == pytest.approx(difference, rel=1e-6)
    area = integrate(limit.derivative, RATES, start=0.01)
    assert area == pytest.approx(limit.value(RATES) - limit.value(0.01), abs=1e-10)
    positive, negative = limit.advantages(RATES)
    assert RATES * positive == pytest.approx(limit.omega(RATES))
    assert RATES * positive + (1 - RATES) * negative == pytest.approx(0 * RATES, abs=1e-12)


def test_quadrature_from_zero() -> None:
    for limit in (closed_forms.arcsine(), closed_forms.passk_arcsine(8)):
        assert integrate(limit.derivative, RATES) == pytest.approx(limit.value(RATES), abs=1e-10)


def test_special_cases() -> None:
    p = RATES
    hard = closed_forms.hard_arcsine().value(p)
    assert hard == pytest.approx(np.arcsin(np.sqrt(p)) + np.sqrt(p * (1 - p)))
    assert closed_forms.hard_arcsine(0.0).value(p) == pytest.approx(closed_forms.arcsine().value(p))
    half_pass2 = closed_forms.passk(2).value(p) / 2
    assert closed_forms.hard_identity().value(p) == pytest.approx(half_pass2)
    assert closed_forms.passk_arcsine(1).value(p) == pytest.approx(closed_forms.arcsine().value(p))
    assert closed_forms.passk(1).value(p) == pytest.approx(p)


def test_unbiased_rules_have_their_surrogate_at_every_n() -> None:
    for baseline in ("none", "leave_one_out", "subset"):
        table = advantage_table({"name": "passk_direct", "k": 3, "baseline": baseline}, 5)
        assert table.derivative(RATES) == pytest.approx(3 * (1 - RATES) ** 2, abs=1e-13)
    assert advantage_table("rloo", 4).value(RATES) == pytest.approx(RATES, abs=1e-14)
    assert advantage_table("dr_grpo", 4).value(RATES) == pytest.approx(0.75 * RATES, abs=1e-14)
    for rule, slope in (("psr", 1.0), ("nsr", 1.0), ("w_reinforce", 1.1)):
        assert advantage_table(rule, 8).derivative(RATES) == pytest.approx(slope + 0 * RATES)


def test_passk_grpo_is_10_percent_below_its_limit_at_16() -> None:
    limit = closed_forms.passk_arcsine(4).omega(0.25)
    rule = {"name": "passk_grpo", "k": 4}
    errors = {n: omega(rule, n, n // 4) / limit - 1 for n in (16, 64)}
    assert errors[16] == pytest.approx(-0.10, abs=0.005)
    assert errors[64] == pytest.approx(-0.023, abs=0.0005)


def test_centred_rules_are_told_from_others() -> None:
    assert advantage_table("grpo", 8).centred
    table = advantage_table("w_reinforce", 8)
    assert not table.centred
    assert table.mean == pytest.approx(0.1 * table.rate - (1 - table.rate))
    assert table.omega == pytest.approx(1.1 * table.rate * (1 - table.rate))
    grpo = advantage_table(EXACT_GRPO, 8)
    assert grpo.omega == pytest.approx(np.sqrt(grpo.rate * (1 - grpo.rate)))
    assert omega(EXACT_GRPO, 8, [[2, 4]]) == pytest.approx(np.array([[np.sqrt(3) / 4, 0.5]]))


def test_a_rule_as_a_function_of_counts() -> None:
    table = rule_table(lambda right, n: ((n - right) / (n - 1), -right / (n - 1)), 6)
    assert table.value(RATES) == pytest.approx(advantage_table("rloo", 6).value(RATES))
    assert table.mean_omega(0.5) == pytest.approx(binomial(6, 0.5) @ table.omega)


def test_groups_of_one() -> None:
    assert advantage_table("grpo", 1).derivative(0.3) == 0
    assert advantage_table("psr", 1).derivative(0.3) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: advantage_table("grpo", 0), "n: must be positive"),
        (lambda: rule_table(lambda c, n: (0.0, 0.0), 0), "n: must be positive"),
        (lambda: rule_table(lambda c, n: (np.inf, 0.0), 3), "function: .* not finite"),
        (lambda: advantage_table("gpro", 4), "advantage rule"),
        (lambda: advantage_table(lambda r: r.cumsum(1), 4), "rule: .* different advantages"),
        (lambda: advantage_table(lambda r: r / 0, 4), "rule: .* not finite"),
        (lambda: binomial(3, 1.5), "rate: "),
    ],
)
def test_bad_input(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()

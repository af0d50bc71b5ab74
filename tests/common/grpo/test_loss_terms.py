"""LLDS against a loop over tokens, and its gradient against the formula."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.grpo.rules.batches import LossBatch
from common.grpo.rules.loss_terms import LOSS_TERMS, Gate, Normaliser, llds
from common.grpo.rules.segments import action_segments

GATES: tuple[Gate, ...] = ("action", "response", "token")
NORMALISERS: tuple[Normaliser, ...] = ("preserved", "microbatch")


def random_batch(seed: int, rows: int = 5, tokens: int = 9) -> LossBatch:
    """Log-probabilities in float64, some rows with negative, some with zero advantage."""
    generator = torch.Generator().manual_seed(seed)
    old = -torch.rand(rows, tokens, generator=generator, dtype=torch.float64) * 4
    shift = torch.randn(rows, tokens, generator=generator, dtype=torch.float64)
    advantages = torch.randint(-1, 2, (rows,), generator=generator).double()
    mask = torch.rand(rows, tokens, generator=generator) < 0.7
    answer = torch.rand(rows, tokens, generator=generator) < 0.3
    return LossBatch((old + shift).requires_grad_(), old, advantages, mask, answer)


def llds_by_hand(batch: LossBatch, gate: Gate, normalise: Normaliser, beta: float) -> float:
    """The definition, token by token."""
    total, preserved, everything = 0.0, 0, 0
    segments = action_segments(batch.mask)
    for i, advantage in enumerate(batch.advantages.tolist()):
        positions = [k for k, written in enumerate(batch.mask[i].tolist()) if written]
        everything += len(positions)
        if advantage < 0:
            continue
        preserved += len(positions)
        delta = (batch.old_logps[i] - batch.logps[i]).tolist()
        for k in positions:
            action = [j for j in positions if segments[i, j] == segments[i, k]]
            inside = {"action": action, "response": positions, "token": []}[gate]
            if gate != "token" and sum(delta[j] for j in inside) <= 0:
                continue
            assert batch.answer_mask is not None
            total += (beta if batch.answer_mask[i, k] else 1.0) * max(0.0, delta[k])
    return total / max(1, preserved if normalise == "preserved" else everything)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 10_000),
    st.sampled_from(GATES),
    st.sampled_from(NORMALISERS),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_against_a_loop_over_tokens(
    seed: int, gate: Gate, normalise: Normaliser, beta: float
) -> None:
    batch = random_batch(seed)
    batch = replace(batch, logps=batch.logps.detach())
    term, stats = llds(batch, gate=gate, normalise=normalise, answer_weight=beta)
    assert term.item() == pytest.approx(llds_by_hand(batch, gate, normalise, beta), abs=1e-12)
    assert 0 <= stats["llds_active"] <= 1
    assert stats["llds_preserved"] == pytest.approx(float((batch.advantages >= 0).double().mean()))


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("normalise", NORMALISERS)
def test_the_gradient_is_minus_one_over_the_normaliser_on_active_tokens(
    gate: Gate, normalise: Normaliser
) -> None:
    batch = random_batch(3)
    term, stats = llds(batch, gate=gate, normalise=normalise)
    (gradient,) = torch.autograd.grad(term, batch.logps)
    preserved = (batch.advantages >= 0)[:, None] & batch.mask
    tokens = preserved if normalise == "preserved" else batch.mask
    active = gradient != 0
    assert active.any()
    assert gradient[active] == pytest.approx(-1 / int(tokens.sum()))
    assert (preserved & (batch.logps < batch.old_logps))[active].all()
    assert stats["llds_active"] == pytest.approx(float(active.sum() / preserved.sum()))


def test_gates_open_as_they_are_called() -> None:
    """One response of two actions: the first fell by 1 in sum, the second rose by 3."""
    mask = torch.tensor([[1, 1, 0, 1, 1]])
    old = torch.zeros(1, 5)
    new = torch.tensor([[-2.0, 1.0, -9.0, 4.0, -1.0]])
    batch = LossBatch(new, old, torch.tensor([1.0]), mask)
    terms = {gate: llds(batch, gate=gate)[0].item() for gate in GATES}
    assert terms == {"action": 2 / 4, "response": 0.0, "token": 3 / 4}


def test_an_open_gate_of_the_response_lets_all_its_actions_through() -> None:
    mask = torch.tensor([[1, 0, 1, 1]])
    new = torch.tensor([[-4.0, 0.0, 1.0, -0.5]])
    batch = LossBatch(new, torch.zeros(1, 4), torch.tensor([0.0]), mask)
    assert llds(batch, gate="response")[0].item() == pytest.approx(4.5 / 3)
    assert llds(batch, gate="action")[0].item() == pytest.approx(4 / 3)


def test_rows_with_advantage_zero_are_preserved_and_negative_ones_are_not() -> None:
    mask = torch.ones(3, 2, dtype=torch.bool)
    new = torch.tensor([[-1.0, -1.0], [-1.0, -1.0], [-8.0, -8.0]], requires_grad=True)
    batch = LossBatch(new, torch.zeros(3, 2), torch.tensor([1.0, 0.0, -1.0]), mask)
    term, _ = llds(batch)
    assert term.item() == 1.0
    assert llds(batch, normalise="microbatch")[0].item() == pytest.approx(4 / 6)
    (gradient,) = torch.autograd.grad(term, new)
    assert gradient.tolist() == [[-0.25, -0.25], [-0.25, -0.25], [0.0, 0.0]]


@pytest.mark.parametrize("gate", GATES)
def test_strictly_on_policy_it_vanishes_with_its_gradient(gate: Gate) -> None:
    batch = random_batch(1)
    batch = replace(batch, logps=batch.old_logps.clone().requires_grad_())
    term, stats = llds(batch, gate=gate)
    (gradient,) = torch.autograd.grad(term, batch.logps)
    assert term.item() == 0
    assert not gradient.any()
    assert stats["llds_active"] == 0


@pytest.mark.parametrize(
    ("advantages", "mask"),
    [([-1.0, -1.0], [[1, 1], [1, 1]]), ([1.0, 0.0], [[0, 0], [0, 0]]), ([1.0, 1.0], [[], []])],
    ids=["nothing preserved", "only padding", "no columns"],
)
@pytest.mark.parametrize(("gate", "normalise"), list(itertools.product(GATES, NORMALISERS)))
def test_without_preserved_tokens_it_is_zero_with_zero_gradient(
    advantages: list[float], mask: list[list[int]], gate: Gate, normalise: Normaliser
) -> None:
    written = torch.tensor(mask).view(2, -1).bool()
    new = torch.full(written.shape, -2.0, requires_grad=True)
    batch = LossBatch(new, torch.zeros(written.shape), torch.tensor(advantages), written)
    term, stats = llds(batch, gate=gate, normalise=normalise)
    (gradient,) = torch.autograd.grad(term, new)
    assert term.item() == 0
    assert torch.equal(gradient, torch.zeros_like(new))
    assert stats["llds_active"] == 0


def test_padding_is_ignored_even_where_it_is_infinite_or_missing() -> None:
    mask = torch.tensor([[1, 1, 0, 0]])
    new = torch.tensor([[-1.0, -2.0, -torch.inf, torch.nan]], requires_grad=True)
    old = torch.tensor([[0.0, 0.0, -torch.inf, 0.0]])
    term, _ = llds(LossBatch(new, old, torch.tensor([1.0]), mask))
    (gradient,) = torch.autograd.grad(term, new)
    assert term.item() == 1.5
    assert gradient.tolist() == [[-0.5, -0.5, 0.0, 0.0]]


def test_bad_options_are_named() -> None:
    batch = random_batch(0)
    with pytest.raises(ValueError, match=r"gate: .* got 'turn'"):
        llds(batch, gate="turn")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"normalise: .* got 'all'"):
        llds(batch, normalise="all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"answer_weight: from 0 to 1, got 1\.5"):
        llds(batch, answer_weight=1.5)
    with pytest.raises(ValueError, match=r"answer_weight: 0\.5 needs an answer_mask"):
        llds(replace(batch, answer_mask=None), answer_weight=0.5)
    with pytest.raises(ValueError, match="Did you mean 'gate'"):
        LOSS_TERMS["llds"].bind({"gates": "action"})


def test_the_rule_is_registered_with_its_equation() -> None:
    rule = LOSS_TERMS["llds"]
    assert set(rule.options) == {"gate", "normalise", "answer_weight"}
    assert rule.needs == ("old_logps",)
    assert "2512.04220" in rule.source
    assert rule.equation.count("{") == rule.equation.count("}")

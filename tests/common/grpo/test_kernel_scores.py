"""Kernel scores against a token-by-token oracle and against steps on the unembedding matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.grpo.rules import kernel_scores as ks
from common.lm.scoring import TokenStates

NAN = math.nan


@dataclass(frozen=True)
class World:
    """Random hidden states and an unembedding matrix; nothing else is trained."""

    weight: torch.Tensor
    hidden: torch.Tensor
    ids: torch.Tensor
    mask: torch.Tensor

    def logps(self, weight: torch.Tensor) -> torch.Tensor:
        log_probs = (self.hidden @ weight.T).log_softmax(-1)
        chosen = log_probs.gather(-1, self.ids.unsqueeze(-1)).squeeze(-1)
        return chosen.masked_fill(~self.mask, 0)

    def states(self, vocabulary: torch.Tensor | None = None) -> TokenStates:
        if vocabulary is None:
            vocabulary = torch.arange(len(self.weight))
        probs = (self.hidden @ self.weight.T).softmax(-1)[..., vocabulary]
        columns = torch.searchsorted(vocabulary, self.ids).clamp(max=len(vocabulary) - 1)
        return TokenStates(self.hidden, probs, columns, vocabulary)


def world(lengths: list[int], *, words: int = 7, width: int = 5, seed: int = 0) -> World:
    generator = torch.Generator().manual_seed(seed)
    rows, longest = len(lengths), max(max(lengths), 1)
    draw = {"generator": generator, "dtype": torch.float64}
    return World(
        weight=torch.randn(words, width, **draw),
        hidden=torch.randn(rows, longest, width, **draw),
        ids=torch.randint(words, (rows, longest), generator=generator),
        mask=torch.arange(longest) < torch.tensor(lengths).unsqueeze(1),
    )


def naive(states: TokenStates, weights: torch.Tensor, mask: torch.Tensor, size: int):
    """The definition, one pair of tokens at a time."""
    rows, width = mask.shape
    scores = torch.zeros(rows, width, dtype=states.hidden.dtype)

    def error(i: int, k: int) -> torch.Tensor:
        one_hot = torch.zeros(states.probs.shape[-1], dtype=states.probs.dtype)
        one_hot[states.columns[i, k]] = 1
        return one_hot - states.probs[i, k]

    tokens = [(i, k) for i in range(rows) for k in range(width) if mask[i, k]]
    for j, k in tokens:
        for i, n in tokens:
            if i // size == j // size:
                alpha = error(i, n) @ error(j, k)
                scores[j, k] += weights[i, n] * alpha * (states.hidden[i, n] @ states.hidden[j, k])
    return scores


LENGTHS = [3, 5, 2, 4, 0, 5, 1, 3]
REWARDS = torch.tensor([1.0, 0.0, 1.0, NAN, 0.0, 1.0, 0.0, 1.0])


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_kernel_scores_are_the_definition(size):
    here = world(LENGTHS)
    weights = torch.randn(here.mask.shape, dtype=torch.float64)
    found = ks.kernel_scores(here.states(), weights, here.mask, size)
    torch.testing.assert_close(found, naive(here.states(), weights, here.mask, size))
    assert (found[~here.mask] == 0).all()


def test_chunks_of_groups_change_nothing(monkeypatch):
    here = world(LENGTHS)
    weights = torch.ones_like(here.hidden[..., 0])
    whole = ks.kernel_scores(here.states(), weights, here.mask, 2)
    monkeypatch.setattr(ks, "CHUNK", 1)
    torch.testing.assert_close(ks.kernel_scores(here.states(), weights, here.mask, 2), whole)


def test_what_stands_in_the_padding_does_not_matter():
    here = world(LENGTHS)
    weights = torch.ones_like(here.hidden[..., 0])
    expected = ks.kernel_scores(here.states(), weights, here.mask, 4)
    spoiled = here.states()
    spoiled.hidden[~here.mask] = NAN
    spoiled.probs[~here.mask] = NAN
    weights[~here.mask] = NAN
    torch.testing.assert_close(ks.kernel_scores(spoiled, weights, here.mask, 4), expected)


def test_half_precision_is_summed_in_single():
    here = world(LENGTHS)
    full = here.states()
    half = replace(full, hidden=full.hidden.bfloat16(), probs=full.probs.bfloat16())
    weights = torch.ones_like(here.hidden[..., 0])
    found = ks.kernel_scores(half, weights, here.mask, 4)
    assert found.dtype == torch.float32
    rounded = replace(full, hidden=half.hidden.double(), probs=half.probs.double())
    expected = ks.kernel_scores(rounded, weights, here.mask, 4)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [2, 4, 8])
def test_a_step_on_the_unembedding_moves_likelihoods_as_predicted(size):
    here = world(LENGTHS)
    advantages = torch.randn(here.mask.shape, dtype=torch.float64)
    predicted = ks.likelihood_change(here.states(), advantages, here.mask, size)
    step = 1e-5
    for group in range(len(LENGTHS) // size):
        rows = slice(group * size, (group + 1) * size)
        weight = here.weight.clone().requires_grad_()
        (advantages[rows] * here.logps(weight)[rows]).sum().backward()
        up, down = (here.logps(here.weight + s * step * weight.grad)[rows] for s in (1, -1))
        measured = (up - down).sum(1) / (2 * step)
        torch.testing.assert_close(measured, predicted[rows], rtol=1e-6, atol=1e-8)


def test_gwhes_is_minus_the_rate_under_standardised_rewards():
    here = world([3, 4, 2, 5, 3, 3, 4, 2])
    rewards = torch.tensor([1.0, 0, 0, 0, 1, 1, 1, 0], dtype=torch.float64)
    found = ks.gwhes(here.states(), rewards, here.mask, 4)
    groups = rewards.view(-1, 4)
    centred = groups - groups.mean(1, keepdim=True)
    advantages = (centred / groups.std(1, keepdim=True, correction=0)).flatten()
    rates = ks.likelihood_change(
        here.states(), advantages.unsqueeze(1).expand(here.mask.shape), here.mask, 4
    )
    torch.testing.assert_close(found, torch.where(rewards > 0.5, -rates, 0.0))


def test_gwhes_by_its_definition():
    here = world([2, 3, 3])
    rewards = torch.tensor([1.0, 0.0, 1.0])
    q = 2 / 3
    p_plus, p_minus = (1 - q) / math.sqrt(q * (1 - q)), q / math.sqrt(q * (1 - q))
    kappa = []  # kappa[i][j] = sum over the tokens of j of kappa(i; j, k')
    for i in range(3):
        anchors = torch.zeros_like(here.hidden[..., 0])
        anchors[i] = 1
        kappa.append(naive(here.states(), anchors, here.mask, 3).sum(1))
    expected = [p_minus * k[1] - p_plus * (k[0] + k[2]) for k in (kappa[0], kappa[2])]
    found = ks.gwhes(here.states(), rewards, here.mask, 3)
    torch.testing.assert_close(found[[0, 2]], torch.stack(expected))
    assert found[1] == 0


def test_thr_by_its_definition():
    here = world(LENGTHS)
    lengths = here.mask.sum(1, keepdim=True).clamp(min=1)
    anchors = ((REWARDS > 0.5).double().unsqueeze(1) / lengths).expand(here.mask.shape)
    signs = torch.tensor([1.0, -1, 1, 0, -1, 1, -1, 1], dtype=torch.float64)
    expected = naive(here.states(), anchors, here.mask, 4) * signs.unsqueeze(1)
    found = ks.thr(here.states(), REWARDS, here.mask, 4)
    torch.testing.assert_close(found, expected)
    others = found - naive(here.states(), anchors, here.mask, 1) * signs.unsqueeze(1)
    torch.testing.assert_close(
        ks.thr(here.states(), REWARDS, here.mask, 4, own_response=False), others
    )


def test_nthr_is_minus_thr_up_to_the_length_of_the_correct_responses():
    here = world([3, 3, 5, 4])
    rewards = torch.tensor([1.0, 1.0, 0.0, 0.0])
    negative = ks.nthr(here.states(), rewards, here.mask, 4)
    hidden_reward = ks.thr(here.states(), rewards, here.mask, 4)
    torch.testing.assert_close(negative[2:], -3 * hidden_reward[2:])
    assert (negative[:2] == 0).all()


def test_the_own_kernel_is_never_negative():
    """With a group of one correct response of one token, THR is |g|²|h|²."""
    here = world([1] * 6)
    found = ks.thr(here.states(), torch.ones(6), here.mask, 1)
    chosen = torch.nn.functional.one_hot(here.ids, 7)
    errors = chosen - here.states().probs
    expected = errors.square().sum(-1) * here.hidden.square().sum(-1)
    torch.testing.assert_close(found, expected)


def test_columns_outside_the_responses_are_what_the_slice_leaves_out():
    """Sliced scores are the whole ones minus the part of the columns that occur nowhere."""
    here = world(LENGTHS, words=40)
    vocabulary = here.ids[here.mask].unique()
    rest = torch.tensor([i for i in range(40) if i not in vocabulary.tolist()])
    weights = torch.ones_like(here.hidden[..., 0])
    whole = ks.kernel_scores(here.states(), weights, here.mask, 4)
    sliced = ks.kernel_scores(here.states(vocabulary), weights, here.mask, 4)
    left_out = torch.zeros_like(whole)
    probs, hidden = here.states().probs[..., rest], here.hidden * here.mask.unsqueeze(-1)
    for group in (slice(0, 4), slice(4, 8)):
        p, h = probs[group].flatten(0, 1), hidden[group].flatten(0, 1)
        left_out[group] = ((p @ p.T) * (h @ h.T)).sum(0).view(4, -1)
    torch.testing.assert_close(sliced + left_out, whole)


def test_thresholds_by_hand():
    scores = torch.tensor([[4.0, 2.0, 0], [-8, 1, 1], [1.0, 1.0, 1.0], [0.5, -9, 0]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 1, 1], [1, 0, 0]]).bool()
    rewards = torch.tensor([1.0, 0.0, 1.0, 0.0])
    assert ks.thr_threshold(scores, rewards, mask, 4).tolist() == [1.0]
    assert ks.thr_threshold(scores, rewards, mask, 4, beta=0.1).tolist() == pytest.approx([0.1])
    assert ks.thr_threshold(scores, rewards, mask, 4, rule="mean_pos").tolist() == [2.0]
    half = ks.thr_threshold(scores, rewards, mask, 4, rule="quantile", beta=0.5)
    assert half.tolist() == [1.0]  # sizes 0.5 1 1 1 1 1 2 4 8
    assert ks.thr_threshold(scores, 0 * rewards, mask, 4).tolist() == [0.0]


def test_bad_arguments_are_named():
    here = world([2, 2, 2])
    weights = torch.ones(3, 2)
    with pytest.raises(ValueError, match="group_size: 3 rows are no whole groups of 2"):
        ks.kernel_scores(here.states(), weights, here.mask, 2)
    with pytest.raises(ValueError, match="anchor_weights"):
        ks.kernel_scores(here.states(), weights[:, :1], here.mask, 3)
    with pytest.raises(ValueError, match="rule: unknown 'max_pos'"):
        ks.thr_threshold(weights, torch.ones(3), here.mask, 3, rule="max_pos")
    with pytest.raises(ValueError, match="beta"):
        ks.thr_threshold(weights, torch.ones(3), here.mask, 3, rule="quantile", beta=1.0)


SIDES = st.sampled_from([0.0, 1.0, NAN])


@settings(deadline=None, max_examples=25)
@given(
    rows=st.lists(st.tuples(st.integers(0, 4), SIDES), min_size=4, max_size=8).filter(
        lambda rows: len(rows) % 2 == 0
    ),
    size=st.sampled_from([1, 2]),
)
def test_no_case_gives_a_nan(rows, size):
    here = world([length for length, _ in rows], seed=len(rows))
    rewards = torch.tensor([reward for _, reward in rows])
    scores = ks.thr(here.states(), rewards, here.mask, size)
    assert scores.isfinite().all()
    assert ks.nthr(here.states(), rewards, here.mask, size).isfinite().all()
    assert ks.gwhes(here.states(), rewards, here.mask, size).isfinite().all()
    for rule in ks.TAU_RULES:
        tau = ks.thr_threshold(scores, rewards, here.mask, size, rule=rule, beta=0.5)
        assert tau.isfinite().all()
    without_reward = rewards.isnan()
    assert (scores[without_reward] == 0).all()


@settings(deadline=None, max_examples=12)
@given(st.permutations(range(4)), st.integers(0, 5))
def test_the_order_of_responses_in_a_group_does_not_matter(order, seed):
    here = world([3, 1, 4, 2], seed=seed)
    rewards = torch.tensor([1.0, 0.0, 1.0, 0.0])
    shuffled = replace(here, hidden=here.hidden[order], ids=here.ids[order], mask=here.mask[order])
    expected = ks.thr(here.states(), rewards, here.mask, 4)[order]
    torch.testing.assert_close(
        ks.thr(shuffled.states(), rewards[order], shuffled.mask, 4), expected
    )


def test_a_batch_without_columns_or_rows():
    empty = torch.zeros(2, 0)
    states = TokenStates(torch.zeros(2, 0, 3), torch.zeros(2, 0, 1), empty.long(), torch.zeros(1))
    assert ks.thr(states, torch.tensor([1.0, 0.0]), empty.bool(), 2).shape == (2, 0)

"""Token weights: by hand, against the scores, and in degenerate groups."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.grpo.rules import kernel_scores as ks
from common.grpo.rules.batches import GroupBatch
from common.grpo.rules.token_weights import TOKEN_WEIGHTS, generator_of, random_choice
from tests.common.grpo.test_kernel_scores import world

NAN = math.nan
LENGTHS = [3, 5, 2, 4, 4, 5, 1, 3]
REWARDS = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, NAN]
OPTIONS = {
    "thr": [{}, {"p": 0.5}, {"p": -0.9, "masked": False}, {"tau_rule": "mean_pos"}],
    "nthr": [{}, {"eta": 0.0}],
    "random_mask": [{}, {"share": 0.5}],
    "entropy_mask": [{}, {"quantile": 0.5}],
}
EVERY = [(name, options) for name, variants in OPTIONS.items() for options in variants]


def batch(rewards=REWARDS, lengths=LENGTHS, size=4, seed=0) -> GroupBatch:
    here = world(lengths, seed=seed)
    entropies = torch.rand(here.mask.shape, generator=torch.Generator().manual_seed(seed))
    return GroupBatch(
        size, torch.tensor(rewards), here.ids, here.mask, lambda: entropies, here.states
    )


def weights(name: str, of: GroupBatch, **options) -> torch.Tensor:
    return TOKEN_WEIGHTS[name].bind(options)(of, torch.zeros(len(of.rewards)))


def scores(of: GroupBatch) -> torch.Tensor:
    return ks.thr(of.states(), of.rewards, of.mask, of.group_size)


def test_every_rule_is_registered_with_equation_and_source():
    assert set(TOKEN_WEIGHTS) == set(OPTIONS)
    for rule in TOKEN_WEIGHTS.values():
        assert rule.equation and rule.source and "$" not in rule.equation


@pytest.mark.parametrize("p", [0.5, 0.0, -0.5])
def test_thr_keeps_large_scores_and_scales_by_their_sign(p):
    of = batch()
    thr, found = scores(of), weights("thr", of, p=p)
    tau = ks.thr_threshold(thr, of.rewards, of.mask, 4)
    for row, column in of.mask.nonzero().tolist():
        score = thr[row, column].item()
        kept = abs(score) > tau[row // 4].item()
        sign = math.copysign(1, score) if score else 0
        expected = (1 + sign * p) if kept else 0.0
        assert found[row, column].item() == pytest.approx(expected)
    assert set(weights("thr", of)[of.mask].tolist()) == {0.0, 1.0}


def test_without_the_mask_every_token_stays():
    of = batch()
    found = weights("thr", of, p=0.25, masked=False)
    torch.testing.assert_close(found, 1 + 0.25 * scores(of).sign())


def test_opposite_p_average_to_the_mask():
    of = batch()
    both = weights("thr", of, p=0.7) + weights("thr", of, p=-0.7)
    torch.testing.assert_close(both / 2, weights("thr", of))


def test_nthr_weakens_only_tokens_of_wrong_responses():
    of = batch()
    found = weights("nthr", of, eta=0.25)
    assert (found[of.rewards != 0] == 1).all()
    correct = (of.rewards > 0.5).unsqueeze(1) * of.mask
    kernel = ks.kernel_scores(of.states(), correct, of.mask, 4)
    for group in range(2):
        rows = range(4 * group, 4 * group + 4)
        means = [kernel[i][of.mask[i]].mean().item() for i in rows if of.rewards[i] == 1]
        for i in rows:
            if of.rewards[i] == 0:
                selected = (kernel[i] > min(means)) & of.mask[i]
                assert (found[i] == torch.where(selected, 0.25, 1.0)).all()
    assert (found == 0.25).any()


def test_nthr_spares_nothing_by_default_where_half_is_right():
    """η = 2|1/2 - q|: 0 at q = 1/2, 1/3 at q = 1/3 (of three rewards)."""
    found = weights("nthr", batch(), beta=-1e9)  # selects all tokens of wrong responses
    assert set(found[:4].unique().tolist()) == {0.0, 1.0}
    assert found[4:].min().item() == pytest.approx(1 / 3)


def test_a_random_mask_is_as_large_as_that_of_thr():
    of = batch()
    chosen, control = weights("thr", of), weights("random_mask", of)
    for group in (slice(0, 4), slice(4, 8)):
        assert chosen[group][of.mask[group]].sum() == control[group].sum()
    assert (control[~of.mask] == 0).all()
    assert not torch.equal(weights("random_mask", of, seed=1), control)


def test_a_random_mask_follows_from_seed_and_tokens():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    once, again = (weights("random_mask", batch(), share=0.5) for _ in range(2))
    assert torch.equal(once, again)
    assert torch.equal(torch.get_rng_state(), before)
    other = batch(seed=1)
    assert not torch.equal(weights("random_mask", other, share=0.5), once)
    assert once[:4].sum() == 7 and once[4:].sum() == round(13 / 2)


def test_random_choice_is_uniform_over_candidates():
    candidates = torch.tensor([[True, True, False], [True, True, False]])
    generator = torch.Generator().manual_seed(0)
    counts = sum(
        random_choice(candidates, torch.tensor([1]), 2, generator).int() for _ in range(4000)
    )
    assert (counts[:, 2] == 0).all()
    assert ((counts[:, :2] - 1000).abs() < 120).all()  # four standard deviations
    every = random_choice(candidates, torch.tensor([9]), 2, generator)
    assert torch.equal(every, candidates)


def test_the_entropy_mask_keeps_the_highest():
    of = batch()
    found, high = weights("entropy_mask", of, quantile=0.5), of.entropies()
    assert found[of.mask].sum() == 14  # of 27
    assert high[found.bool()].min() > high[of.mask & ~found.bool()].max()


@pytest.mark.slow
def test_the_entropy_mask_is_that_of_trl():
    from trl import GRPOTrainer

    class Alone:
        class accelerator:
            process_index = 0

            @staticmethod
            def gather(tensor):
                return tensor

            @staticmethod
            def pad_across_processes(tensor, dim, pad_index):
                return tensor

    of = batch()
    expected = GRPOTrainer.get_high_entropy_mask(Alone(), of.entropies(), of.mask, 0.7)
    found = weights("entropy_mask", of, quantile=0.7)
    assert torch.equal(found.bool(), expected)
    assert 0 < found.sum() < of.mask.sum()


@pytest.mark.parametrize(("name", "options"), EVERY)
@pytest.mark.parametrize("rewards", [[1.0] * 4, [0.0] * 4, [NAN] * 4, [1.0, NAN, 1.0, NAN]])
def test_groups_without_both_sides_get_ones(name, options, rewards):
    of = batch(rewards + REWARDS[:4])
    found = weights(name, of, **options)
    assert (found[:4] == 1).all()
    assert not (found[4:] == 1).all()


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_groups_of_one_and_rows_without_tokens(name, options):
    alone = weights(name, batch([1.0, 0.0, 1.0], [2, 0, 3], size=1), **options)
    assert (alone == 1).all()
    empty = weights(name, batch([1.0, 0.0], [0, 0], size=2), **options)
    assert empty.isfinite().all()


@pytest.mark.parametrize("name", ["thr", "nthr", "random_mask", "entropy_mask"])
def test_what_a_rule_needs_must_be_there(name):
    of = batch()
    bare = GroupBatch(4, of.rewards, of.completion_ids, of.mask)
    with pytest.raises(ValueError, match=r"batch: .*needs its"):
        weights(name, bare)


def test_bad_options_are_named():
    of = batch()
    for name, options in [
        ("thr", {"p": 1.5}),
        ("random_mask", {"share": 2.0}),
        ("entropy_mask", {"quantile": -0.1}),
    ]:
        with pytest.raises(ValueError, match=next(iter(options))):
            weights(name, of, **options)
    with pytest.raises(ValueError, match="tau_rule"):
        weights("thr", of, tau=0.1)


@settings(deadline=None, max_examples=25)
@given(
    rewards=st.lists(st.sampled_from([0.0, 1.0, NAN]), min_size=4, max_size=4),
    lengths=st.lists(st.integers(0, 4), min_size=4, max_size=4),
    rule=st.sampled_from(EVERY),
)
def test_weights_are_finite_and_never_negative(rewards, lengths, rule):
    name, options = rule
    found = weights(name, batch(rewards, lengths), **options)
    assert found.isfinite().all()
    assert (found >= 0).all()


def test_the_generator_depends_on_tokens_and_seed():
    ids = torch.tensor([[1, 2], [3, 4]])
    draws = {
        torch.rand(1, generator=generator_of(tokens, seed)).item()
        for tokens in (ids, ids.T)
        for seed in (0, 1)
    }
    assert len(draws) == 4


def test_a_control_keeps_as_many_tokens_as_the_arm_that_it_controls() -> None:
    options = {"tau_rule": "quantile", "beta": 0.5}
    chosen, control = (weights(name, batch(), **options) for name in ("thr", "random_mask"))
    assert chosen.sum() == control.sum()
    assert weights("random_mask", batch()).sum() != control.sum()

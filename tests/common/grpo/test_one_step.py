"""One plain step: against the same step taken by an optimiser, and against the kernel."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from common.grpo.analysis.one_step import one_step_delta
from common.grpo.rules import kernel_scores as ks
from common.grpo.sampling.rollouts import Rollouts
from common.lm.scoring import logps_and_entropies, token_states
from common.lm.small import small_decoder, word_tokenizer

WORDS = [f"w{i}" for i in range(8)]


@pytest.fixture(scope="module")
def model():
    return small_decoder(word_tokenizer(WORDS), layers=1, width=16, heads=2, seed=0).eval()


@pytest.fixture(scope="module")
def rollouts() -> Rollouts:
    """Four responses of one prompt of three tokens; the third has an observation, the last none."""
    generator = torch.Generator().manual_seed(1)
    lengths, width = torch.tensor([5, 3, 4, 0]), 5
    mask = (torch.arange(width) < lengths.unsqueeze(1)).long()
    written = mask.clone()
    written[2, 1] = 0
    return Rollouts(
        prompt_ids=torch.tensor([[0, 5, 6]]).repeat(4, 1),
        prompt_mask=torch.tensor([[0, 1, 1]]).repeat(4, 1),
        completion_ids=torch.randint(4, 12, (4, width), generator=generator) * mask,
        completion_mask=mask,
        env_mask=written,
        logps=torch.zeros(4, width),
        finished=torch.ones(4, dtype=torch.bool),
    )


@pytest.fixture(scope="module")
def advantages() -> torch.Tensor:
    return torch.randn(4, 5, generator=torch.Generator().manual_seed(2))


def logps(model, rollouts: Rollouts) -> torch.Tensor:
    ids = torch.cat([rollouts.prompt_ids, rollouts.completion_ids], 1)
    mask = torch.cat([rollouts.prompt_mask, rollouts.completion_mask], 1)
    return logps_and_entropies(model, ids, mask, 5)[0] * rollouts.env_mask


def test_the_step_is_that_of_sgd_and_the_model_stays(model, rollouts, advantages):
    before = copy.deepcopy(model.state_dict())
    found = one_step_delta(model, rollouts, advantages, learning_rate=0.3)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    trained = copy.deepcopy(model)
    old = logps(trained, rollouts)
    loss = -(advantages * old).sum() / rollouts.env_mask.sum()
    loss.backward()
    torch.optim.SGD(trained.parameters(), lr=0.3).step()
    expected = (logps(trained, rollouts) - old).sum(1).detach()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert found[3] == 0
    assert found[:3].abs().min() > 1e-3


def test_a_small_step_on_the_head_does_what_the_kernel_says(model, rollouts, advantages):
    every_word = torch.arange(20).view(4, 5) % 12  # so that no column is left out of `states`
    whole = torch.ones(4, 5, dtype=torch.long)
    group = replace(rollouts, completion_ids=every_word, completion_mask=whole, env_mask=whole)
    states = token_states(
        model, group.prompt_ids, group.prompt_mask, every_word, group.completion_mask
    )
    rate = 0.02
    predicted = rate / 20 * ks.likelihood_change(states, advantages, whole, 4)
    found = one_step_delta(model, group, advantages, learning_rate=rate, params="head")
    torch.testing.assert_close(found, predicted, rtol=0.03, atol=1e-4)
    moved = one_step_delta(model, group, advantages, learning_rate=rate)
    assert (moved - predicted).abs().max() > 10 * (found - predicted).abs().max()


def test_nothing_moves_without_advantages(model, rollouts):
    nothing = torch.zeros(4, 5)
    for params in ("all", "head"):
        found = one_step_delta(model, rollouts, nothing, learning_rate=1.0, params=params)
        assert (found == 0).all()


def test_tied_weights_are_moved_as_the_head_only(rollouts, advantages):
    tokenizer = word_tokenizer(WORDS)
    model = small_decoder(tokenizer, layers=1, width=16, heads=2, seed=0).eval()
    model.set_output_embeddings(copy.deepcopy(model.get_output_embeddings()))
    model.get_output_embeddings().weight = model.get_input_embeddings().weight
    untied = copy.deepcopy(model)
    untied.get_output_embeddings().weight = torch.nn.Parameter(
        untied.get_input_embeddings().weight.detach().clone()
    )
    both = [
        one_step_delta(one, rollouts, advantages, learning_rate=0.3, params="head")
        for one in (model, untied)
    ]
    torch.testing.assert_close(*both)


def test_the_temperature_is_that_of_sampling(model, rollouts, advantages):
    warm = one_step_delta(model, rollouts, advantages, learning_rate=0.3, temperature=2.0)
    assert not torch.allclose(
        warm, one_step_delta(model, rollouts, advantages, learning_rate=0.3), rtol=0.1
    )


def test_bad_arguments_are_named(model, rollouts, advantages):
    with pytest.raises(ValueError, match="advantages: shape"):
        one_step_delta(model, rollouts, advantages[:, :2], learning_rate=0.1)
    with pytest.raises(ValueError, match="params: unknown 'body'"):
        one_step_delta(model, rollouts, advantages, learning_rate=0.1, params="body")

"""Teacher-forced scores against the plain forward pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from common.lm.scoring import logps_and_entropies, token_states
from common.lm.small import small_decoder, word_tokenizer

PROMPTS = torch.tensor([[0, 4, 5], [6, 7, 8]])  # the first one is padded on the left
PROMPT_MASK = torch.tensor([[0, 1, 1], [1, 1, 1]])
COMPLETIONS = torch.tensor([[9, 10, 2, 0], [11, 5, 9, 12]])  # the first one on the right
COMPLETION_MASK = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])


@pytest.fixture(scope="module")
def model() -> Any:
    tokenizer = word_tokenizer([f"w{i}" for i in range(12)])
    return small_decoder(tokenizer, layers=2, width=16, heads=2, max_length=16, seed=0)


def distributions(model: Any, row: int, temperature: float) -> torch.Tensor:
    """(C, V) log-probabilities of one row alone, without padding."""
    prompt = PROMPTS[row][PROMPT_MASK[row].bool()]
    completion = COMPLETIONS[row][COMPLETION_MASK[row].bool()]
    logits = model(torch.cat([prompt, completion])[None]).logits[0]
    return (logits[len(prompt) - 1 : -1] / temperature).log_softmax(-1)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_log_probabilities_and_entropies(model: Any, temperature: float) -> None:
    ids = torch.cat([PROMPTS, COMPLETIONS], 1)
    mask = torch.cat([PROMPT_MASK, COMPLETION_MASK], 1)
    logps, entropies = logps_and_entropies(model, ids, mask, 4, temperature=temperature)
    assert logps.requires_grad
    assert not entropies.requires_grad
    for row in range(2):
        real = COMPLETION_MASK[row].bool()
        expected = distributions(model, row, temperature)
        chosen = expected[torch.arange(real.sum()), COMPLETIONS[row][real]]
        torch.testing.assert_close(logps[row][real], chosen)
        torch.testing.assert_close(entropies[row][real], -(expected.exp() * expected).sum(-1))


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("rows", [1, 16])
def test_states_predict_their_tokens(model: Any, temperature: float, rows: int) -> None:
    states = token_states(
        model,
        PROMPTS,
        PROMPT_MASK,
        COMPLETIONS,
        COMPLETION_MASK,
        temperature=temperature,
        rows=rows,
    )
    assert states.vocabulary.tolist() == [2, 5, 9, 10, 11, 12]
    for row in range(2):
        real = COMPLETION_MASK[row].bool()
        expected = distributions(model, row, temperature).exp()
        torch.testing.assert_close(states.probs[row][real], expected[:, states.vocabulary])
        assert torch.equal(states.vocabulary[states.columns[row][real]], COMPLETIONS[row][real])
        again = model.get_output_embeddings()(states.hidden[row][real]) / temperature
        torch.testing.assert_close(again.softmax(-1), expected)
    assert states.probs.isfinite().all()


def test_empty_completions_give_nothing_to_divide_by(model: Any) -> None:
    nothing = torch.zeros_like(COMPLETION_MASK)
    states = token_states(model, PROMPTS, PROMPT_MASK, COMPLETIONS, nothing)
    assert states.probs.shape == (2, 4, 1)
    assert states.probs.isfinite().all()

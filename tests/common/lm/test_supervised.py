import pytest
import torch

from common.lm.small import small_decoder, word_tokenizer
from common.lm.supervised import Example, _batches, _mean_loss, _padded, fine_tune

TOKENIZER = word_tokenizer(["x", "a", "b", "c", "d"])
X, A, B, C, D = range(4, 9)
SETTINGS = {"steps": 60, "batch_size": 4, "learning_rate": 1e-2, "warmup_steps": 5}


def decoder(seed=0):
    return small_decoder(TOKENIZER, layers=1, width=16, heads=2, max_length=16, seed=seed)


def greedy(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0, -1].argmax().item()


def test_what_is_masked_is_read_but_not_learned():
    examples = [Example([X, A], [B, D, C, 2], [1, 0, 1, 1]), Example([X, B], [A, C, D, 2])]
    model = decoder()
    log = fine_tune(model, examples, seed=0, **SETTINGS)
    assert list(log.columns) == ["step", "loss"]
    assert list(log.step) == list(range(60))
    assert log.loss.iloc[-1] < 0.1 < log.loss.iloc[0]
    assert greedy(model, [X, A]) == B
    assert greedy(model, [X, A, B, D]) == C
    # The masked token, given the same start, is as unlikely as an untrained model finds it.
    probs = model(input_ids=torch.tensor([[X, A, B]])).logits[0, -1].softmax(-1)
    assert probs[D] < 0.5
    assert greedy(model, [X, B, A]) == C


def test_the_loss_is_the_mean_over_learned_tokens_of_the_batch():
    batch = [Example([X], [A, B], [0, 1]), Example([X, A], [C, D, 2])]
    model = decoder()
    ids, mask, labels = _padded(batch)
    logits = model(input_ids=ids, attention_mask=mask).logits
    rows = [([X, A], B), ([X, A], C), ([X, A, C], D), ([X, A, C, D], 2)]
    expected = [
        -model(input_ids=torch.tensor([start])).logits[0, -1].log_softmax(-1)[token]
        for start, token in rows
    ]
    torch.testing.assert_close(
        _mean_loss(logits[:, :-1], labels[:, 1:]), torch.stack(expected).mean()
    )


def test_a_batch_without_learned_tokens_has_loss_and_gradient_zero():
    logits = torch.randn(2, 3, 5, requires_grad=True)
    loss = _mean_loss(logits, torch.full((2, 3), -100))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_every_example_once_before_any_twice():
    import numpy as np

    examples = [Example([X], [token]) for token in (A, B, C, D, X)]
    seen = [e for batch in _batches(examples, 5, 3, np.random.default_rng(0)) for e in batch]
    for start in (0, 5, 10):
        assert sorted(e.completion_ids for e in seen[start : start + 5]) == [
            [X],
            [A],
            [B],
            [C],
            [D],
        ]


def test_equal_seeds_give_equal_bits_whatever_the_global_state():
    examples = [Example([X], [token, 2]) for token in (A, B, C, D)]
    weights = []
    for global_seed, seed in ((1, 3), (2, 3), (1, 4)):
        torch.manual_seed(global_seed)
        model = decoder()
        fine_tune(model, examples, steps=5, batch_size=3, learning_rate=1e-2, seed=seed)
        weights.append(model.lm_head.weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("examples", [[], [Example([X], [A], [0])], [Example([], [A])]])
def test_nothing_to_learn(examples):
    with pytest.raises(ValueError, match="examples"):
        fine_tune(decoder(), examples, seed=0, **SETTINGS)


def test_no_steps_leave_the_model_alone():
    model = decoder()
    log = fine_tune(model, [Example([X], [A])], steps=0, batch_size=1, learning_rate=1, seed=0)
    assert log.empty
    assert torch.equal(model.lm_head.weight, decoder().lm_head.weight)


def test_a_mask_of_another_length():
    with pytest.raises(ValueError, match="mask"):
        Example([X], [A, B], [1])

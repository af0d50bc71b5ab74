import warnings

import pytest
import torch

from common.lm.post_training import _order, distil, sft
from common.lm.small import small_decoder, word_tokenizer

WORDS = ["q", "a", "b", "c", "d"]
A, B, C, D = range(5, 9)
EXAMPLES = [("q a", " b"), ("q b", " c d"), ("q c", " a")]
SETTINGS = {"steps": 25, "batch_size": 3, "learning_rate": 3e-2}


def tokenizer_with(pad="<pad>"):
    tokenizer = word_tokenizer(WORDS)
    tokenizer.pad_token = pad
    return tokenizer


def decoder(tokenizer, seed=0):
    return small_decoder(tokenizer, layers=1, width=16, heads=2, max_length=16, seed=seed)


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(model, before):
    return {name for name, value in model.state_dict().items() if not value.equal(before[name])}


def written(model, tokenizer, prompt):
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    return model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=5
    )[0, ids.shape[1] :].tolist()


def test_a_model_learns_its_completions_and_to_stop():
    # The rows have different lengths, and a mask by token id would drop every end of sequence.
    tokenizer = tokenizer_with("<eos>")
    model = decoder(tokenizer).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        log = sft(model, tokenizer, EXAMPLES, seed=0, **SETTINGS)
    assert list(log.columns) == ["step", "loss"]
    assert log.step.tolist() == list(range(25))
    assert log.loss.iloc[-1] < 0.1 < 1 < log.loss.iloc[0]
    eos = tokenizer.eos_token_id
    assert written(model, tokenizer, "q a") == [B, eos]
    assert written(model, tokenizer, "q b") == [C, D, eos]


def test_the_loss_is_the_mean_over_the_completions_tokens():
    tokenizer = tokenizer_with("<eos>")
    model = decoder(tokenizer)
    log_probs = []
    for ids, start in (([4, A, B, 2], 2), ([4, B, C, D, 2], 2), ([4, C, A, 2], 2)):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        log_probs += [logits[at - 1, ids[at]] for at in range(start, len(ids))]
    log = sft(model, tokenizer, EXAMPLES, steps=1, batch_size=3, learning_rate=1e-2, seed=0)
    assert log.loss[0] == pytest.approx(-torch.stack(log_probs).mean().item(), rel=1e-5)


def test_equal_seeds_give_equal_bits_whatever_the_global_state():
    tokenizer = tokenizer_with()
    found = []
    for global_seed, seed in ((1, 3), (2, 3), (1, 4)):
        torch.manual_seed(global_seed)
        state = torch.get_rng_state()
        model = decoder(tokenizer)
        sft(model, tokenizer, EXAMPLES, steps=2, batch_size=2, learning_rate=1e-2, seed=seed)
        assert torch.equal(torch.get_rng_state(), state)
        found.append(model.lm_head.weight.detach())
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_embedding_stays(frozen):
    tokenizer = tokenizer_with()
    model = decoder(tokenizer)
    before = weights(model)
    options = {"steps": 2, "batch_size": 2, "learning_rate": 1e-2, "seed": 0}
    sft(model, tokenizer, EXAMPLES, freeze_embedding=frozen, **options)
    embedding = "model.embed_tokens.weight"
    assert (embedding in changed(model, before)) != frozen
    assert changed(model, before) | {embedding} == set(before)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_learning_rate_falls_linearly_to_zero(monkeypatch):
    # Adam's first step has the size of the learning rate; of two steps the second has half of it.
    tokenizer = tokenizer_with()
    sizes = []
    original = torch.optim.AdamW.step

    def step(self, *arguments, **options):
        sizes.append([group["lr"] for group in self.param_groups])
        return original(self, *arguments, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    sft(
        decoder(tokenizer),
        tokenizer,
        EXAMPLES,
        steps=4,
        batch_size=1,
        learning_rate=0.04,
        seed=0,
    )
    assert [group[0] for group in sizes] == pytest.approx([0.04, 0.03, 0.02, 0.01])


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_handed_back_as_it_was(training):
    tokenizer = tokenizer_with()
    model = decoder(tokenizer).train(training)
    sft(model, tokenizer, EXAMPLES, steps=1, batch_size=1, learning_rate=1e-2, seed=0)
    assert model.training == training
    assert "forward" not in vars(model)  # the trainer's own
    assert model(input_ids=torch.tensor([[4, A]])).logits.shape == (1, 2, len(tokenizer))


def test_without_an_end():
    tokenizer = tokenizer_with()
    model = decoder(tokenizer)
    sft(model, tokenizer, [("q a", " b c")], seed=0, append_eos=False, **SETTINGS)
    ids = torch.tensor([[4, A, B, C]])
    assert model(input_ids=ids).logits[0, -1].softmax(-1)[tokenizer.eos_token_id] < 0.5
    assert written(model, tokenizer, "q a")[:2] == [B, C]


def test_no_steps():
    tokenizer = tokenizer_with()
    model = decoder(tokenizer)
    before = weights(model)
    assert sft(model, tokenizer, EXAMPLES, seed=0, **SETTINGS | {"steps": 0}).empty
    assert not changed(model, before)


def test_every_example_once_before_any_twice():
    import numpy as np

    order = _order(5, 12, np.random.default_rng(0))
    assert sorted(order[:5]) == sorted(order[5:10]) == list(range(5))
    assert len(order) == 12
    assert order[:5] != order[5:10]


def test_distilling_is_learning_what_the_teacher_writes():
    tokenizer = tokenizer_with()
    student, same = decoder(tokenizer), decoder(tokenizer)
    asked = []

    def teacher(prompts):
        asked.extend(prompts)
        return [" d" if prompt.endswith("a") else " c" for prompt in prompts]

    options = {"steps": 2, "batch_size": 2, "learning_rate": 1e-2, "seed": 0}
    log = distil(student, tokenizer, teacher, ["q a", "q b"], **options)
    assert asked == ["q a", "q b"]
    assert log.equals(sft(same, tokenizer, [("q a", " d"), ("q b", " c")], **options))
    assert not changed(student, weights(same))


def test_a_teacher_that_leaves_prompts_out():
    tokenizer = tokenizer_with()
    with pytest.raises(ValueError, match="teacher: 1 completions for 2 prompts"):
        distil(decoder(tokenizer), tokenizer, lambda _: [" a"], ["q a", "q b"], seed=0, **SETTINGS)


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ([], "at least one"),
        ([("q a", " b"), ("q a", "b")], "merge in example 1"),
    ],
)
def test_examples_that_cannot_be_learned(examples, message):
    tokenizer = tokenizer_with()
    with pytest.raises(ValueError, match=message):
        sft(decoder(tokenizer), tokenizer, examples, seed=0, **SETTINGS)


def test_an_empty_completion_is_only_an_end():
    tokenizer = tokenizer_with()
    sft(decoder(tokenizer), tokenizer, [("q a", "")], seed=0, **SETTINGS | {"steps": 1})
    with pytest.raises(ValueError, match="example 0 has no completion"):
        sft(decoder(tokenizer), tokenizer, [("q", "")], seed=0, append_eos=False, **SETTINGS)


@pytest.mark.slow
def test_a_real_model_whose_padding_is_its_end_learns_to_stop():
    from common.lm.load import load

    model, tokenizer = load("smollm2-135m-instruct")
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    # Of different lengths, so that rows are padded with the end-of-sequence token.
    examples = [(f"{a} + {b} =", f" {a + b}") for a in (1, 5, 9) for b in (1, 2, 5, 60)]
    stopped = tokenizer("3 + 1 = 4", return_tensors="pt")

    def stop():
        with torch.no_grad():
            logits = model(**stopped).logits[0, -1]
        return logits.log_softmax(-1)[tokenizer.eos_token_id].item()

    assert stop() < -5
    sft(model, tokenizer, examples, steps=6, batch_size=8, learning_rate=1e-4, seed=0)
    assert stop() > -0.5
    prompt = tokenizer("3 + 1 =", return_tensors="pt")
    written = model.generate(**prompt, do_sample=False, max_new_tokens=8)[0]
    assert written[-1] == tokenizer.eos_token_id

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.lm.small import word_tokenizer
from common.lm.teacher_forced import attention_masks, exact_match_and_logp, pack, score
from tests.common.lm.architectures import ARCHITECTURES, WINDOW, tiny

TOKENIZER = word_tokenizer([f"w{i}" for i in range(36)])
PROMPT = "w1 w2 w3 w4 w5 w6 "
ITEMS = [("w7 w8", " w9"), ("w10", " w11 w12 w13"), ("w7 w8 w14", " w1 w15"), ("w7 w8", " w2")]


def alone(model, prompt, question, answer):
    """The oracle: the plain text of one item, with all logits."""
    before = len(TOKENIZER(prompt + question).input_ids)
    ids = torch.tensor([TOKENIZER(prompt + question + answer).input_ids])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, before - 1 : -1]
    labels = ids[0, before:]
    chosen = logits.log_softmax(-1)[range(len(labels)), labels]
    return torch.equal(logits.argmax(-1), labels), chosen.sum()


def assert_as_alone(model, prompt, items):
    correct, logp = score(model, pack(TOKENIZER, prompt, items))
    expected = [alone(model, prompt, *item) for item in items]
    assert correct.tolist() == [hit for hit, _ in expected]
    torch.testing.assert_close(logp, torch.stack([part for _, part in expected]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", [*ARCHITECTURES, "mistral"])
def test_packed_items_score_as_each_alone(name, attention):
    assert len(PROMPT.split()) > WINDOW  # the window ends within the prompt
    assert_as_alone(tiny(name, attention).eval(), PROMPT, ITEMS)


@pytest.mark.parametrize("name", ["gemma3", "gpt2"])
def test_correct_is_what_greedy_decoding_writes(name):
    model = tiny(name).eval()
    items = []
    for number in range(6):
        question = f"w{number} w{2 * number}"
        start = torch.tensor([TOKENIZER(PROMPT + question).input_ids])
        options = {"max_new_tokens": 2, "do_sample": False, "eos_token_id": None}
        written = model.generate(start, attention_mask=torch.ones_like(start), **options)
        first, second = TOKENIZER.convert_ids_to_tokens(written[0, -2:])
        other = "w0" if second != "w0" else "w1"
        items += [(question, f" {first} {second}"), (question, f" {first} {other}")]
    correct, logp = score(model, pack(TOKENIZER, PROMPT, items))
    assert correct.tolist() == [True, False] * 6
    assert (logp[0::2] > logp[1::2]).all()


@given(
    prompt=st.integers(0, 4),
    shapes=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=5),
    seed=st.integers(0, 5),
)
@settings(deadline=None, max_examples=25)
def test_what_each_item_sees(prompt, shapes, seed):
    """In every item's row of the mask stands its own text, and nothing else."""
    generator = torch.Generator().manual_seed(seed)

    def words(count):
        return "".join(f" w{i}" for i in torch.randint(36, (count,), generator=generator))

    head = words(prompt)
    items = [(words(question), words(answer)) for question, answer in shapes]
    packed = pack(TOKENIZER, head, items)
    mask = attention_masks(tiny_llama(), packed)[0, 0] == 0
    for number, (question, answer) in enumerate(items):
        last = (packed.segments == number).nonzero()[-1].item()
        seen = packed.input_ids[0, mask[last]]
        assert seen.tolist() == TOKENIZER(head + question + answer).input_ids
        assert packed.position_ids[0, mask[last]].tolist() == list(range(len(seen)))
        labels = packed.labels[number, packed.mask[number]]
        assert labels.tolist() == TOKENIZER(answer).input_ids
        behind = packed.input_ids[0, packed.positions[number, packed.mask[number]] + 1]
        assert behind[1:].tolist() == labels[1:].tolist()


def tiny_llama():
    if not hasattr(tiny_llama, "model"):
        tiny_llama.model = tiny("llama").eval()
    return tiny_llama.model


@pytest.mark.parametrize(
    ("prompt", "items"),
    [
        ("", ITEMS),  # nothing is shared
        ("w3 w5", [("", " w9 w2"), ("", " w8"), (" w4", " w8")]),  # the prompt asks
        ("w3", [("", " w9")]),  # one item
    ],
)
def test_empty_prompts_and_questions(prompt, items):
    assert_as_alone(tiny_llama(), prompt, items)


def test_a_tokenizer_that_puts_bos_first():
    from tokenizers.processors import TemplateProcessing

    tokenizer = word_tokenizer([f"w{i}" for i in range(36)])
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 1)]
    )
    for prompt in ("w1 ", ""):
        packed = pack(tokenizer, prompt, [("w2", " w3"), ("w4", " w5")])
        assert (packed.input_ids == 1).sum() == 1
        assert packed.input_ids[0, 0] == 1
    # Here BOS is all that stands before the answer.
    assert pack(tokenizer, "", [("", "w3")]).input_ids.tolist() == [[1, 7]]


@pytest.mark.parametrize(
    ("prompt", "items", "message"),
    [
        ("w1 ", [], "at least one"),
        ("w1 ", [("w2", " w3"), ("w2", "")], "item 1 has no answer"),
        ("", [("", "w3")], "nothing stands before the answer of item 0"),
        ("w1 ", [("w2", " w3"), ("w2", "3")], "question and answer merge in item 1"),
        ("w1", [("2", " w3")], "prompt and question merge in item 0"),
    ],
)
def test_items_that_cannot_be_packed(prompt, items, message):
    with pytest.raises(ValueError, match=message):
        pack(TOKENIZER, prompt, items)


def test_models_whose_attention_a_mask_does_not_describe():
    packed = pack(TOKENIZER, PROMPT, ITEMS)
    model = tiny("gemma3")
    model.config.layer_types = ["chunked_attention", "full_attention", "full_attention"]
    with pytest.raises(ValueError, match="chunked_attention"):
        score(model, packed)
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match="flash_attention_2"):
        score(model, packed)


def test_the_mode_is_restored_and_dropout_is_off():
    model, packed = tiny("gpt2"), pack(TOKENIZER, PROMPT, ITEMS)
    first, again = score(model, packed)[1], score(model, packed)[1]
    assert model.training
    assert torch.equal(first, again)


def test_every_answer_token_must_be_the_arg_max():
    logits = torch.zeros(3, 2, 4)
    logits[0, [0, 1], [1, 2]] = 5.0
    logits[1, 0, 1] = 5.0  # the second token is wrong
    logits[2, 0, 3] = 5.0  # the second token does not count
    labels = torch.tensor([[1, 2], [1, 2], [3, 0]])
    mask = torch.tensor([[True, True], [True, True], [True, False]])
    correct, logp = exact_match_and_logp(logits, labels, mask)
    assert correct.tolist() == [True, False, True]
    sure = 5 - torch.tensor([5.0, 0, 0, 0]).logsumexp(0)
    torch.testing.assert_close(logp, torch.stack([2 * sure, sure - torch.tensor(4.0).log(), sure]))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_overflow_is_wrong(bad):
    logits = torch.zeros(3, 2, 4)
    logits[:, :, 1] = 5.0
    logits[0, 1, 1] = bad
    logits[1, 1, :] = bad
    logits[2, 1, :] = bad  # behind the answer
    mask = torch.tensor([[True, True], [True, True], [True, False]])
    correct, logp = exact_match_and_logp(logits, torch.ones(3, 2, dtype=torch.long), mask)
    assert correct.tolist() == [False, False, True]
    assert logp[:2].tolist() == [-torch.inf] * 2
    assert logp[2].isfinite()


def test_a_token_of_probability_zero():
    logits = torch.zeros(1, 1, 4)
    logits[0, 0, 2] = -torch.inf
    correct, logp = exact_match_and_logp(logits, torch.tensor([[2]]), torch.tensor([[True]]))
    assert correct.tolist() == [False]
    assert logp.tolist() == [-torch.inf]

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.lm.small import SPECIAL_TOKENS, small_decoder, word_tokenizer

WORDS = ["<q>", "a", "b", "c", "</q>", ".", "'s"]


def test_one_token_per_word_after_the_special_tokens():
    tokenizer = word_tokenizer(WORDS)
    assert tokenizer("<q> b c </q>").input_ids == [4, 6, 7, 8]
    assert tokenizer.convert_ids_to_tokens([0, 1, 2, 3]) == list(SPECIAL_TOKENS)
    assert tokenizer("a zebra").input_ids == [5, tokenizer.unk_token_id]
    assert tokenizer("a <eos>").input_ids == [5, tokenizer.eos_token_id]
    assert len(tokenizer) == len(WORDS) + 4


@given(st.lists(st.sampled_from(WORDS), max_size=12))
@settings(deadline=None, max_examples=30)
def test_decoding_gives_the_words_back(words):
    tokenizer = word_tokenizer(WORDS)
    ids = tokenizer("  ".join(words)).input_ids
    assert tokenizer.decode([*ids, 2, 0, 0], skip_special_tokens=True) == " ".join(words)


def test_a_saved_tokenizer_is_the_same(tmp_path):
    from transformers import AutoTokenizer

    tokenizer = word_tokenizer(WORDS)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded("<q> b . 's <eos>").input_ids == tokenizer("<q> b . 's <eos>").input_ids
    assert loaded.decode([5, 9, 10, 2], skip_special_tokens=True) == "a . 's"
    assert (loaded.pad_token_id, loaded.eos_token_id, loaded.padding_side) == (0, 2, "left")


@pytest.mark.parametrize("words", [["a", "a"], ["<pad>"], [""], ["a b"], ["a\n"]])
def test_words_that_no_tokenizer_could_tell_apart(words):
    with pytest.raises(ValueError, match="words"):
        word_tokenizer(words)


def test_a_decoder_is_its_seed_and_leaves_the_global_state_alone():
    tokenizer = word_tokenizer(WORDS)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, again, other = (small_decoder(tokenizer, width=32, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    for one, two in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)


def test_the_decoder_is_what_was_asked_for():
    tokenizer = word_tokenizer(WORDS)
    model = small_decoder(tokenizer, layers=3, width=32, heads=2, max_length=50, seed=0)
    assert model.config.num_hidden_layers == 3
    assert model.config.max_position_embeddings == 50
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert model.lm_head.weight is not model.model.embed_tokens.weight
    for config in (model.config, model.generation_config):
        assert (config.pad_token_id, config.bos_token_id, config.eos_token_id) == (0, 1, 2)
    ids = torch.tensor([tokenizer("a b c").input_ids])
    written = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=4)
    assert written.shape[1] <= 7


def test_a_width_that_heads_cannot_share():
    with pytest.raises(ValueError, match="width"):
        small_decoder(word_tokenizer(WORDS), width=36, heads=4, seed=0)

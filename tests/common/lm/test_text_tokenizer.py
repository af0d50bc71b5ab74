"""Tokens of text with numbers: one per digit, per word, per other character."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.lm.small import SPECIAL_TOKENS, word_tokenizer
from common.lm.text_tokenizer import text_tokenizer

CORPUS = ["Ann has 12 apples; Bob's 3rd is red.\n12+30=42\n#### 42", "x + y = z"]


def test_digits_words_and_other_characters() -> None:
    tokenizer = text_tokenizer(CORPUS)
    pieces = [tokenizer.decode(i) for i in tokenizer("Ann has 12 apples.\n12+3")["input_ids"]]
    assert pieces == ["Ann", " has", " ", "1", "2", " apples", ".", "\n", "1", "2", "+", "3"]


@pytest.mark.parametrize("text", [*CORPUS, "", " ", "  \n\n 7", "1234567", "; Bob's"])
def test_decoding_gives_the_text_back(text: str) -> None:
    tokenizer = text_tokenizer(CORPUS)
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@given(st.text(st.sampled_from("ab Z09+.\n-é"), max_size=30))
@settings(deadline=None, max_examples=50)
def test_any_text_of_the_corpus_survives(text: str) -> None:
    tokenizer = text_tokenizer([text])
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert tokenizer.unk_token_id not in ids


def test_numbers_take_one_token_per_digit_wherever_they_stand() -> None:
    tokenizer = text_tokenizer(["a"])
    for number in ("0", "42", "9876543"):
        assert len(tokenizer(number)["input_ids"]) == len(number)
        assert len(tokenizer(f"a{number}a")["input_ids"]) == len(number) + 2


def test_unknown_words_are_read_as_unknown_digits_never() -> None:
    tokenizer = text_tokenizer(["a b"])
    assert tokenizer(" zebra")["input_ids"] == [tokenizer.unk_token_id]
    assert tokenizer.unk_token_id not in tokenizer("0123456789 \n")["input_ids"]


def test_special_tokens_are_those_of_the_word_tokenizer() -> None:
    text, words = text_tokenizer(CORPUS), word_tokenizer(["a"])
    assert text.convert_ids_to_tokens(range(4)) == list(SPECIAL_TOKENS)
    for name in ("pad_token_id", "bos_token_id", "eos_token_id", "unk_token_id", "padding_side"):
        assert getattr(text, name) == getattr(words, name)
    ids = [*text("12")["input_ids"], text.eos_token_id, text.pad_token_id]
    assert text.decode(ids, skip_special_tokens=True) == "12"


def test_the_order_of_the_corpus_does_not_matter() -> None:
    assert text_tokenizer(CORPUS).get_vocab() == text_tokenizer(CORPUS[::-1]).get_vocab()


def test_bad_corpora_are_refused() -> None:
    with pytest.raises(ValueError, match="no text"):
        text_tokenizer([])
    with pytest.raises(ValueError, match="special token <eos>"):
        text_tokenizer(["a <eos> b"])

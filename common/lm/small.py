"""Small decoders with a word-level tokenizer, trained from scratch in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>", "<unk>")


def word_tokenizer(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """A tokenizer with one token per word; words are separated by blanks.

    The special tokens have the ids 0 to 3, the words follow in the given order. Nothing is added
    to a text: a prompt has exactly as many tokens as words. Decoding joins words by single blanks;
    `skip_special_tokens=True` drops the special tokens wherever they stand.

    Args:
        words: the vocabulary without the special tokens.

    Raises:
        ValueError: a word is empty, contains a blank, occurs twice, or is a special token.
    """
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit

    vocabulary = {word: index for index, word in enumerate([*SPECIAL_TOKENS, *words])}
    if len(vocabulary) < len(SPECIAL_TOKENS) + len(words):
        raise ValueError(f"words: must be distinct and none of {', '.join(SPECIAL_TOKENS)}")
    for word in words:
        if word.split() != [word]:
            raise ValueError(f"words: {word!r} is empty or contains a blank")
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return with_special_tokens(tokenizer)


def with_special_tokens(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """A tokenizer as transformers takes it, padding on the left, with `SPECIAL_TOKENS`."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def small_decoder(
    tokenizer: PreTrainedTokenizerFast,
    *,
    layers: int = 2,
    width: int = 64,
    heads: int = 4,
    max_length: int = 128,
    seed: int,
) -> LlamaForCausalLM:
    """A Llama decoder with random weights in float32 and an untied output layer.

    The global random state is left alone; equal seeds give equal weights.

    Args:
        tokenizer: gives the vocabulary's size and the ids of the special tokens.
        layers: number of decoder layers.
        width: size of the hidden states; a multiple of twice the heads.
        heads: attention heads per layer.
        max_length: longest sequence, prompt included.
        seed: of the weights.

    Raises:
        ValueError: `width` is no multiple of twice `heads`.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    if width % (2 * heads):
        raise ValueError(f"width: rotary positions need a multiple of 2·heads = {2 * heads}")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=max_length,
        # 1/√width keeps the activations' scale at any width; the usual 0.02 is made for widths
        # of some thousand and costs a small decoder hundreds of steps.
        initializer_range=width**-0.5,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config).float()
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(model.generation_config, name, getattr(config, name))
    return model

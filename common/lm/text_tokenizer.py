"""A tokenizer for small decoders that read plain text with numbers: one token per digit."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from common.lm.small import SPECIAL_TOKENS, with_special_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PIECES = r" ?[A-Za-z]+|[0-9]|\s|[^A-Za-z0-9\s]"
"""A word with its leading blank, a digit, or any other character; together they are the text."""


def text_tokenizer(corpus: Iterable[str]) -> PreTrainedTokenizerFast:
    """A tokenizer whose decoding is the exact text: one token per digit, word or other character.

    A word keeps the blank in front of it, so that tokens are joined without any. Numbers are cut
    into digits, as by the tokenizers of Llama 2, Gemma 2 and Qwen 2.5 (arXiv 2402.14903 studies
    the choice). Nothing is added to a text. The special tokens have the ids 0 to 3, those of
    `common.lm.small.word_tokenizer`; the ten digits, the blank and the line feed follow, then the
    other pieces of the corpus in alphabetical order.

    Args:
        corpus: texts; what occurs in none of them is read as `<unk>`, except digits, single
            blanks and line feeds, which are always known.

    Raises:
        ValueError: no text, or a text that contains a special token.
    """
    from tokenizers import Regex, Tokenizer
    from tokenizers.decoders import Fuse
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split

    texts = list(corpus)
    if not texts:
        raise ValueError("corpus: there is no text in it")
    for token in SPECIAL_TOKENS:
        if any(token in text for text in texts):
            raise ValueError(f"corpus: a text contains the special token {token}")
    always = [*"0123456789", " ", "\n"]
    found = {piece for text in texts for piece in re.findall(PIECES, text)}
    vocabulary = [*SPECIAL_TOKENS, *always, *sorted(found - set(always))]
    tokenizer = Tokenizer(
        WordLevel({piece: index for index, piece in enumerate(vocabulary)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = Split(Regex(PIECES), behavior="isolated")
    tokenizer.decoder = Fuse()
    return with_special_tokens(tokenizer)

"""One way to a language model: bundled weights, a folder, or the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from common.lm.bundled import BUNDLED, MissingModelError, converted


def load(
    name: str, *, dtype: torch.dtype = torch.float32, padding_side: str = "left"
) -> tuple[Any, Any]:
    """A causal language model and its tokenizer, ready to sample and to train.

    Args:
        name: a bundled model ("smollm2-135m-instruct"), a folder of a transformers checkpoint, or
            a hub id. Code of a repository is never executed.
        dtype: of the weights.
        padding_side: "left" for sampling, "right" for scoring.

    Raises:
        MissingModelError: the model is not there; the message says where it was looked for.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = str(converted(name)) if name in BUNDLED else name
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, padding_side=padding_side)
        model = AutoModelForCausalLM.from_pretrained(place, dtype=dtype)
    except OSError as error:
        where = "no checkpoint" if Path(name).is_dir() else "no folder"
        raise MissingModelError(
            f"{name!r} is {where}, no bundled model ({', '.join(BUNDLED)}), and cannot be had from "
            "the hub (no network, no such model, or no right to it; the smoke and cpu profiles "
            "never ask)"
        ) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model, tokenizer

"""Questions as prompts of instruct models."""

from __future__ import annotations

from typing import Any


def chat_prompt(tokenizer: Any, question: str, *, system: str | None = None) -> str:
    """The question in the model's chat template, up to where the reply begins.

    Args:
        tokenizer: of an instruct model.
        question: what the user says.
        system: what stands before it; by default whatever the template puts there.

    Raises:
        ValueError: the tokenizer has no chat template.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError("tokenizer: it has no chat template; use a few-shot prompt")
    messages = [{"role": "system", "content": system}] if system is not None else []
    messages.append({"role": "user", "content": question})
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    # Prompts are tokenised later; a token that the tokenizer adds by itself must not come twice.
    start = tokenizer.bos_token
    if start and text.startswith(start) and tokenizer("").input_ids[:1] == [tokenizer.bos_token_id]:
        text = text[len(start) :]
    return text

"""Exact match of greedy decoding by teacher forcing: one forward pass instead of generation.

Greedy decoding writes an answer if and only if the arg-max is the answer's token at every answer
position, the answer's earlier tokens being given. The answer should end with what ends it in
generation (a line break, say); else "7" also counts where the model would go on to "72".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from common.lm.ablation import evaluating

PROMPT = -1  # segment number of the shared prompt's tokens


@dataclass(frozen=True)
class Packed:
    """Items behind one shared prompt, in one row of T tokens.

    Attributes:
        input_ids: (1, T), the prompt, then every item's question and answer.
        position_ids: (1, T); each item goes on where the prompt ends.
        segments: (T,), the item of each token, -1 for the prompt.
        positions: (N, A), where each answer token is predicted from: one token before it.
        labels: (N, A), the answer tokens, right-padded with 0.
        mask: (N, A), true for answer tokens.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    segments: torch.Tensor
    positions: torch.Tensor
    labels: torch.Tensor
    mask: torch.Tensor


def pack(tokenizer: Any, prompt: str, items: Sequence[tuple[str, str]]) -> Packed:
    """One row in which the shared prompt is read once for all items.

    Args:
        tokenizer: of transformers; what it puts before a text (BOS) stands before the prompt.
        prompt: worked examples, or "".
        items: pairs of question and answer; prompt + question + answer is the text.

    Raises:
        ValueError: no items, an item without answer, nothing before an answer, or tokens that
            merge where prompt and question or question and answer meet: the text would be read
            otherwise than in generation.
    """
    if not items:
        raise ValueError("items: at least one is needed")
    shared = tokenizer(prompt).input_ids if prompt else []
    head = shared or tokenizer("").input_ids
    ids, segments, places, answers = list(head), [PROMPT] * len(head), [], []
    position_ids = list(range(len(head)))
    for number, (question, answer) in enumerate(items):
        before = tokenizer(prompt + question).input_ids if prompt + question else head
        whole = tokenizer(prompt + question + answer).input_ids
        _check(number, head, before, whole)
        own = whole[len(head) :]
        # Without a question the answer's first token is predicted from the prompt's last one.
        start = len(before) - len(head)
        where = [len(ids) + place - 1 for place in range(start, len(own))]
        places.append([len(head) - 1, *where[1:]] if start == 0 else where)
        answers.append(own[start:])
        position_ids += range(len(head), len(whole))
        segments += [number] * len(own)
        ids += own
    width = max(map(len, answers))
    padded = [[part + [0] * (width - len(part)) for part in rows] for rows in (places, answers)]
    lengths = torch.tensor([len(answer) for answer in answers])
    return Packed(
        torch.tensor([ids]),
        torch.tensor([position_ids]),
        torch.tensor(segments),
        torch.tensor(padded[0]),
        torch.tensor(padded[1]),
        torch.arange(width) < lengths[:, None],
    )


def exact_match_and_logp(
    logits: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Whether greedy decoding writes the answer, and the answer's log-probability.

    Logits that are not finite at an answer token (overflow in float16) count as wrong, with
    log-probability -inf.

    Args:
        logits: (N, A, V), row k predicts label k.
        labels: (N, A), token ids; anything within the vocabulary where masked.
        mask: (N, A), true for answer tokens; every row has one.

    Returns:
        (N,) bool, and (N,) float32: the sum over the answer's tokens, in nats.
    """
    log_probs = logits.float().log_softmax(-1)
    chosen = log_probs.gather(-1, labels[..., None]).squeeze(-1)
    chosen = chosen.masked_fill(chosen.isnan(), -torch.inf)
    hit = (logits.argmax(-1) == labels) & chosen.isfinite()
    return (hit | ~mask).all(-1), chosen.masked_fill(~mask, 0.0).sum(-1)


@torch.no_grad()
def score(model: Any, packed: Packed) -> tuple[torch.Tensor, torch.Tensor]:
    """Exact match and log-probability of every item, from one forward pass.

    Args:
        model: a causal language model of transformers that takes a 4-D mask (eager or sdpa
            attention), read in evaluation mode.
        packed: from `pack`.

    Returns:
        (N,) bool and (N,) float32, on the CPU (`exact_match_and_logp`).

    Raises:
        ValueError: the model has attention that the mask does not describe.
    """
    device = model.device
    with evaluating(model):
        logits = model(
            input_ids=packed.input_ids.to(device),
            position_ids=packed.position_ids.to(device),
            attention_mask=attention_masks(model, packed),
            logits_to_keep=packed.positions[packed.mask].to(device),
            use_cache=False,
        ).logits[0]
    padded = logits.new_zeros(*packed.mask.shape, logits.shape[-1])
    padded[packed.mask.to(device)] = logits
    correct, logp = exact_match_and_logp(padded, packed.labels.to(device), packed.mask.to(device))
    return correct.cpu(), logp.cpu()


def attention_masks(model: Any, packed: Packed) -> torch.Tensor | dict[str, torch.Tensor]:
    """The additive mask (1, 1, T, T), or one for each of the model's layer types.

    A token sees its own item and the prompt, up to its own position; in sliding layers only the
    window's last positions, counted as in the unpacked text.

    Raises:
        ValueError: the model does not use eager or sdpa attention, or has layers that are neither
            full nor sliding attention.
    """
    config = model.config.get_text_config()
    if config._attn_implementation not in ("eager", "sdpa"):
        raise ValueError(
            f"model: {config._attn_implementation} attention takes no 4-D mask; load the model "
            'with attn_implementation="sdpa"'
        )
    window = getattr(config, "sliding_window", None)
    types = set(getattr(config, "layer_types", None) or ())
    if unknown := types - {"full_attention", "sliding_attention"}:
        raise ValueError(f"model: cannot pack items for layers of type {', '.join(unknown)}")
    if not types:  # one kind of layer for all: sliding where there is a window (Mistral)
        types = {"sliding_attention" if window else "full_attention"}
    masks = {
        kind: _additive(packed, window if kind == "sliding_attention" else None, model)
        for kind in sorted(types)
    }
    return masks if len(masks) > 1 else next(iter(masks.values()))


def _additive(packed: Packed, window: int | None, model: Any) -> torch.Tensor:
    segments, positions = packed.segments, packed.position_ids[0]
    seen = (segments[:, None] == segments) | (segments == PROMPT)
    distance = positions[:, None] - positions
    seen &= distance >= 0
    if window is not None:
        seen &= distance < window
    smallest = torch.finfo(model.dtype).min
    mask = torch.zeros(seen.shape, dtype=model.dtype).masked_fill(~seen, smallest)
    return mask[None, None].to(model.device)


def _check(number: int, head: list[int], before: list[int], whole: list[int]) -> None:
    """One item's tokens must be those of its parts, one after the other."""
    if not before:
        raise ValueError(f"items: nothing stands before the answer of item {number}")
    if before[: len(head)] != head:
        raise ValueError(f"items: the tokens of prompt and question merge in item {number}")
    if whole[: len(before)] != before:
        raise ValueError(f"items: the tokens of question and answer merge in item {number}")
    if len(whole) == len(before):
        raise ValueError(f"items: item {number} has no answer")

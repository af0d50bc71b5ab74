"""Sampling of groups of completions: each prompt is read once, finished rows are dropped."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from common.grpo.sampling.decoding import Decoder, decoder_for, sampling_dtype

COMPACT_BELOW = 0.75  # share of rows still being written below which the others are dropped


class Environment(Protocol):
    """What answers a policy in the middle of its completion: a search engine, a calculator."""

    @property
    def triggers(self) -> frozenset[int]:
        """Token ids after which the environment is asked."""
        ...

    def respond(self, prompt_index: int, completion: list[int]) -> list[int] | None:
        """Tokens of the observation that follows, or None to end the row.

        Args:
            prompt_index: index of the row's prompt among `prompts`.
            completion: all tokens of the row so far, observations included; the last one is a
                trigger that the policy has just sampled.
        """
        ...


@dataclass(frozen=True)
class Rollouts:
    """Completions of B = P * G rows; the G rows of a prompt stand together.

    Attributes:
        prompt_ids: (B, L), left-padded.
        prompt_mask: (B, L), 1 for real tokens.
        completion_ids: (B, C), right-padded; C is the longest completion.
        completion_mask: (B, C), 1 for real tokens, observations included.
        env_mask: (B, C), 1 for tokens that the policy wrote, 0 for observations and padding.
        logps: (B, C), log-probabilities of the policy's tokens at the sampling temperature, in
            nats, as the sampler computed them; 0 for observations and padding.
        finished: (B,), true where the row ended by an end token or by its environment, false
            where the room for new tokens ran out.
    """

    prompt_ids: Tensor
    prompt_mask: Tensor
    completion_ids: Tensor
    completion_mask: Tensor
    env_mask: Tensor
    logps: Tensor
    finished: Tensor

    @property
    def sequences(self) -> tuple[Tensor, ...]:
        """Prompts and completions with their masks, as `score_completions` takes them."""
        return self.prompt_ids, self.prompt_mask, self.completion_ids, self.completion_mask


@torch.no_grad()
def sample_groups(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    group_size: int,
    max_new_tokens: int,
    eos_token_id: int | Sequence[int],
    pad_token_id: int,
    temperature: float = 1.0,
    greedy: bool = False,
    generator: torch.Generator | None = None,
    environment: Environment | None = None,
    dtype: torch.dtype | None = None,
) -> Rollouts:
    """Sample `group_size` completions of every prompt from the model's current weights.

    The distribution is that of `model.generate` without top-k, top-p or penalties. The random
    number behind a token depends on its row and position only, not on which rows are finished.

    Args:
        model: a causal language model of transformers.
        prompts: token ids of P prompts, none of them empty.
        group_size: G, completions per prompt.
        max_new_tokens: room for a completion, observations included.
        eos_token_id: token or tokens that end a row when the policy writes them (before any
            environment is asked); an empty sequence for none.
        pad_token_id: fills up prompts and completions.
        temperature: divides the logits.
        greedy: take the most probable token; `logps` are still those at `temperature`.
        generator: source of the random numbers; needed unless `greedy`.
        environment: asked whenever a row writes one of its triggers.
        dtype: of weights and activations in sampling. By default that of the model, except that a
            large float32 model is sampled in bfloat16 where the processor has it natively. Then
            `logps` are not those of the float32 policy: old log-probabilities of importance
            ratios have to come from the training forward pass, as in TRL.

    Raises:
        ValueError: an empty prompt or one with unknown tokens, a prompt and completion longer than
            the model's context, a non-positive size or temperature, no generator, or a model
            without finite logits.
    """
    _check(model, prompts, group_size, max_new_tokens, temperature)
    if not greedy and generator is None:
        raise ValueError("generator: sampling needs one; the global state is never used")
    ends = frozenset([eos_token_id] if isinstance(eos_token_id, int) else eos_token_id)
    rows = [
        _Row(index, max_new_tokens, ends, environment)
        for index in range(len(prompts))
        for _ in range(group_size)
    ]
    device = next(model.parameters()).device
    draws = None
    if generator is not None and not greedy:
        shape = (max_new_tokens, len(rows))
        # In (0, 1], so that no token of probability zero is ever chosen.
        draws = 1 - torch.rand(shape, generator=generator, device=generator.device).to(device)
    was_training = model.training
    model.eval()
    try:
        decoder = decoder_for(model, dtype or sampling_dtype(model))
        probs = _decode(decoder, prompts, rows, draws, temperature, max_new_tokens, device)
    finally:
        model.train(was_training)
    prompt_ids, prompt_mask = left_padded(prompts, pad_token_id, device)
    return Rollouts(
        prompt_ids.repeat_interleave(group_size, 0),
        prompt_mask.repeat_interleave(group_size, 0),
        *_completions(rows, probs, pad_token_id),
    )


class _Row:
    """What one row has written, and whether it goes on."""

    def __init__(
        self, prompt_index: int, room: int, ends: frozenset[int], environment: Environment | None
    ) -> None:
        self.prompt_index = prompt_index
        self.room = room
        self.ends = ends
        self.environment = environment
        self.completion: list[int] = []
        self.by_policy: list[int] = []
        self.pending: deque[int] = deque()
        self.finished = False

    @property
    def open(self) -> bool:
        return not self.finished and len(self.completion) < self.room

    def write(self, sampled: int) -> int:
        """Append the token that was sampled, or the observation's next one instead."""
        forced = bool(self.pending)
        token = self.pending.popleft() if forced else sampled
        self.completion.append(token)
        self.by_policy.append(int(not forced))
        if forced:
            return token
        if token in self.ends:
            self.finished = True
        elif self.environment is not None and token in self.environment.triggers:
            observation = self.environment.respond(self.prompt_index, list(self.completion))
            self.finished = observation is None
            self.pending.extend(observation or [])
        return token


def _decode(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    rows: list[_Row],
    draws: Tensor | None,
    temperature: float,
    room: int,
    device: torch.device,
) -> Tensor:
    """Let all rows write; (B, room) probabilities of what was sampled."""
    probs = torch.ones(len(rows), room, device=device)
    if not rows:
        return probs
    distinct = {tuple(prompt): None for prompt in prompts}
    place = {prompt: index for index, prompt in enumerate(distinct)}
    copies = torch.tensor([place[tuple(prompts[row.prompt_index])] for row in rows], device=device)
    ids, mask = left_padded(list(distinct), 0, device)
    logits = decoder.prefill(ids, mask.bool(), copies, room)[copies]
    batch = torch.arange(len(rows), device=device)
    writing = rows
    for position in range(room):
        uniform = None if draws is None else draws[position, batch]
        tokens, probs[batch, position] = _choose(logits, uniform, temperature)
        sampled = tokens.tolist()
        written = [row.write(t) if row.open else t for row, t in zip(writing, sampled, strict=True)]
        left = [index for index, row in enumerate(writing) if row.open]
        if not left:
            break
        if written != sampled:
            tokens = torch.tensor(written, device=device)
        if len(left) <= COMPACT_BELOW * len(writing):
            kept = torch.tensor(left, device=device)
            decoder.keep(kept)
            batch, tokens = batch[kept], tokens[kept]
            writing = [writing[index] for index in left]
        logits = decoder.step(tokens)
    if not bool(probs.isfinite().all()):
        raise ValueError("model: its logits are not finite")
    return probs


def _choose(logits: Tensor, uniform: Tensor | None, temperature: float) -> tuple[Tensor, Tensor]:
    """Tokens and their probabilities: by inversion of the distribution function, or the best."""
    if temperature != 1:
        logits = (logits - logits.amax(-1, keepdim=True)) / temperature
    probs = logits.softmax(-1)
    if uniform is None:
        tokens = logits.argmax(-1, keepdim=True)
    else:
        cumulative = probs.cumsum(-1)
        targets = uniform[:, None] * cumulative[:, -1:]
        # The bound is for probabilities that are not numbers.
        tokens = torch.searchsorted(cumulative, targets).clamp(max=logits.shape[-1] - 1)
    return tokens[:, 0], probs.gather(-1, tokens)[:, 0]


def _completions(
    rows: list[_Row], probs: Tensor, pad_token_id: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Ids, mask, mask of the policy's tokens, their log-probabilities, and which rows finished."""
    width = max((len(row.completion) for row in rows), default=0)

    def table(lists: list[list[int]], filler: int) -> Tensor:
        padded = [entries + [filler] * (width - len(entries)) for entries in lists]
        return torch.tensor(padded, dtype=torch.long, device=probs.device).view(len(rows), width)

    by_policy = table([row.by_policy for row in rows], 0)
    return (
        table([row.completion for row in rows], pad_token_id),
        table([[1] * len(row.completion) for row in rows], 0),
        by_policy,
        torch.where(by_policy.bool(), probs[:, :width], 1.0).log(),
        torch.tensor([row.finished for row in rows], dtype=torch.bool, device=probs.device),
    )


def left_padded(
    sequences: Sequence[Sequence[int]], pad_token_id: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Token ids and their mask, both (P, L), L the longest sequence."""
    width = max(map(len, sequences), default=0)
    ids = [[pad_token_id] * (width - len(one)) + list(one) for one in sequences]
    mask = [[0] * (width - len(one)) + [1] * len(one) for one in sequences]
    shape = (len(sequences), width)
    return (
        torch.tensor(ids, dtype=torch.long, device=device).view(shape),
        torch.tensor(mask, dtype=torch.long, device=device).view(shape),
    )


def _check(
    model: Any,
    prompts: Sequence[Sequence[int]],
    group_size: int,
    max_new_tokens: int,
    temperature: float,
) -> None:
    for name, size in (("group_size", group_size), ("max_new_tokens", max_new_tokens)):
        if size < 1:
            raise ValueError(f"{name}: {size}, must be at least 1")
    if not temperature > 0:
        raise ValueError(f"temperature: {temperature}, must be positive; greedy is the limit 0")
    vocabulary = model.get_input_embeddings().weight.shape[0]
    context = getattr(model.config, "max_position_embeddings", None)
    for index, prompt in enumerate(prompts):
        if not len(prompt):
            raise ValueError(f"prompts: number {index} is empty")
        if not 0 <= min(prompt) <= max(prompt) < vocabulary:
            raise ValueError(f"prompts: number {index} has a token that the model does not know")
        if context is not None and len(prompt) + max_new_tokens > context:
            raise ValueError(
                f"prompts: number {index} has {len(prompt)} tokens; with {max_new_tokens} new "
                f"ones that is more than the model's context of {context}"
            )

"""Teacher-forced scoring: log-probabilities, entropies and states behind every completion token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class TokenStates:
    """What predicted each completion token.

    Attributes:
        hidden: (B, C, d), the final hidden state (after the last norm) from which token k is read.
        probs: (B, C, V'), next-token probabilities at the sampling temperature, restricted to
            the columns `vocabulary` and not renormalised.
        columns: (B, C), the column of each completion token in `probs`.
        vocabulary: (V',), the token ids of the columns.
    """

    hidden: torch.Tensor
    probs: torch.Tensor
    columns: torch.Tensor
    vocabulary: torch.Tensor


@torch.no_grad()
def token_states(
    model: Any,
    prompt_ids: torch.Tensor,
    prompt_mask: torch.Tensor,
    completion_ids: torch.Tensor,
    completion_mask: torch.Tensor,
    *,
    temperature: float = 1.0,
    rows: int = 16,
) -> TokenStates:
    """Hidden states and distributions that predict each completion token, in one forward pass.

    The vocabulary is restricted to the tokens that occur in the completions (arXiv 2505.18830,
    section 7.4): sliced, not renormalised.

    Args:
        model: a causal language model of transformers.
        prompt_ids: (B, P), left-padded.
        prompt_mask: (B, P), 1 for real tokens.
        completion_ids: (B, C), right-padded.
        completion_mask: (B, C), 1 for real tokens.
        temperature: divides the logits, as in sampling.
        rows: sequences per forward pass.
    """
    ids = torch.cat([prompt_ids, completion_ids], 1)
    mask = torch.cat([prompt_mask, completion_mask], 1)
    head = model.get_output_embeddings()
    hidden, logps = [], []
    for part, part_mask in zip(ids.split(rows), mask.split(rows), strict=True):
        state = model.base_model(input_ids=part, attention_mask=part_mask, use_cache=False)
        state = state.last_hidden_state[:, -completion_ids.shape[1] - 1 : -1]
        logits = head(state).float() / temperature
        chosen = part[:, -completion_ids.shape[1] :, None]
        logps.append(logits.gather(-1, chosen).squeeze(-1) - logits.logsumexp(-1))
        hidden.append(state)
    return states_from_hidden(
        head,
        torch.cat(hidden),
        torch.cat(logps),
        completion_ids,
        completion_mask,
        temperature=temperature,
    )


@torch.no_grad()
def states_from_hidden(
    head: Any,
    hidden: torch.Tensor,
    logps: torch.Tensor,
    completion_ids: torch.Tensor,
    completion_mask: torch.Tensor,
    *,
    temperature: float = 1.0,
) -> TokenStates:
    """The same from a forward pass that was made for something else.

    A token's log-probability gives the normaliser of its distribution, so that only the columns of
    the restricted vocabulary have to be computed.

    Args:
        head: the output layer, (d) to (V).
        hidden: (B, C, d), the final hidden states that predict the completion's tokens.
        logps: (B, C), log-probabilities of these tokens at `temperature`.
        completion_ids: (B, C), right-padded.
        completion_mask: (B, C), 1 for real tokens.
        temperature: divides the logits.
    """
    vocabulary = completion_ids[completion_mask.bool()].unique()
    if not len(vocabulary):
        vocabulary = completion_ids.new_zeros(1)
    columns = torch.searchsorted(vocabulary, completion_ids).clamp(max=len(vocabulary) - 1)
    bias = None if head.bias is None else head.bias[vocabulary]
    logits = torch.nn.functional.linear(hidden.to(head.weight.dtype), head.weight[vocabulary], bias)
    logits = logits.float() / temperature
    log_normaliser = logits.gather(-1, columns[..., None]) - logps.float()[..., None]
    # Padding has no column of its own; what stands there is masked by whoever reads it.
    log_probs = (logits - log_normaliser).masked_fill(
        ~completion_mask.bool()[..., None], -torch.inf
    )
    return TokenStates(hidden.float(), log_probs.exp(), columns, vocabulary)


def score_completions(
    model: Any,
    prompt_ids: torch.Tensor,
    prompt_mask: torch.Tensor,
    completion_ids: torch.Tensor,
    completion_mask: torch.Tensor,
    *,
    temperature: float = 1.0,
    rows: int = 1 << 30,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`logps_and_entropies` of completions behind their prompts, two (B, C).

    Args:
        model: a causal language model of transformers, or a function that stands in for one.
        prompt_ids: (B, P), left-padded.
        prompt_mask: (B, P), 1 for real tokens.
        completion_ids: (B, C), right-padded.
        completion_mask: (B, C), 1 for real tokens.
        temperature: divides the logits, as in sampling.
        rows: sequences per forward pass.
    """
    ids = torch.cat([prompt_ids, completion_ids], 1)
    mask = torch.cat([prompt_mask, completion_mask], 1)
    kept = completion_ids.shape[1]
    parts = [
        logps_and_entropies(model, part, part_mask, kept, temperature=temperature)
        for part, part_mask in zip(ids.split(rows), mask.split(rows), strict=True)
    ]
    logps, entropies = zip(*parts, strict=True)
    return torch.cat(logps), torch.cat(entropies)


def logps_and_entropies(
    model: Any,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    kept: int,
    *,
    temperature: float = 1.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of each of the last `kept` tokens, and the entropy of its distribution.

    Args:
        model: a causal language model of transformers.
        input_ids: (B, T), prompts left-padded, completions right-padded.
        attention_mask: (B, T), 1 for real tokens.
        kept: C, the width of the completions.
        temperature: divides the logits, as in sampling.

    Returns:
        Two (B, C) tensors in nats; the first carries a gradient where gradients are on, the second
        never does.
    """
    outputs = model(
        input_ids=input_ids,
        attention_mask=attention_mask,
        logits_to_keep=kept + 1,
        use_cache=False,
    )
    log_probs = (outputs.logits[:, :-1].float() / temperature).log_softmax(-1)
    chosen = log_probs.gather(-1, input_ids[:, -kept:, None]).squeeze(-1)
    with torch.no_grad():
        entropies = -(log_probs.exp() * log_probs).sum(-1)
    return chosen, entropies

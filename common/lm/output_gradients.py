r"""Gradients of log-likelihoods with respect to the output matrix, from one forward pass.

With the last hidden states $h_t$ (after the final norm), the next-token distributions $p_t$ and the
prediction errors $e_t = \mathbf 1_{y_t} - p_t$ of a sample's tokens, the gradient of its summed
log-likelihood with respect to the output matrix is

$$G = \sum_t e_t h_t^\top \in \mathbb R^{V\times d},\qquad
\langle G_v, G_i\rangle = \sum_{k,t}\langle e^v_k, e^i_t\rangle\langle h^v_k, h^i_t\rangle,$$

the score of training sample i for validation sample v (arXiv 2508.10180, equation 1). Input
embeddings that share the matrix are left out. Rows of G can be restricted to a vocabulary:
probabilities stay exact and are not renormalised. Nothing of size (B, T, V) is ever held.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

CHUNK = 2**24
"""Largest number of entries of an intermediate result that are held at once."""


@dataclass(frozen=True)
class OutputGradients:
    r"""The factors of the gradients of B samples, one row for every token that counts.

    Attributes:
        hidden: (N, d), the states that predict the tokens.
        errors: (N, U), the prediction errors, in columns of `vocabulary`.
        logps: (N,), log-probabilities of the tokens, in nats.
        samples: (N,), which sample a token belongs to.
        positions: (N,), where the token stands in its sample.
        vocabulary: (U,), ascending token ids.
        size: B; a sample without a token has a gradient of zero.
    """

    hidden: Tensor
    errors: Tensor
    logps: Tensor
    samples: Tensor
    positions: Tensor
    vocabulary: Tensor
    size: int

    def tokens(self, chosen: Tensor) -> OutputGradients:
        """The same samples with some of their tokens: (N,) booleans, or indices."""
        parts = ("hidden", "errors", "logps", "samples", "positions")
        return replace(self, **{part: getattr(self, part)[chosen] for part in parts})

    def where(self, mask: Tensor) -> OutputGradients:
        """Without the tokens at which `mask`, (B, T), is 0."""
        return self.tokens(mask.bool()[self.samples, self.positions])

    def rows(self, index: Tensor) -> OutputGradients:
        """Some of the samples, (M,) distinct indices, in this order."""
        place = torch.full((self.size,), -1, device=self.samples.device)
        place[index] = torch.arange(len(index), device=place.device)
        chosen = self.tokens(place[self.samples] >= 0)
        return replace(chosen, samples=place[chosen.samples], size=len(index))

    def matrices(self) -> Tensor:
        """G of every sample, (B, U, d)."""
        dtype = precision(self.hidden)
        result = self.hidden.new_zeros(
            (self.size, self.errors.shape[1], self.hidden.shape[1]), dtype=dtype
        )
        for sample in range(self.size):
            own = self.samples == sample
            result[sample] = self.errors[own].to(dtype).T @ self.hidden[own].to(dtype)
        return result


def label_mask(attention_mask: Tensor, *, padded_position: bool = False) -> Tensor:
    """The tokens of a text that are predicted: all but the first.

    Args:
        attention_mask: (B, T), padded on the right.
        padded_position: also count the first padding token of a row, as the official code of arXiv
            2508.10180 does (it masks by what predicts, not by what is predicted). The longest row
            of a batch has none, so scores then depend on what is batched together.

    Returns:
        (B, T), 1 for the tokens that count.
    """
    first = attention_mask[:, :1] * 0
    before = torch.cat([first, attention_mask[:, :-1]], 1)
    return before if padded_position else before * attention_mask


@torch.no_grad()
def output_gradients(
    model: Any,
    input_ids: Tensor,
    attention_mask: Tensor,
    labels: Tensor,
    *,
    vocabulary: Tensor | None = None,
    top_k: int | None = None,
    batch_size: int = 16,
) -> OutputGradients:
    """The gradients' factors of many samples; samples of like length share a forward pass.

    Args:
        model: a causal language model of transformers whose logits are its output layer's.
        input_ids: (B, T), padded on the right.
        attention_mask: (B, T), 1 for real tokens.
        labels: (B, T), 1 for the tokens whose log-likelihood counts; the first is never counted.
        vocabulary: the token ids to which errors are restricted; by default those of `input_ids`
            that count.
        top_k: instead, the union over positions of the k most probable next tokens.
        batch_size: samples per forward pass.

    Raises:
        ValueError: the shapes differ, padding is not on the right, `vocabulary` and `top_k` are
            both given, a number is not positive, or the logits are no plain output layer
            (soft-capping, scaling).
    """
    _check(model, input_ids, attention_mask, labels)
    if vocabulary is not None and top_k is not None:
        raise ValueError("vocabulary: cannot be given together with top_k")
    for name, number in (("batch_size", batch_size), ("top_k", top_k)):
        if number is not None and number < 1:
            raise ValueError(f"{name}: {number} is not positive")
    counted = labels.bool().clone()
    counted[:, :1] = False
    # The last token that counts may be the first of the padding.
    reach = counted.int().cumsum(1).argmax(1) + 1 if counted.numel() else attention_mask.sum(1)
    lengths = torch.maximum(attention_mask.sum(1), reach)
    batches = lengths.argsort(descending=True, stable=True).split(batch_size)
    parts = [
        _token_factors(model, input_ids, attention_mask, counted, index, lengths, top_k)
        for index in (batches if input_ids.numel() else ())
    ]
    columns = zip(_no_tokens(model, input_ids), *parts, strict=True)
    hidden, log_normaliser, tokens, samples, positions, likely = map(torch.cat, columns)
    if vocabulary is None:
        vocabulary = tokens if top_k is None else likely
    vocabulary = vocabulary.to(tokens.device).unique()
    errors, logps = _errors(
        model.get_output_embeddings(), hidden, log_normaliser, tokens, vocabulary
    )
    found = OutputGradients(hidden, errors, logps, samples, positions, vocabulary, len(input_ids))
    return found.tokens((samples * max(input_ids.shape[1], 1) + positions).argsort())


def lowest_likelihood(gradients: OutputGradients, keep_ratio: float) -> OutputGradients:
    r"""Only the ⌈r n⌉ least likely tokens of every sample; ties go to the earlier token.

    The paper does this on the training side alone.

    Raises:
        ValueError: `keep_ratio` is outside (0, 1].
    """
    if not 0 < keep_ratio <= 1:
        raise ValueError(f"keep_ratio: {keep_ratio} is no share in (0, 1]")
    order = gradients.logps.argsort(stable=True)
    order = order[gradients.samples[order].argsort(stable=True)]
    counts = torch.bincount(gradients.samples, minlength=gradients.size)
    starts = (counts.cumsum(0) - counts)[gradients.samples[order]]
    ranks = torch.arange(len(order), device=order.device) - starts
    # Rounded first: 0.1 · 30 is a little more than 3 in binary.
    kept = [math.ceil(round(keep_ratio * n, 9)) for n in counts.tolist()]
    allowed = torch.tensor(kept, device=order.device)[gradients.samples[order]]
    return gradients.tokens(order[ranks < allowed].sort().values)


def _token_factors(
    model: Any,
    input_ids: Tensor,
    attention_mask: Tensor,
    counted: Tensor,
    index: Tensor,
    lengths: Tensor,
    top_k: int | None,
) -> tuple[Tensor, ...]:
    """States, log-normalisers, tokens, samples, positions and likely tokens of some samples."""
    width = max(int(lengths[index].max()), 1)
    ids, mask, chosen = (x[index, :width] for x in (input_ids, attention_mask, counted))
    head = model.get_output_embeddings()
    states = model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    row, position = chosen.nonzero(as_tuple=True)
    hidden = states[row, position - 1]
    normalisers, likely = [hidden.new_zeros(0, dtype=precision(hidden))], [ids.new_zeros(0)]
    for some in hidden.split(max(CHUNK // head.weight.shape[0], 1)):
        logits = head(some).to(precision(hidden))
        normalisers.append(logits.logsumexp(-1))
        if top_k is not None:
            likely.append(logits.topk(top_k).indices.unique())
    return (
        hidden,
        torch.cat(normalisers),
        ids[row, position],
        index[row],
        position,
        torch.cat(likely),
    )


def _no_tokens(model: Any, input_ids: Tensor) -> tuple[Tensor, ...]:
    """What `_token_factors` gives for no sample."""
    weight = model.get_output_embeddings().weight
    none = input_ids.new_zeros(0)
    normaliser = weight.new_zeros(0, dtype=precision(weight))
    return weight.new_zeros(0, weight.shape[1]), normaliser, none, none, none, none


def _errors(
    head: Any, hidden: Tensor, log_normaliser: Tensor, tokens: Tensor, vocabulary: Tensor
) -> tuple[Tensor, Tensor]:
    """Prediction errors (N, U) and log-probabilities (N,) of the tokens."""
    dtype = precision(hidden)
    weight, bias = head.weight, head.bias
    own = (hidden.to(dtype) * weight[tokens].to(dtype)).sum(-1)
    own = own if bias is None else own + bias[tokens]
    part = None if bias is None else bias[vocabulary]
    logits = torch.nn.functional.linear(hidden, weight[vocabulary], part).to(dtype)
    errors = -(logits - log_normaliser.unsqueeze(1)).exp()
    column = torch.searchsorted(vocabulary, tokens).clamp(max=max(len(vocabulary) - 1, 0))
    if len(vocabulary):
        inside = (vocabulary[column] == tokens).to(dtype)
        errors.scatter_add_(1, column.unsqueeze(1), inside.unsqueeze(1))
    return errors, own - log_normaliser


def _check(model: Any, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> None:
    if not input_ids.shape == attention_mask.shape == labels.shape:
        raise ValueError(
            f"labels: input_ids {tuple(input_ids.shape)}, attention_mask "
            f"{tuple(attention_mask.shape)} and labels {tuple(labels.shape)} differ"
        )
    if bool((attention_mask[:, 1:] > attention_mask[:, :-1]).any()):
        raise ValueError("attention_mask: rows must be padded on the right")
    if not input_ids.numel():
        return
    ids = input_ids[:1, :2]
    seen: list[Any] = []
    hook = model.base_model.register_forward_hook(lambda *call: seen.append(call[-1]))
    try:
        logits = model(input_ids=ids, use_cache=False).logits
    finally:
        hook.remove()
    plain = model.get_output_embeddings()(seen[0].last_hidden_state)
    if not torch.allclose(plain.to(logits.dtype), logits, rtol=1e-3, atol=1e-3):
        raise ValueError(
            "model: its logits are not output layer times last hidden state (soft-capped or scaled)"
        )


def precision(values: Tensor) -> torch.dtype:
    """Float32, or float64 if the values are; everything here is computed in it."""
    return torch.promote_types(values.dtype, torch.float32)

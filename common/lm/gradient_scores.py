r"""Scores of training samples for validation samples, from gradients of the output matrix.

$\langle G_v, G_i\rangle = \sum_{k,t}\langle e^v_k, e^i_t\rangle\langle h^v_k, h^i_t\rangle$
(arXiv 2508.10180, equation 1) and what it is compared with there.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from common.lm.output_gradients import CHUNK, OutputGradients, precision


def scores(
    validation: OutputGradients, training: OutputGradients, *, cosine: bool = False
) -> Tensor:
    r"""$\langle G_v, G_i\rangle$ for all pairs, on the vocabulary that both sides have.

    Either through matrices G or through pairs of tokens, whichever needs fewer operations.

    Args:
        validation: n_val samples.
        training: n_train samples.
        cosine: divide by the norms of both; a gradient of zero scores 0.

    Returns:
        (n_val, n_train), larger is more helpful; all 0 without a common vocabulary.
    """
    left, right = _common(validation, training)
    entries = left.errors.shape[1] * left.hidden.shape[1]
    # Every block of validation samples builds the training samples' matrices anew.
    blocks = -(-left.size * entries // CHUNK)
    matrices = entries * (len(left.logps) + blocks * len(right.logps) + left.size * right.size)
    pairs = len(left.logps) * len(right.logps) * (left.errors.shape[1] + left.hidden.shape[1])
    found = _by_matrices(left, right, entries) if matrices < pairs else _pairwise(left, right)
    if cosine:
        norms = [squared_norms(side).to(found).clamp(min=0).sqrt() for side in (left, right)]
        size = norms[0].unsqueeze(1) * norms[1]
        found = (found / size.where(size > 0, 1)).masked_fill(size == 0, 0)
    return found


def squared_norms(gradients: OutputGradients) -> Tensor:
    """Squared Frobenius norm of every sample's G, (B,)."""
    found = []
    for sample in range(gradients.size):
        one = gradients.tokens(gradients.samples == sample)
        one = replace(one, samples=torch.zeros_like(one.samples), size=1)
        found.append(_pairwise(one, one)[0])
    return torch.cat([gradients.logps[:0], *found])


def product_of_sums(validation: OutputGradients, training: OutputGradients) -> Tensor:
    r"""$\langle\sum_k h^v_k, \sum_t h^i_t\rangle\langle\sum_k e^v_k, \sum_t e^i_t\rangle$.

    The official code's cheaper stand-in for `scores`, (n_val, n_train).
    """
    left, right = _common(validation, training)
    states, errors = ([_sums(x, side) for side in (left, right)] for x in ("hidden", "errors"))
    return (states[0] @ states[1].T) * (errors[0] @ errors[1].T)


def state_scores(validation: OutputGradients, training: OutputGradients) -> Tensor:
    r"""$\langle\sum_k h^v_k, \sum_t h^i_t\rangle$: the score without prediction errors."""
    return _sums("hidden", validation) @ _sums("hidden", training).T


def _pairwise(left: OutputGradients, right: OutputGradients) -> Tensor:
    """Scores from pairs of tokens, (left.size, right.size)."""
    dtype = precision(left.hidden)
    result = left.hidden.new_zeros(left.size, right.size, dtype=dtype)
    hidden, errors = left.hidden.to(dtype), left.errors.to(dtype)
    at_once = max(CHUNK // max(len(hidden), 1), 1)
    for chosen in torch.arange(len(right.logps), device=hidden.device).split(at_once):
        kernel = errors @ right.errors[chosen].to(dtype).T
        kernel *= hidden @ right.hidden[chosen].to(dtype).T
        by_sample = kernel.new_zeros(left.size, len(chosen)).index_add_(0, left.samples, kernel)
        result.index_add_(1, right.samples[chosen], by_sample)
    return result


def _by_matrices(left: OutputGradients, right: OutputGradients, entries: int) -> Tensor:
    """Scores from matrices G of some samples at a time."""
    at_once = max(CHUNK // max(entries, 1), 1)
    blocks = [
        torch.arange(side.size, device=side.samples.device).split(at_once) for side in (left, right)
    ]
    rows = []
    for some in blocks[0]:
        own = left.rows(some).matrices().flatten(1)
        rows.append(
            torch.cat([own @ right.rows(others).matrices().flatten(1).T for others in blocks[1]], 1)
        )
    return torch.cat(rows)


def _common(a: OutputGradients, b: OutputGradients) -> tuple[OutputGradients, OutputGradients]:
    """Both on the intersection of their vocabularies."""
    if a.vocabulary.equal(b.vocabulary):
        return a, b
    shared = a.vocabulary[torch.isin(a.vocabulary, b.vocabulary)]

    def restricted(one: OutputGradients) -> OutputGradients:
        columns = torch.searchsorted(one.vocabulary, shared)
        return replace(one, errors=one.errors[:, columns], vocabulary=shared)

    return restricted(a), restricted(b)


def _sums(name: str, gradients: OutputGradients) -> Tensor:
    """Sums over the tokens of every sample, (B, n)."""
    values = getattr(gradients, name)
    values = values.to(precision(values))
    return values.new_zeros(gradients.size, values.shape[1]).index_add_(
        0, gradients.samples, values
    )

"""The true change of log-likelihoods after one step on one training sample."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch
from torch import Tensor

from papers.for_value.lora_gradients import token_losses
from papers.for_value.texts import Batch, Positions


def step_changes(
    model: Any,
    training: Batch,
    validation: Batch,
    learning_rate: float,
    positions: Positions = "full",
) -> pd.DataFrame:
    """What one step of plain SGD on every training sample does to every validation sample.

    A step follows the gradient of the sample's summed log-likelihood. The model is left as it was.

    Args:
        model: a causal language model; all its parameters are trained.
        training: n_train rows.
        validation: n_val rows; their gradients are held, n_val times the model's size.
        learning_rate: small enough for a change of first order.
        positions: which tokens count, on both sides.

    Returns:
        One row per pair, with the columns validation, training, whole and head (the change of the
        validation sample's summed log-likelihood, in nats, after a step of the whole model or of
        an output matrix of its own), and gradient_dot (inner product of whole gradients).
    """
    model.requires_grad_(True).eval()
    parameters = list(model.parameters())
    before = [parameter.detach().clone() for parameter in parameters]
    targets = [_gradient(model, validation.rows([v]), positions) for v in range(len(validation))]
    start = _sums(model, validation, positions)
    whole, dots = [], []
    for sample in range(len(training)):
        gradient = _gradient(model, training.rows([sample]), positions)
        dots.append(torch.stack([_dot(target, gradient) for target in targets]))
        with torch.no_grad():
            torch._foreach_add_(parameters, gradient, alpha=learning_rate)
            whole.append(_sums(model, validation, positions) - start)
            torch._foreach_copy_(parameters, before)
    measured = {
        "whole": torch.stack(whole, 1),
        "head": head_changes(model, training, validation, learning_rate, positions),
        "gradient_dot": torch.stack(dots, 1),
    }
    return pair_table(measured)


def head_changes(
    model: Any,
    training: Batch,
    validation: Batch,
    learning_rate: float,
    positions: Positions = "full",
) -> Tensor:
    """The same for steps of the output matrix alone, (n_val, n_train).

    The matrix is a copy: where input embeddings share it, they stay, and so do all states.
    """
    weight = model.get_output_embeddings().weight.detach().clone().requires_grad_(True)
    targets = _states(model, validation, positions)
    start = _log_likelihoods(weight, *targets, len(validation)).detach()
    changes = []
    for sample in range(len(training)):
        states = _states(model, training.rows([sample]), positions)
        (gradient,) = torch.autograd.grad(_log_likelihoods(weight, *states, 1).sum(), weight)
        with torch.no_grad():
            moved = weight + learning_rate * gradient
            changes.append(_log_likelihoods(moved, *targets, len(validation)) - start)
    return torch.stack(changes, 1)


def pair_table(measured: dict[str, Tensor]) -> pd.DataFrame:
    """Matrices (n_val, n_train) as columns, one row per pair."""
    shape = next(iter(measured.values())).shape
    validation, training = torch.meshgrid(*map(torch.arange, shape), indexing="ij")
    columns = {"validation": validation, "training": training} | measured
    return pd.DataFrame({name: values.flatten().tolist() for name, values in columns.items()})


def rank_agreement(pairs: pd.DataFrame, scores: list[str], truths: list[str]) -> pd.DataFrame:
    """Spearman's correlation over training samples, mean over validation samples.

    Args:
        pairs: one row per pair of samples, with a column per score and per truth.
        scores: columns to correlate with each of `truths`.
        truths: columns.

    Returns:
        Columns trained (the truth's name), score, spearman; 0 where either side does not vary.
    """
    rows = []
    for truth in truths:
        for score in scores:
            found = pd.Series(
                one[score].rank().corr(one[truth].rank()) for _, one in pairs.groupby("validation")
            )
            rows.append((truth, score, float(found.fillna(0).mean())))
    return pd.DataFrame(rows, columns=["trained", "score", "spearman"])


def _gradient(model: Any, batch: Batch, positions: Positions) -> tuple[Tensor, ...]:
    """Of the summed log-likelihood, one tensor per parameter."""
    total = -(token_losses(model, batch) * batch.labels(positions)).sum()
    return torch.autograd.grad(total, list(model.parameters()))


def _dot(left: tuple[Tensor, ...], right: tuple[Tensor, ...]) -> Tensor:
    return torch.stack([(a * b).sum() for a, b in zip(left, right, strict=True)]).sum()


@torch.no_grad()
def _sums(model: Any, batch: Batch, positions: Positions) -> Tensor:
    """Summed log-likelihoods, (B,)."""
    return -(token_losses(model, batch) * batch.labels(positions)).sum(1)


@torch.no_grad()
def _states(model: Any, batch: Batch, positions: Positions) -> tuple[Tensor, Tensor, Tensor]:
    """States (N, d), the tokens (N,) that they predict, and the samples (N,) of these."""
    states = model.base_model(
        input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False
    ).last_hidden_state
    row, place = batch.labels(positions).nonzero(as_tuple=True)
    return states[row, place - 1], batch.input_ids[row, place], row


def _log_likelihoods(
    weight: Tensor, states: Tensor, tokens: Tensor, samples: Tensor, count: int
) -> Tensor:
    """Sums over the tokens of `count` samples, (count,)."""
    losses = torch.nn.functional.cross_entropy(states @ weight.T, tokens, reduction="none")
    return losses.new_zeros(count).index_add(0, samples, -losses)

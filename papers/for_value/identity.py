"""The score from states and errors against inner products of autograd's gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from common.lm.gradient_scores import scores
from common.lm.output_gradients import label_mask, output_gradients
from papers.for_value.models import scorer
from papers.for_value.tasks import draw
from papers.for_value.texts import Batch, encode

PRECISIONS = {"float32": torch.float32, "float64": torch.float64}


def measure(seeds: list[int], per_class: int) -> pd.DataFrame:
    """Largest error over all pairs of samples, by seed and precision.

    `error` is relative to the product of both gradients' norms, `error_of_score` to the score.
    The output matrix is untied, and the vocabulary is whole.
    """
    rows = []
    for seed in seeds:
        samples = draw("math", per_class, np.random.default_rng(seed))
        for precision, dtype in PRECISIONS.items():
            model, tokenizer = scorer("small", samples, seed)
            model = model.to(dtype)
            batch = encode(tokenizer, samples)
            exact = _autograd(model, batch)
            found = output_gradients(
                model,
                batch.input_ids,
                batch.attention_mask,
                label_mask(batch.attention_mask),
                vocabulary=torch.arange(len(tokenizer)),
            )
            expected = exact @ exact.T
            apart = (scores(found, found) - expected).abs().double()
            norms = exact.norm(dim=1).double()
            errors = {
                "error": float((apart / (norms[:, None] * norms)).max()),
                "error_of_score": float((apart / expected.abs().double()).max()),
            }
            rows.append({"seed": seed, "precision": precision, **errors})
    return pd.DataFrame(rows)


def _autograd(model: Any, batch: Batch) -> Tensor:
    """Gradient of every sample's log-likelihood by the output matrix, flattened, (B, V·d)."""
    weight = model.get_output_embeddings().weight
    found = []
    for row in range(len(batch)):
        one = batch.rows([row])
        logits = model(input_ids=one.input_ids, attention_mask=one.attention_mask).logits
        losses = torch.nn.functional.cross_entropy(
            logits[0, :-1], one.input_ids[0, 1:], reduction="sum"
        )
        found.append(-torch.autograd.grad(losses, weight)[0].flatten())
    return torch.stack(found)

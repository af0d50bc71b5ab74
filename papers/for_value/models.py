"""The model that scores, and how it is adapted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from common.lm.load import load
from common.lm.output_gradients import OutputGradients, output_gradients
from common.lm.small import small_decoder, word_tokenizer
from common.lm.supervised import Example, fine_tune
from papers.for_value.texts import Batch, Sample, encode


def scorer(name: str, samples: Sequence[Sample], seed: int, device: str = "cpu") -> tuple[Any, Any]:
    """A model and its tokenizer.

    Args:
        name: `small` for a decoder with random weights that knows the words of `samples` alone,
            else a bundled model or a hub id.
        samples: all texts that will be read.
        seed: of the random weights.
        device: where the model stands, and all that it reads.
    """
    model: Any
    if name != "small":
        model, tokenizer = load(name, padding_side="right")
        return model.to(device).eval(), tokenizer
    words = sorted({word for s in samples for word in (s.prompt + s.answer).split()})
    tokenizer = word_tokenizer(words)
    model = small_decoder(tokenizer, layers=1, width=16, heads=2, seed=seed)
    return model.to(device).eval(), tokenizer


@dataclass(frozen=True)
class Adaptation:
    """A short supervised fine-tuning on prompts with answers; only answers are learned."""

    steps: int
    batch_size: int
    learning_rate: float


def adapt(
    model: Any, tokenizer: Any, samples: Sequence[Sample], plan: Adaptation, seed: int
) -> None:
    """Fine-tune the model in place."""
    examples = [
        Example(
            tokenizer.encode(sample.prompt, add_special_tokens=False),
            tokenizer.encode(sample.answer, add_special_tokens=False),
        )
        for sample in samples
    ]
    fine_tune(
        model,
        examples,
        steps=plan.steps,
        batch_size=plan.batch_size,
        learning_rate=plan.learning_rate,
        warmup_steps=2,
        seed=seed,
    )
    model.eval()


@torch.no_grad()
def answer_loss(model: Any, tokenizer: Any, samples: Sequence[Sample]) -> float:
    """Mean cross-entropy of the answers' tokens, in nats."""
    batch = encode(tokenizer, samples, model.device)
    found = output_gradients(
        model,
        batch.input_ids,
        batch.attention_mask,
        batch.labels("response"),
        vocabulary=batch.input_ids.new_zeros(0),
    )
    return -float(found.logps.mean())


@dataclass(frozen=True)
class Scored:
    """One forward pass over some samples.

    Attributes:
        everything: factors of all positions, the official code's extra one included.
        full: without it.
        response: the answers' tokens alone.
        last: (B, d), the last token's state.
        mean: (B, d), the mean state.
    """

    everything: OutputGradients
    full: OutputGradients
    response: OutputGradients
    last: torch.Tensor
    mean: torch.Tensor

    def at(self, positions: str) -> OutputGradients:
        """The factors at `full`, `response` or `official` positions."""
        parts = {"full": self.full, "response": self.response, "official": self.everything}
        return parts[positions]


def score_inputs(
    model: Any, tokenizer: Any, samples: Sequence[Sample], vocabulary: torch.Tensor
) -> Scored:
    """States and errors of all samples, in one pass over each."""
    plain = encode(tokenizer, samples, model.device)
    # One more column, so that the state of every last token is among those that predict.
    wide = Batch(
        torch.nn.functional.pad(plain.input_ids, (0, 1), value=tokenizer.pad_token_id),
        torch.nn.functional.pad(plain.attention_mask, (0, 1)),
        torch.nn.functional.pad(plain.response_mask, (0, 1)),
    )
    lengths = plain.attention_mask.sum(1, keepdim=True)
    places = torch.arange(wide.input_ids.shape[1], device=model.device)
    counted = (places <= lengths).long()
    found = output_gradients(
        model, wide.input_ids, wide.attention_mask, counted, vocabulary=vocabulary
    )
    last = found.where(places == lengths).hidden
    sums = found.hidden.new_zeros(len(samples), found.hidden.shape[1])
    mean = sums.index_add_(0, found.samples, found.hidden) / lengths
    full, response = (found.where(wide.labels(where)) for where in ("full", "response"))
    return Scored(found, full, response, last, mean)


def vocabulary_of(tokenizer: Any, *parts: Sequence[Sample]) -> torch.Tensor:
    """The tokens that occur in the texts, ascending: the official code's `total_unique`."""
    batches = [encode(tokenizer, samples) for samples in parts]
    return torch.cat([batch.input_ids[batch.attention_mask.bool()] for batch in batches]).unique()

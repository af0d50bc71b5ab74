"""Step-by-step decoding of causal language models: a prompt is read once, then single tokens."""

from __future__ import annotations

import inspect
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.func import functional_call

from common.grpo.sampling.decoding_llama import LlamaDecoder, is_llama_type

LARGE = 30_000_000  # parameters from which reading the weights costs more than starting operations


class Decoder(Protocol):
    """A model with a cache for a number of rows that grow in lockstep."""

    def prefill(self, ids: Tensor, mask: Tensor, copies: Tensor, room: int) -> Tensor:
        """Read (P, L) left-padded prompts; row r continues prompt `copies[r]`; (P, V) logits."""
        ...

    def step(self, tokens: Tensor) -> Tensor:
        """Append one token to every row; (R,) ids -> (R, V) logits in float32."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Forget all rows but these, (R',) indices."""
        ...


class ForwardDecoder:
    """Decoding through the model's own forward, with transformers' growing cache.

    Args:
        model: a causal language model of transformers, in evaluation mode.
        dtype: of weights, activations and cache.
    """

    def __init__(self, model: Any, dtype: torch.dtype) -> None:
        self.model = model
        accepted = inspect.signature(model.forward).parameters
        self.takes_positions = "position_ids" in accepted
        self.options = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
        self.cast = {
            name: parameter.detach().to(dtype)
            for name, parameter in model.named_parameters()
            if parameter.is_floating_point() and parameter.dtype != dtype
        }

    def prefill(self, ids: Tensor, mask: Tensor, copies: Tensor, room: int) -> Tensor:
        """Read (P, L) left-padded prompts; row r continues prompt `copies[r]`; (P, V) logits."""
        from transformers import DynamicCache

        self.cache = DynamicCache(config=self.model.config)
        self.mask = mask.long()
        positions = (self.mask.cumsum(1) - 1).clamp(min=0)
        logits = self._forward(ids, positions)
        self.positions = positions[:, -1]
        self.keep(copies)
        return logits

    def step(self, tokens: Tensor) -> Tensor:
        """Append one token to every row; (R,) ids -> (R, V) logits in float32."""
        self.positions = self.positions + 1
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], 1)
        return self._forward(tokens[:, None], self.positions[:, None])

    def keep(self, rows: Tensor) -> None:
        """Forget all rows but these, (R',) indices."""
        self.cache.batch_select_indices(rows)
        self.positions = self.positions[rows]
        self.mask = self.mask[rows]

    def _forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        inputs: dict[str, Any] = {
            "input_ids": ids,
            "attention_mask": self.mask,
            "past_key_values": self.cache,
            "use_cache": True,
            **self.options,
        }
        if self.takes_positions:
            inputs["position_ids"] = positions
        logits = functional_call(self.model, self.cast, kwargs=inputs).logits
        return logits[:, -1].float()


def decoder_for(model: Any, dtype: torch.dtype) -> Decoder:
    """The fast decoder for Llama-type models, the model's own forward for all others."""
    return (LlamaDecoder if is_llama_type(model) else ForwardDecoder)(model, dtype)


def sampling_dtype(model: torch.nn.Module) -> torch.dtype:
    """bfloat16 for a large float32 model on a device with fast bfloat16, else the model's dtype."""
    first = next(model.parameters())
    large = sum(parameter.numel() for parameter in model.parameters()) >= LARGE
    if first.dtype == torch.float32 and large and has_fast_bfloat16(first.device):
        return torch.bfloat16
    return first.dtype


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 are native on the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()

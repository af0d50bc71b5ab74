"""Decoding of Llama-type models with as few operations per token as plain PyTorch allows.

For a small model the price of a decoding step is its number of operations, for a large one the
reading of its weights. So the projections of queries, keys and values are one matrix, gate and up
projection another; the gains of the norms are multiplied into them; rotary embedding is one
complex product, for which the rows of the query and key projections are put in pairs; residual
sums happen inside the matrix product; only last positions get logits; and on the processor what is
not a matrix product is done by compiled kernels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.grpo.sampling.decoding_attention import KernelAttention, TensorAttention

FULL_ATTENTION = {"full_attention"}
# Their frequencies do not change with the length of the sequence.
ROPE_TYPES = {"default", "linear", "llama3", "yarn"}


@dataclass(frozen=True)
class Layer:
    """Weights of one layer: (out, in) matrices, biases or None."""

    qkv: Tensor
    qkv_bias: Tensor | None
    output: Tensor
    output_bias: Tensor | None
    gate_up: Tensor
    gate_up_bias: Tensor | None
    down: Tensor
    down_bias: Tensor | None


def is_llama_type(model: nn.Module) -> bool:
    """Whether `LlamaDecoder` computes what the model's own forward does.

    Llama, Mistral and Qwen2 of transformers with unquantised linear layers, no sliding window,
    rotary frequencies that do not depend on the length, and no hooks.
    """
    from transformers import LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM

    if type(model) not in (LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM):
        return False
    config: Any = model.config
    layer_types = getattr(config, "layer_types", None) or ["full_attention"]
    sliding = type(model) is MistralForCausalLM and config.sliding_window is not None
    projections = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    modules = dict(model.named_modules())
    return (
        not sliding
        and set(layer_types) <= FULL_ATTENTION
        and config.rope_parameters["rope_type"] in ROPE_TYPES
        and all(
            type(module) is nn.Linear
            for name, module in modules.items()
            if name.rpartition(".")[2] in (*projections, "lm_head")
        )
        and not any(
            module._forward_hooks or module._forward_pre_hooks for module in modules.values()
        )
    )


class LlamaDecoder:
    """Prefill and decoding steps of a Llama-type model over a preallocated cache.

    The weights are copied from the model on construction: a decoder serves one policy.

    Args:
        model: one that `is_llama_type` accepts.
        dtype: of weights, activations and cache.
    """

    def __init__(self, model: Any, dtype: torch.dtype) -> None:
        config = model.config
        self.heads: int = config.num_attention_heads
        self.kv_heads: int = config.num_key_value_heads
        self.head_dim: int = model.model.layers[0].self_attn.head_dim
        self.eps: float = config.rms_norm_eps
        self.act = model.model.layers[0].mlp.act_fn
        self.silu = config.hidden_act == "silu"
        on_processor = model.lm_head.weight.device.type == "cpu"
        self.kernels: Any = None
        if on_processor and dtype == torch.float32 and self.head_dim % 4 == 0:
            from common.grpo.sampling import decoding_kernels

            self.kernels = decoding_kernels
        self.rotary = model.model.rotary_emb
        self.dtype = dtype
        self.embedding = model.model.embed_tokens.weight.detach().to(dtype)
        self.layers = [self._layer(layer) for layer in model.model.layers]
        norm = model.model.norm.weight.detach()
        self.head = (model.lm_head.weight.detach() * norm).to(dtype)

    def _layer(self, layer: Any) -> Layer:
        attention, mlp = layer.self_attn, layer.mlp
        q, k = (self._paired(p.weight) for p in (attention.q_proj, attention.k_proj))
        before = layer.input_layernorm.weight
        after = layer.post_attention_layernorm.weight

        def bias(*tensors: Tensor | None) -> Tensor | None:
            given = [t for t in tensors if t is not None]
            return torch.cat(given).detach().to(self.dtype) if given else None

        def weight(tensor: Tensor) -> Tensor:
            return tensor.detach().to(self.dtype)

        q_bias, k_bias = (
            None if p.bias is None else self._paired(p.bias[:, None])[:, 0]
            for p in (attention.q_proj, attention.k_proj)
        )
        return Layer(
            weight(torch.cat([q, k, attention.v_proj.weight]) * before),
            bias(q_bias, k_bias, attention.v_proj.bias),
            weight(attention.o_proj.weight),
            bias(attention.o_proj.bias),
            weight(torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]) * after),
            bias(mlp.gate_proj.bias, mlp.up_proj.bias),
            weight(mlp.down_proj.weight),
            bias(mlp.down_proj.bias),
        )

    def _paired(self, weight: Tensor) -> Tensor:
        """Rows i and i + d/2 of every head, which rotate together, side by side."""
        halves = weight.unflatten(0, (-1, 2, self.head_dim // 2))
        return halves.transpose(1, 2).reshape(weight.shape)

    def prefill(self, ids: Tensor, mask: Tensor, copies: Tensor, room: int) -> Tensor:
        """Read left-padded prompts, which the rows continue.

        Args:
            ids: (P, L).
            mask: (P, L), true for real tokens.
            copies: (R,), the prompt that each row continues.
            room: number of tokens that the rows may grow by.

        Returns:
            (P, V) next-token logits.
        """
        kind = KernelAttention if self.kernels else TensorAttention
        rotations = self._rotations(ids.shape[1] + room, ids.device)
        self.attention = kind(self.heads, self.kv_heads, rotations, mask, self.dtype)
        x = self.embedding[ids.flatten()]
        for layer in self.layers:
            qkv = F.linear(self._normalise(x), layer.qkv, layer.qkv_bias)
            attended = self.attention.read_prompts(qkv.view(*ids.shape, -1, self.head_dim))
            x = self._finish(layer, x, attended)
        self.attention.begin(copies, room)
        return self._logits(x.view(*ids.shape, -1)[:, -1].contiguous())

    def step(self, tokens: Tensor) -> Tensor:
        """Append one token to every row; (R,) ids -> (R, V) next-token logits."""
        x = self.embedding.index_select(0, tokens)
        self.attention.next_token()
        for index, layer in enumerate(self.layers):
            qkv = F.linear(self._normalise(x), layer.qkv, layer.qkv_bias)
            attended = self.attention.step(index, qkv.view(len(tokens), -1, self.head_dim))
            x = self._finish(layer, x, attended)
        return self._logits(x)

    def keep(self, rows: Tensor) -> None:
        """Forget all rows but these, (R',) indices, which take this order."""
        self.attention.keep(rows)

    def _finish(self, layer: Layer, x: Tensor, attended: Tensor) -> Tensor:
        """What follows attention in a layer; x (N, d), attended (..., H, D)."""
        x = _add(x, attended.reshape(len(x), -1), layer.output, layer.output_bias)
        gate_up = F.linear(self._normalise(x), layer.gate_up, layer.gate_up_bias)
        return _add(x, self._gate(gate_up), layer.down, layer.down_bias)

    def _logits(self, x: Tensor) -> Tensor:
        return F.linear(self._normalise(x), self.head).float()

    def _normalise(self, x: Tensor) -> Tensor:
        if not self.kernels:
            return F.rms_norm(x, x.shape[-1:], eps=self.eps)
        out = torch.empty_like(x)
        self.kernels.normalise(x.numpy(), self.eps, out.numpy())
        return out

    def _gate(self, gate_up: Tensor) -> Tensor:
        if not (self.kernels and self.silu):
            gate, up = gate_up.chunk(2, -1)
            return self.act(gate) * up
        out = gate_up.new_empty(len(gate_up), gate_up.shape[1] // 2)
        self.kernels.gated(gate_up.numpy(), out.numpy())
        return out

    def _rotations(self, length: int, device: torch.device) -> Tensor:
        """(length, D/2) complex numbers by which pairs of features are multiplied."""
        positions = torch.arange(length, device=device)[None]
        cos, sin = self.rotary(torch.empty(0, dtype=torch.float32, device=device), positions)
        half = self.head_dim // 2
        return torch.complex(cos[0, :, :half].contiguous(), sin[0, :, :half].contiguous())


def _add(x: Tensor, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Residual sum and linear layer; x may be overwritten."""
    if bias is None:
        return x.addmm_(inputs, weight.T)
    return x + F.linear(inputs, weight, bias)

"""Keys and values of prompts and of what rows have written, and the attention to them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Multiplications of a layer's attention from which a second thread saves more than it costs.
WORTH_A_THREAD = 500_000


class TensorAttention:
    """Attention by PyTorch on any device: a preallocated cache, one copy of it per row.

    Args:
        heads: H, query heads.
        kv_heads: K, key and value heads.
        rotations: (T, D/2) complex numbers, by position.
        mask: (P, L), true for real tokens of the left-padded prompts.
        dtype: of keys and values.
    """

    def __init__(
        self, heads: int, kv_heads: int, rotations: Tensor, mask: Tensor, dtype: torch.dtype
    ) -> None:
        self.heads, self.kv_heads, self.rotations, self.dtype = heads, kv_heads, rotations, dtype
        self.mask = mask
        self.length = mask.shape[1]
        self.positions = (mask.cumsum(1) - 1).clamp(min=0)
        self.cache: list[Tensor] = []
        self.prompt_mask = self._prompt_mask()
        self.bias: Tensor | None = None

    def read_prompts(self, qkv: Tensor) -> Tensor:
        """The next layer's (P, L, H + 2K, D) projections -> (P, L, H, D)."""
        self._rotate(qkv, self.rotations[self.positions])
        queries, keys, values = qkv.transpose(1, 2).split(
            [self.heads, self.kv_heads, self.kv_heads], 1
        )
        self.cache.append(torch.cat([keys, values], 1))
        attended = F.scaled_dot_product_attention(
            queries,
            keys,
            values,
            self.prompt_mask,
            is_causal=self.prompt_mask is None,
            enable_gqa=self.heads != self.kv_heads,
        )
        return attended.transpose(1, 2)

    def _prompt_mask(self) -> Tensor | None:
        """(P, 1, L, L), or None if there is no padding."""
        if bool(self.mask.all()):
            return None
        size = (self.length, self.length)
        causal = torch.ones(size, dtype=torch.bool, device=self.mask.device).tril()
        # Padding attends to itself: a row of nothing would be NaN.
        itself = torch.eye(self.length, dtype=torch.bool, device=self.mask.device)
        return causal & (self.mask[:, None, None] | itself)

    def begin(self, copies: Tensor, room: int) -> None:
        """From here on row r continues prompt `copies[r]` by at most `room` tokens."""
        self.positions = self.positions[copies, -1]
        for index, short in enumerate(self.cache):
            shape = (len(copies), 2 * self.kv_heads, self.length + room, short.shape[-1])
            full = torch.empty(shape, dtype=self.dtype, device=short.device)
            full[:, :, : self.length] = short[copies]
            self.cache[index] = full
        if self.prompt_mask is not None:
            mask = F.pad(self.mask, (0, room), value=True)[copies]
            self.bias = torch.zeros(mask.shape, dtype=self.dtype, device=mask.device)
            self.bias = self.bias.masked_fill(~mask, -torch.inf)[:, None, None]

    def next_token(self) -> None:
        """Before the projections of one more token come, layer by layer."""
        self.positions = self.positions + 1
        self.length += 1

    def step(self, layer: int, qkv: Tensor) -> Tensor:
        """One token's (R, H + 2K, D) projections -> (R, H, D)."""
        self._rotate(qkv, self.rotations[self.positions])
        self.cache[layer][:, :, self.length - 1] = qkv[:, self.heads :]
        keys, values = self.cache[layer][:, :, : self.length].split(self.kv_heads, 1)
        # The query heads of one key head stand in for positions.
        queries = qkv[:, : self.heads].unflatten(1, (self.kv_heads, -1))
        bias = None if self.bias is None else self.bias[..., : self.length]
        return F.scaled_dot_product_attention(queries, keys, values, bias).flatten(1, 2)

    def keep(self, rows: Tensor) -> None:
        """Forget all rows but these, (R',) indices."""
        self.cache = [layer[rows] for layer in self.cache]
        self.positions = self.positions[rows]
        self.bias = None if self.bias is None else self.bias[rows]

    def _rotate(self, qkv: Tensor, rotations: Tensor) -> None:
        """Turn queries and keys (..., H + K of H + 2K, D) in place; rotations (..., D/2)."""
        part = qkv[..., : self.heads + self.kv_heads, :]
        paired = torch.view_as_complex(part.float().unflatten(-1, (-1, 2)))
        part.copy_(torch.view_as_real(paired * rotations[..., None, :]).flatten(-2))


class KernelAttention(TensorAttention):
    """Attention by the kernels for the processor: one copy per prompt, none per row."""

    def begin(self, copies: Tensor, room: int) -> None:
        """From here on row r continues prompt `copies[r]` by at most `room` tokens."""
        self.prompts, self.slots = copies.numpy(), torch.arange(len(copies)).numpy()
        self.layers = [self._arrays(prompt, len(copies), room) for prompt in self.cache]
        self.dim, self.longest = self.cache[0].shape[-1], int(self.mask.sum(1).max())
        self.cache, self.written = [], -1

    def _arrays(self, prompts: Tensor, rows: int, room: int) -> tuple[Any, ...]:
        """What `attend` is given for a layer at every step; prompts (P, 2K, L, D)."""
        lengths, dim = self.mask.sum(1), prompts.shape[-1]
        # Left-aligned: position 0 comes first, whatever the padding was.
        aligned = [one.roll(int(n), 1) for one, n in zip(prompts, lengths, strict=True)]
        keys, values = torch.stack(aligned).split(self.kv_heads, 1)
        return (
            self.rotations.real.contiguous().numpy(),
            self.rotations.imag.contiguous().numpy(),
            dim**-0.5,
            lengths.numpy(),
            keys.transpose(2, 3).contiguous().numpy(),
            values.contiguous().numpy(),
            torch.empty(rows, self.kv_heads, dim, room).numpy(),
            torch.empty(rows, self.kv_heads, room, dim).numpy(),
        )

    def next_token(self) -> None:
        """Before the projections of one more token come, layer by layer."""
        self.written += 1

    def step(self, layer: int, qkv: Tensor) -> Tensor:
        """One token's (R, H + 2K, D) projections -> (R, H, D)."""
        from common.grpo.sampling.decoding_kernels import attend

        rows, threads = len(qkv), torch.get_num_threads()
        out = torch.empty(rows, self.heads, self.dim)
        tokens = (qkv.numpy(), self.written, out.numpy(), self.prompts, self.slots)
        work = 2 * rows * self.heads * self.dim * (self.longest + self.written + 1)
        if threads == 1 or work < WORTH_A_THREAD:
            attend(0, rows, *tokens, *self.layers[layer])
            return out
        edges = [rows * part // threads for part in range(threads + 1)]

        def part(first: int, last: int) -> None:
            attend(first, last, *tokens, *self.layers[layer])

        for done in [_pool(threads).submit(part, *edge) for edge in pairwise(edges)]:
            done.result()
        return out

    def keep(self, rows: Tensor) -> None:
        """Forget all rows but these, (R',) indices; nothing is copied."""
        kept = rows.numpy()
        self.prompts, self.slots = self.prompts[kept], self.slots[kept]


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)

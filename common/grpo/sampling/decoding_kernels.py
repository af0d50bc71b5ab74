"""Kernels for a decoding step on the processor in float32, compiled by numba.

PyTorch's attention is made for long queries: with one query per row most of its time is overhead,
and every row needs a copy of its prompt's keys and values. Here rows read the keys and values of
their prompt where they are, nothing is masked, and finished rows are skipped without copying.
Keys lie with positions last, values with positions first, so that all inner loops are contiguous.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

_njit: Callable[..., Any] = numba.njit(nogil=True, cache=True, fastmath=True, error_model="numpy")

ONE, HALF, LOWEST = np.float32(1), np.float32(0.5), np.float32(-126)
LOG2_E = np.float32(1.4426950408889634)
# Taylor coefficients of 2^f; the rest is below 1e-8 for |f| <= 1/2.
C1, C2, C3, C4, C5, C6, C7 = (np.float32(math.log(2) ** k / math.factorial(k)) for k in range(1, 8))


@_njit
def exponentials(values: Floats, count: int, bits: NDArray[np.int32], powers: Floats) -> None:
    """Replace the first `count` values, none above 88, by their exponentials.

    2^y = 2^n 2^f with an integer n and |f| <= 1/2: a polynomial, and n put in the exponent's bits.
    `powers` is `bits` seen as floats; both are scratch. Below 2^-126 the result is 2^-126.
    """
    for t in range(count):
        y = values[t] * LOG2_E
        y = y if y > LOWEST else LOWEST
        n = np.floor(y + HALF)
        f = y - n
        high = C4 + f * (C5 + f * (C6 + f * C7))
        values[t] = ONE + f * (C1 + f * (C2 + f * (C3 + f * high)))
        bits[t] = (np.int32(n) + 127) << 23
    for t in range(count):
        values[t] *= powers[t]


@_njit
def _add_scores(query: Floats, keys: Floats, count: int, scores: Floats) -> None:
    """scores[t] = sum over d of query[d] keys[d, t]; d in fours."""
    for t in range(count):
        scores[t] = np.float32(0)
    for d in range(0, len(query), 4):
        q0, q1, q2, q3 = query[d], query[d + 1], query[d + 2], query[d + 3]
        k0, k1, k2, k3 = keys[d], keys[d + 1], keys[d + 2], keys[d + 3]
        for t in range(count):
            scores[t] += (q0 * k0[t] + q1 * k1[t]) + (q2 * k2[t] + q3 * k3[t])


@_njit
def _add_values(weights: Floats, values: Floats, count: int, total: Floats) -> None:
    """total[d] += sum over t of weights[t] values[t, d]; t in fours."""
    whole = count - count % 4
    for t in range(0, whole, 4):
        w0, w1, w2, w3 = weights[t], weights[t + 1], weights[t + 2], weights[t + 3]
        v0, v1, v2, v3 = values[t], values[t + 1], values[t + 2], values[t + 3]
        for d in range(len(total)):
            total[d] += (w0 * v0[d] + w1 * v1[d]) + (w2 * v2[d] + w3 * v3[d])
    for t in range(whole, count):
        for d in range(len(total)):
            total[d] += weights[t] * values[t, d]


@_njit
def attend(
    first: int,
    last: int,
    qkv: Floats,
    written: int,
    out: Floats,
    prompts: Integers,
    slots: Integers,
    cosines: Floats,
    sines: Floats,
    scale: float,
    prompt_lengths: Integers,
    prompt_keys: Floats,
    prompt_values: Floats,
    keys: Floats,
    values: Floats,
) -> None:
    """One token's attention for the rows first ... last - 1.

    Args:
        first: first row.
        last: row after the last one.
        qkv: (R, H + 2K, D), before rotation; features that rotate together are neighbours.
        written: tokens before this one, the same number for all rows.
        out: (R, H, D), written to.
        prompts: (R,), each row's prompt.
        slots: (R,), each row's place in `keys` and `values`.
        cosines: (T, D/2), by position.
        sines: (T, D/2).
        scale: of the scores.
        prompt_lengths: (P,).
        prompt_keys: (P, K, D, L), rotated.
        prompt_values: (P, K, L, D).
        keys: (S, K, D, C), of what rows have written; this token's are put at `written`.
        values: (S, K, C, D).
    """
    kv_heads, head_dim = keys.shape[1], keys.shape[2]
    heads = qkv.shape[1] - 2 * kv_heads
    group = heads // kv_heads
    own = written + 1
    room = prompt_keys.shape[3] + keys.shape[3]
    scores = np.empty(room, np.float32)
    bits = np.empty(room, np.int32)
    powers = bits.view(np.float32)
    query = np.empty(head_dim, np.float32)
    total = np.empty(head_dim, np.float32)
    for row in range(first, last):
        prompt, slot = prompts[row], slots[row]
        length = prompt_lengths[prompt]
        position = length + written
        count = length + own
        for k in range(kv_heads):
            for i in range(head_dim // 2):
                cosine, sine = cosines[position, i], sines[position, i]
                a, b = qkv[row, heads + k, 2 * i], qkv[row, heads + k, 2 * i + 1]
                keys[slot, k, 2 * i, written] = a * cosine - b * sine
                keys[slot, k, 2 * i + 1, written] = a * sine + b * cosine
            for d in range(head_dim):
                values[slot, k, written, d] = qkv[row, heads + kv_heads + k, d]
            for head in range(k * group, (k + 1) * group):
                for i in range(head_dim // 2):
                    cosine, sine = cosines[position, i] * scale, sines[position, i] * scale
                    a, b = qkv[row, head, 2 * i], qkv[row, head, 2 * i + 1]
                    query[2 * i] = a * cosine - b * sine
                    query[2 * i + 1] = a * sine + b * cosine
                _add_scores(query, prompt_keys[prompt, k], length, scores)
                _add_scores(query, keys[slot, k], own, scores[length:])
                largest = scores[0]
                for t in range(count):
                    largest = max(largest, scores[t])
                for t in range(count):
                    scores[t] -= largest
                exponentials(scores, count, bits, powers)
                normaliser = np.float32(0)
                for t in range(count):
                    normaliser += scores[t]
                total[:] = np.float32(0)
                _add_values(scores, prompt_values[prompt, k], length, total)
                _add_values(scores[length:], values[slot, k], own, total)
                for d in range(head_dim):
                    out[row, head, d] = total[d] / normaliser


@_njit
def normalise(x: Floats, eps: float, out: Floats) -> None:
    """Rows of (R, d) divided by their root mean square."""
    rows, width = x.shape
    for row in range(rows):
        squares = np.float32(0)
        for i in range(width):
            squares += x[row, i] * x[row, i]
        factor = ONE / np.sqrt(squares / np.float32(width) + np.float32(eps))
        for i in range(width):
            out[row, i] = x[row, i] * factor


@_njit
def gated(gate_up: Floats, out: Floats) -> None:
    """SiLU(g) u for the halves g and u of (R, 2m)."""
    rows, width = out.shape
    bits = np.empty(width, np.int32)
    powers = bits.view(np.float32)
    exponential = np.empty(width, np.float32)
    for row in range(rows):
        gate, up = gate_up[row, :width], gate_up[row, width:]
        for i in range(width):
            # Where this bound holds, the result is below the smallest normal number.
            exponential[i] = min(-gate[i], np.float32(87))
        exponentials(exponential, width, bits, powers)
        for i in range(width):
            out[row, i] = gate[i] * up[i] / (ONE + exponential[i])

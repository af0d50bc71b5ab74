"""The compiled kernels against the same formulas in numpy and PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from common.grpo.sampling import decoding_attention, decoding_kernels
from common.grpo.sampling.decoding_attention import KernelAttention, TensorAttention


def test_exponentials_are_accurate_to_single_precision() -> None:
    points = np.concatenate([np.linspace(-87, 20, 20_001), [-0.0, 0.0, -1e-30]])
    values = points.astype(np.float32)
    exact = np.exp(values.astype(np.float64))
    bits = np.empty(len(values), np.int32)
    decoding_kernels.exponentials(values, len(values), bits, bits.view(np.float32))
    # The argument's rounding in base 2 is 2^-24 of its size, at most 126.
    assert np.abs(values / exact - 1).max() < 126 * 2.0**-24
    near = np.abs(points) < 1
    assert np.abs(values[near] / exact[near] - 1).max() < 4e-7


def test_exponentials_of_very_negative_numbers_vanish() -> None:
    values = np.array([-1e3, -1e30, 0.0, 5.0], np.float32)
    bits = np.empty(4, np.int32)
    decoding_kernels.exponentials(values, 3, bits, bits.view(np.float32))
    assert (values[:2] >= 0).all() and (values[:2] < 2e-38).all()
    assert values[2] == 1 and values[3] == 5  # beyond the count


def test_norm_and_gate_are_those_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(7, 33, generator=generator) * torch.logspace(-4, 4, 7)[:, None]
    out = torch.empty_like(x)
    decoding_kernels.normalise(x.numpy(), 1e-6, out.numpy())
    torch.testing.assert_close(out, F.rms_norm(x, (33,), eps=1e-6))
    gate_up = torch.randn(5, 60, generator=generator) * 30
    gate_up[0, :4] = torch.tensor([-1e30, -90.0, 90.0, 1e30])
    gate, up = gate_up.chunk(2, -1)
    gated = torch.empty(5, 30)
    decoding_kernels.gated(gate_up.numpy(), gated.numpy())
    expected = F.silu(gate) * up
    usual = torch.ones_like(expected, dtype=torch.bool)
    usual[0, 0] = False
    torch.testing.assert_close(gated[usual], expected[usual], rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_attention_is_that_of_torch_for_any_threads(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding_attention, "WORTH_A_THREAD", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    heads, kv_heads, dim, length, room = 6, 2, 8, 5, 4
    generator = torch.Generator().manual_seed(0)
    angles = torch.arange(length + room)[:, None] * torch.logspace(0, -2, dim // 2)
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]).bool()
    ways = [
        kind(heads, kv_heads, torch.polar(torch.ones_like(angles), angles), mask, torch.float32)
        for kind in (TensorAttention, KernelAttention)
    ]
    shape = (heads + 2 * kv_heads, dim)

    def both(step: bool, rows: tuple[int, ...]) -> list[torch.Tensor]:
        qkv = torch.randn(*rows, *shape, generator=generator)
        return [w.step(0, qkv.clone()) if step else w.read_prompts(qkv.clone()) for w in ways]

    one, two = both(False, (2, length))
    assert one.equal(two)
    for way in ways:
        way.begin(torch.tensor([0, 0, 1, 1, 0]), room)
    for step, rows in enumerate((5, 5, 3, 3)):
        for way in ways:
            if step == 2:
                way.keep(torch.tensor([0, 2, 4]))
            way.next_token()
        one, two = both(True, (rows,))
        torch.testing.assert_close(one, two, atol=2e-6, rtol=1e-5)

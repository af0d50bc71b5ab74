"""Both decoders against the model's own forward pass over the whole sequence."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from common.grpo.sampling.decoding import (
    ForwardDecoder,
    decoder_for,
    has_fast_bfloat16,
    sampling_dtype,
)
from common.grpo.sampling.decoding_llama import LlamaDecoder, is_llama_type
from common.grpo.sampling.rollouts import left_padded
from tests.common.grpo.tiny_models import gemma3, gpt2, llama, mistral, qwen2

PROMPTS = [[5, 6, 7, 8, 9], [4], [10, 11, 12]]
COPIES = [0, 0, 1, 2, 2]
LLAMAS = {
    "heads": lambda: llama(),
    "grouped": lambda: llama(num_key_value_heads=2),
    "one_key_head": lambda: llama(num_key_value_heads=1),
    "tied": lambda: llama(tie_word_embeddings=True),
    "biases": lambda: llama(attention_bias=True, mlp_bias=True),
    "head_dim": lambda: llama(head_dim=12, num_key_value_heads=2),
    "odd_quarter": lambda: llama(head_dim=6),
    "gelu": lambda: llama(hidden_act="gelu"),
    "scaled_rope": lambda: llama(
        rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 100.0}
    ),
    "qwen2": qwen2,
    "qwen2_tied": lambda: qwen2(tie_word_embeddings=True),
    "mistral": mistral,
}
OTHERS = {
    "gpt2": gpt2,
    "gemma3": gemma3,
    "windows": lambda: mistral(sliding_window=4),
    "dynamic_rope": lambda: llama(
        rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 100.0}
    ),
}


def forward_logits(model: Any, row: list[int]) -> torch.Tensor:
    """The oracle: one sequence, no padding, no cache."""
    with torch.no_grad():
        return model(input_ids=torch.tensor([row]), use_cache=False).logits[0, -1]


def check_decoder(decoder: Any, model: Any, tolerance: float = 1e-5) -> None:
    ids, mask = left_padded(PROMPTS, 0, torch.device("cpu"))
    copies = torch.tensor(COPIES)
    rows = [list(PROMPTS[copy]) for copy in COPIES]
    with torch.no_grad():
        logits = decoder.prefill(ids, mask.bool(), copies, 7)
        for prompt, got in zip(PROMPTS, logits, strict=True):
            torch.testing.assert_close(got, forward_logits(model, prompt), atol=tolerance, rtol=0)
        for step in range(7):
            if step == 3:
                decoder.keep(torch.tensor([0, 2, 4]))
                rows = [rows[0], rows[2], rows[4]]
            if step == 5:
                decoder.keep(torch.tensor([1]))
                rows = [rows[1]]
            tokens = [(3 + 5 * step + 7 * index) % 23 for index in range(len(rows))]
            for row, token in zip(rows, tokens, strict=True):
                row.append(token)
            logits = decoder.step(torch.tensor(tokens))
            assert logits.dtype == torch.float32
            for row, got in zip(rows, logits, strict=True):
                expected = forward_logits(model, row)
                torch.testing.assert_close(got, expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", LLAMAS)
def test_fast_logits_are_those_of_the_forward_pass(name: str) -> None:
    model = LLAMAS[name]()
    decoder = decoder_for(model, torch.float32)
    assert isinstance(decoder, LlamaDecoder)
    check_decoder(decoder, model)


@pytest.mark.parametrize("name", OTHERS)
def test_other_models_go_through_their_own_forward(name: str) -> None:
    model = OTHERS[name]()
    decoder = decoder_for(model, torch.float32)
    assert isinstance(decoder, ForwardDecoder)
    check_decoder(decoder, model)


def test_equal_prompt_lengths_need_no_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.common.grpo.test_decoding.PROMPTS", [[5, 6], [7, 8], [9, 10]])
    model = llama()
    check_decoder(LlamaDecoder(model, torch.float32), model)


def test_bfloat16_is_near_and_leaves_the_model_alone() -> None:
    for model in (llama(num_key_value_heads=2), gpt2()):
        before = {name: p.clone() for name, p in model.named_parameters()}
        check_decoder(decoder_for(model, torch.bfloat16), model, tolerance=0.3)
        for name, parameter in model.named_parameters():
            assert parameter.dtype == torch.float32 and parameter.equal(before[name])


def test_weights_are_the_current_ones() -> None:
    model = llama()
    decoder_for(model, torch.float32)
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight.mul_(-2)
        model.model.norm.weight.mul_(0.5)
    check_decoder(decoder_for(model, torch.float32), model)


def test_hooks_and_replaced_layers_are_not_bypassed() -> None:
    model = llama()
    assert is_llama_type(model)
    handle = model.model.layers[0].register_forward_hook(lambda module, inputs, output: output * 0)
    assert not is_llama_type(model)
    check_decoder(decoder_for(model, torch.float32), model)
    handle.remove()
    assert is_llama_type(model)

    class Doubled(torch.nn.Linear):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(inputs)

    doubled = Doubled(32, 48, bias=False)
    model.model.layers[0].mlp.up_proj = doubled
    assert not is_llama_type(model)

    class Other(type(model)):  # type: ignore[misc]
        pass

    assert not is_llama_type(Other(model.config))


def test_bfloat16_is_for_large_models_on_fast_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    model = llama()
    assert sampling_dtype(model) == torch.float32
    monkeypatch.setattr("common.grpo.sampling.decoding.LARGE", 1000)
    monkeypatch.setattr("common.grpo.sampling.decoding.has_fast_bfloat16", lambda device: True)
    assert sampling_dtype(model) == torch.bfloat16
    assert sampling_dtype(model.to(torch.float16)) == torch.float16
    assert isinstance(has_fast_bfloat16(torch.device("cpu")), bool)
    assert not has_fast_bfloat16(torch.device("meta"))

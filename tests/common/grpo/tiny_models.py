"""Random models of a few thousand weights, large enough in scale to have opinions."""

from __future__ import annotations

from typing import Any

import torch

PAD, BOS, EOS = 0, 1, 2
SIZES = dict(
    vocab_size=23,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    max_position_embeddings=64,
    pad_token_id=PAD,
    bos_token_id=BOS,
    eos_token_id=EOS,
)


def llama(**changes: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return loud(LlamaForCausalLM, LlamaConfig(**(SIZES | changes)))


def qwen2(**changes: Any) -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    return loud(Qwen2ForCausalLM, Qwen2Config(**(SIZES | {"num_key_value_heads": 2} | changes)))


def mistral(**changes: Any) -> Any:
    from transformers import MistralConfig, MistralForCausalLM

    sizes = SIZES | {"num_key_value_heads": 2, "sliding_window": None}
    return loud(MistralForCausalLM, MistralConfig(**(sizes | changes)))


def gpt2() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=23,
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=64,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )
    return loud(GPT2LMHeadModel, config)


def gemma3(**changes: Any) -> Any:
    """Sliding windows in some layers, norms of its own."""
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    changes = {"head_dim": 8, "num_key_value_heads": 1, "sliding_window": 4, **changes}
    return loud(Gemma3ForCausalLM, Gemma3TextConfig(**(SIZES | changes)))


def loud(kind: Any, config: Any, scale: float = 0.2) -> Any:
    """Every parameter random, biases and gains too, so that none can be forgotten."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = kind(config).eval()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                noise = torch.randn_like(parameter) * scale
                parameter.copy_(1 + noise if "norm" in name or "ln_" in name else noise)
    return model

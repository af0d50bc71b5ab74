"""Tiny random decoders of several architectures, for tests."""

import torch

LAYERS = 3
COMMON = {
    "vocab_size": 40,
    "hidden_size": 32,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MODERN = COMMON | {"num_key_value_heads": 2, "intermediate_size": 48, "head_dim": 8}
WINDOW = 4


def config(name):
    import transformers as hf

    if name == "llama":
        return hf.LlamaConfig(**MODERN)
    if name == "qwen2":  # biases of q, k and v
        return hf.Qwen2Config(**MODERN)
    if name == "gemma3":  # norms behind both parts; sliding and full attention
        types = ["sliding_attention", "full_attention", "sliding_attention"]
        return hf.Gemma3TextConfig(**MODERN, sliding_window=WINDOW, layer_types=types)
    if name == "mistral":  # sliding attention everywhere, without layer types
        return hf.MistralConfig(**MODERN, sliding_window=WINDOW)
    if name == "mixtral":
        return hf.MixtralConfig(**MODERN, num_local_experts=2)
    if name == "gpt2":
        return hf.GPT2Config(
            vocab_size=40,
            n_embd=32,
            n_layer=LAYERS,
            n_head=4,
            n_positions=64,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    assert name == "gpt_neox"  # attention and MLP read the same state
    return hf.GPTNeoXConfig(**COMMON, intermediate_size=48, use_parallel_residual=True)


ARCHITECTURES = ["llama", "qwen2", "gemma3", "gpt2", "gpt_neox"]


def tiny(name, attention="sdpa"):
    """A model in training mode whose biases and norms are random, too."""
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config(name), attn_implementation=attention)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.2 * torch.randn_like(parameter)
    return model.float()

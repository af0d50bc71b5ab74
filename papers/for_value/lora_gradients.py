"""Gradients of every sample with respect to low-rank adapters, from one batched pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from papers.for_value.texts import Batch, Positions


@dataclass(frozen=True)
class Adapters:
    """Low-rank adapters (LoRA, arXiv 2106.09685) as in DataInf, arXiv 2310.00902, section 4.

    Attributes:
        rank: r.
        alpha: the adapters' product is scaled by alpha / rank.
        start: peft's `init_lora_weights`. With `pissa` (arXiv 2404.02948) the adapters take over
            the largest singular directions of each matrix: the model computes what it did before,
            so that all methods score the same model, and neither factor's gradient vanishes. With
            the usual start (`default`) one factor is zero, and so is the gradient of the other.
        targets: names of the adapted layers.
    """

    rank: int = 8
    alpha: int = 32
    start: str = "pissa"
    targets: tuple[str, ...] = ("q_proj", "v_proj")


def attach(model: Any, adapters: Adapters, seed: int) -> Any:
    """The model with adapters in place; nothing but them is trainable then.

    Equal seeds give equal adapters; the global random state is left alone.
    """
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=adapters.rank,
        lora_alpha=adapters.alpha,
        target_modules=list(adapters.targets),
        init_lora_weights=True if adapters.start == "default" else adapters.start,  # type: ignore[arg-type]
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return inject_adapter_in_model(config, model).eval()


def adapter_layers(model: Any) -> dict[str, nn.Linear]:
    """Both factors of every adapter, by name.

    Raises:
        ValueError: the model has no adapters.
    """
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and (".lora_A." in name or ".lora_B." in name)
    }
    if not layers:
        raise ValueError("model: has no adapters; attach them first")
    return layers


Gradients = dict[str, Tensor]
"""Per factor of an adapter, (B, P): one row per sample."""


def sample_gradients(
    model: Any, batch: Batch, positions: Sequence[Positions] = ("full",)
) -> dict[Positions, Gradients]:
    """Gradients of every sample's summed cross-entropy with respect to its adapters.

    The gradient of a linear layer is a sum over tokens of output gradients times inputs. Both are
    there after a batched pass, so that no sample needs a pass of its own, and only activations are
    differentiated. One forward pass, and one backward pass per way of counting tokens.

    Args:
        model: a causal language model with adapters.
        batch: rows of tokens, padded on the right.
        positions: which tokens' cross-entropy is summed.
    """
    layers = adapter_layers(model)
    seen: dict[str, tuple[Tensor, Tensor]] = {}

    def recorder(name: str) -> Any:
        def record(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            seen[name] = (inputs[0].detach(), output)

        return record

    handles = [layer.register_forward_hook(recorder(name)) for name, layer in layers.items()]
    try:
        losses = token_losses(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    outputs = [output for _, output in seen.values()]
    found: dict[Positions, Gradients] = {}
    for chosen in positions:
        total = (losses * batch.labels(chosen)).sum()
        deltas = torch.autograd.grad(total, outputs, retain_graph=True)
        found[chosen] = {
            name: (delta.mT @ inputs).flatten(1)
            for delta, (name, (inputs, _)) in zip(deltas, seen.items(), strict=True)
        }
    return found


def token_losses(model: Any, batch: Batch) -> Tensor:
    """(B, T), the cross-entropy of every real token but the first, in nats; 0 elsewhere."""
    states = model.base_model(
        input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False
    ).last_hidden_state
    row, place = batch.labels("full").nonzero(as_tuple=True)
    logits = model.get_output_embeddings()(states[row, place - 1])
    losses = nn.functional.cross_entropy(logits, batch.input_ids[row, place], reduction="none")
    return losses.new_zeros(batch.input_ids.shape).index_put((row, place), losses)

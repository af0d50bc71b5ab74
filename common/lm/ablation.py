"""Ablation of decoder layers: the outputs of attention and MLP are replaced, the rest stays.

Zero ablation is that of arXiv 2506.22638: its official code sets all weights and biases of the
layer's projections (q, k, v, o, gate, up, down) to zero. Both parts then write nothing into the
residual stream, and the layer hands on what it got.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

Component = Literal["block", "attention", "mlp"]

# Names in transformers. Missing on purpose: "self_attention" (BLOOM) and "ffn" (MPT), whose
# submodules add the residual stream themselves, so that zeroing their output is no ablation.
LAYERS = ("layers", "h")
ATTENTION = ("self_attn", "attention", "attn")
MLP = ("mlp", "block_sparse_moe", "feed_forward")


@dataclass(frozen=True)
class ComponentMeans:
    """Mean outputs of the two parts of every layer over reference tokens.

    Where a norm follows the part (Gemma), they are the means before that norm.

    Attributes:
        attention: (L, d).
        mlp: (L, d).
    """

    attention: torch.Tensor
    mlp: torch.Tensor


def decoder_layers(model: Any) -> nn.ModuleList:
    """The decoder's layers, in order.

    Raises:
        ValueError: the model keeps them under no known name.
    """
    decoder = model.get_decoder()
    for name in LAYERS:
        if isinstance(layers := getattr(decoder, name, None), nn.ModuleList):
            return layers
    raise ValueError(
        f"model: {type(decoder).__name__} has no list of layers named {' or '.join(LAYERS)}"
    )


@contextmanager
def ablate(
    model: Any,
    layers: Iterable[int],
    component: Component = "block",
    means: ComponentMeans | None = None,
) -> Iterator[None]:
    """Within the context, these layers' parts write zero, or their mean, at every token.

    Attention and MLP run as ever, so that a KV cache stays complete during `generate`; only their
    outputs are replaced. Contexts nest; of two that name the same part the inner one holds.

    Args:
        model: a decoder of transformers with separate attention and MLP submodules.
        layers: numbers of layers, from 0.
        component: "block" for both parts.
        means: what to write instead of zero.

    Raises:
        ValueError: a layer is out of range, the component is unknown, the means do not fit, or a
            layer has no submodule of a known name.
    """
    every = decoder_layers(model)
    chosen = checked_layers(layers, len(every))
    parts = _parts(component)
    if means is not None and not len(means.attention) == len(means.mlp) == len(every):
        raise ValueError(f"means: must have one row for each of the {len(every)} layers")
    with ExitStack() as hooks:
        for index in chosen:
            for part in parts:
                value = None if means is None else getattr(means, part)[index]
                hook = submodule(every[index], part).register_forward_hook(_replace(value))
                hooks.callback(hook.remove)
        yield


@torch.no_grad()
def component_means(
    model: Any,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    counted: torch.Tensor | None = None,
    *,
    rows: int = 16,
) -> ComponentMeans:
    """Mean outputs of attention and MLP in every layer, for mean ablation.

    Args:
        model: a decoder of transformers, read in evaluation mode.
        input_ids: (B, T).
        attention_mask: (B, T), 1 for real tokens.
        counted: (B, T), true for the tokens to average over; by default all real ones. Padding
            never counts.
        rows: sequences per forward pass.

    Raises:
        ValueError: no token is counted, or a layer has no submodule of a known name.
    """
    kept = attention_mask.bool() if counted is None else counted.bool() & attention_mask.bool()
    if not kept.any():
        raise ValueError("counted: no token is counted")
    every = decoder_layers(model)
    sums: dict[str, list[torch.Tensor]] = {part: [] for part in _parts("block")}
    batch: list[torch.Tensor] = []  # the hooks read which tokens of the current rows count
    with ExitStack() as hooks, evaluating(model):
        for part, totals in sums.items():
            for index, layer in enumerate(every):
                totals.append(torch.zeros((), dtype=torch.float64))
                hook = submodule(layer, part).register_forward_hook(_add(totals, index, batch))
                hooks.callback(hook.remove)
        for start in range(0, len(input_ids), rows):
            chunk = slice(start, start + rows)
            batch[:] = [kept[chunk]]
            model.get_decoder()(
                input_ids=input_ids[chunk], attention_mask=attention_mask[chunk], use_cache=False
            )
    count = kept.sum()
    return ComponentMeans(
        **{name: torch.stack(totals).div(count).to(model.dtype) for name, totals in sums.items()}
    )


def checked_layers(layers: Iterable[int], count: int) -> list[int]:
    """The numbers as a list.

    Raises:
        ValueError: one is not in 0 … count−1.
    """
    chosen = [int(layer) for layer in layers]
    for layer in chosen:
        if not 0 <= layer < count:
            raise ValueError(f"layers: {layer} is not in 0 … {count - 1}")
    return chosen


def submodule(layer: nn.Module, part: str) -> nn.Module:
    """A layer's attention or MLP.

    Raises:
        ValueError: the layer keeps it under no known name.
    """
    names = ATTENTION if part == "attention" else MLP
    for name in names:
        if isinstance(found := getattr(layer, name, None), nn.Module):
            return found
    raise ValueError(
        f"model: {type(layer).__name__} has no {part} submodule named {', '.join(names)}; it has "
        f"{', '.join(name for name, _ in layer.named_children())}"
    )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Without dropout; the mode is restored afterwards."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@contextmanager
def recorded(layers: Iterable[nn.Module]) -> Iterator[list[tuple[torch.Tensor, Any]]]:
    """A list that grows by what enters a layer, (B, T, d), and what it returns, as layers run."""
    passed: list[tuple[torch.Tensor, Any]] = []

    def hook(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        passed.append((args[0] if args else kwargs["hidden_states"], output))

    with ExitStack() as hooks:
        for layer in layers:
            hooks.callback(layer.register_forward_hook(hook, with_kwargs=True).remove)
        yield passed


def first_tensor(output: Any) -> torch.Tensor:
    """The hidden states of a module's output: itself, or the first of a tuple."""
    return output[0] if isinstance(output, tuple) else output


def with_first_tensor(output: Any, tensor: torch.Tensor) -> Any:
    """An output of the same form with other hidden states."""
    return (tensor, *output[1:]) if isinstance(output, tuple) else tensor


def _parts(component: str) -> tuple[str, ...]:
    if component == "block":
        return ("attention", "mlp")
    if component in ("attention", "mlp"):
        return (component,)
    raise ValueError(f"component: block, attention or mlp, got {component!r}")


def _replace(value: torch.Tensor | None) -> Any:
    """A hook that writes `value` (d), or zeros, over a module's hidden states."""

    def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
        hidden = first_tensor(output)
        if value is None:
            return with_first_tensor(output, torch.zeros_like(hidden))
        return with_first_tensor(output, value.to(hidden).expand_as(hidden))

    return hook


def _add(totals: list[torch.Tensor], index: int, batch: list[torch.Tensor]) -> Any:
    """A hook that adds a module's hidden states at counted tokens to `totals[index]`."""

    def hook(module: nn.Module, inputs: Any, output: Any) -> None:
        hidden = first_tensor(output)
        # An MoE block may return (B·T, d).
        hidden = hidden.reshape(-1, hidden.shape[-1])[batch[0].reshape(-1).to(hidden.device)]
        totals[index] = totals[index].to(hidden.device) + hidden.double().sum(0)

    return hook

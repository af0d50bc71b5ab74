"""What every item of a task loses when one layer is ablated, layer by layer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from common.lm.ablation import (
    Component,
    ComponentMeans,
    ablate,
    checked_layers,
    decoder_layers,
    recorded,
    with_first_tensor,
)
from common.lm.teacher_forced import Packed, score

if TYPE_CHECKING:
    import pandas as pd

INTACT = -1  # the layer number of the rows without ablation


def layer_profile(
    model: Any,
    packed: Packed,
    *,
    layers: Iterable[int] | None = None,
    component: Component = "block",
    means: ComponentMeans | None = None,
    reuse_prefix: bool = True,
) -> pd.DataFrame:
    """Score all items intact and with each layer ablated alone (arXiv 2506.22638).

    What enters layer l does not depend on an ablation of l. The states that enter the layers are
    kept from the intact pass ((L, T, d) numbers), and the layers before l hand them on instead of
    running: half the work. Under zero ablation of a block, l itself is skipped too: a residual
    block whose two parts write nothing is the identity. Everything else is the model's own code.

    Args:
        model: a causal language model of transformers.
        packed: the items (`common.lm.teacher_forced.pack`).
        layers: those to ablate; by default all.
        component: what to ablate (`common.lm.ablation.ablate`).
        means: for mean ablation.
        reuse_prefix: false runs every layer for every ablation; for models whose blocks are no
            plain residual blocks (a factor on the whole stream, caches shared between layers).

    Returns:
        Columns layer (-1 for the intact model), item, correct (bool), logp (nats); items in their
        order within each layer.

    Raises:
        ValueError: as `ablate` and `score` say.
    """
    import pandas as pd
    from tqdm import tqdm

    every = decoder_layers(model)
    chosen = checked_layers(range(len(every)) if layers is None else layers, len(every))
    with recorded(every) as intact:
        scores = [(INTACT, *score(model, packed))]
    skips_itself = component == "block" and means is None
    for layer in tqdm(chosen, desc="ablated layers", leave=False):
        with ExitStack() as stack:
            stack.enter_context(ablate(model, [layer], component, means))
            if reuse_prefix:
                last = layer if skips_itself else layer - 1
                stack.enter_context(_skipping(every, last, *intact[layer]))
            scores.append((layer, *score(model, packed)))
    frames = [
        pd.DataFrame({"layer": layer, "item": range(len(logp)), "correct": correct, "logp": logp})
        for layer, correct, logp in scores
    ]
    return pd.concat(frames, ignore_index=True)


@contextmanager
def _skipping(layers: nn.ModuleList, last: int, state: torch.Tensor, form: Any) -> Iterator[None]:
    """Layers 0 … `last` return `state` in the form of `form` without running."""
    handed_on = with_first_tensor(form, state)
    skipped = layers[: last + 1]
    # A forward of the instance hides the class's method; few instances have one of their own.
    own = [vars(layer).get("forward") for layer in skipped]
    try:
        for layer in skipped:
            layer.forward = lambda *args, **kwargs: handed_on
        yield
    finally:
        for layer, forward in zip(skipped, own, strict=True):
            del layer.forward
            if forward is not None:
                layer.forward = forward

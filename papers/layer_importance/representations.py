"""Where the clusters of token states leave those of the embedding, and how near critical layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from papers.layer_importance import similarity as sim
from papers.layer_importance.models import base_model
from papers.layer_importance.profiles import Asked
from papers.layer_importance.questions import block

NEAR = 2
"""Layers between an elbow and a critical layer that still count as near."""


def solutions(asked: Asked, tokenizer: Any, kind: str, count: int, seed: int) -> list[str]:
    """Texts whose token states are clustered.

    Args:
        asked: how "sums" are drawn.
        tokenizer: of the model.
        kind: "word_problems" (with written solutions), or "sums" (lines of the addition task).
        count: texts.
        seed: of the draw.

    Raises:
        ValueError: an unknown kind.
    """
    if kind == "word_problems":
        from common.tasks.word_problem_templates import TEMPLATES
        from common.tasks.word_problems import generate

        problems = generate(TEMPLATES, level=1, sets=1, seed=seed)
        chosen = np.random.default_rng(seed).permutation(len(problems))[:count]
        return [f"{problems[i].question}\n{problems[i].solution}\n" for i in chosen.tolist()]
    if kind == "sums":
        questions, lines = asked.questions("addition", tokenizer), asked.shots + asked.items
        return [block(questions, lines, 0, [seed, number]).prompt for number in range(count)]
    raise ValueError(f"kind: word_problems or sums, got {kind!r}")


def agreement(
    asked: Asked, kind: str, count: int, settings: Sequence[Mapping[str, Any]], seed: int
) -> pd.DataFrame:
    """Agreement of every layer's clusters with a reference's, on texts of their own.

    Args:
        asked: the model.
        kind: see `solutions`.
        count: texts.
        settings: arguments k, reference and normalise of `clustering_agreement`.
        seed: of the texts and of k-means.

    Returns:
        Columns block (the seed), k, reference, normalise, layer, nmi.
    """
    from common.lm.clustering import clustering_agreement, states_by_layer

    model, tokenizer = base_model(asked.model, asked.scratch)
    texts = solutions(asked, tokenizer, kind, count, seed)
    batch = tokenizer(texts, return_tensors="pt", padding=True).to(model.device)
    states = states_by_layer(model, batch["input_ids"], batch["attention_mask"])
    frames = [
        clustering_agreement(states, seeds=[seed], **setting).assign(**setting)
        for setting in settings
    ]
    return pd.concat(frames, ignore_index=True).rename(columns={"seed": "block"})


def elbows(curves: pd.DataFrame, critical: Sequence[int]) -> pd.DataFrame:
    """Where each block's curve bends, and whether a critical layer is near.

    Among the middle layers: the layer whose output agrees so much less than the one before
    ("steepest fall"), and the layer at which two joined lines meet ("breakpoint").

    Args:
        curves: columns block, layer, nmi, from layer 0 on.
        critical: layers.

    Returns:
        Columns block, elbow, layer, distance (to the nearest critical layer), near (0 or 1) and
        chance: the share of middle layers that would be near. A curve without fall is not near.
    """
    from common.lm.clustering import piecewise_breakpoint, steepest_fall

    rows = []
    for one, part in curves.groupby("block"):
        curve = part.sort_values("layer").nmi.to_numpy(float)
        layers = sim.middle(len(curve))
        inner = curve[layers[0] - 1 : layers[-1] + 1]
        falls = np.diff(inner).min() < 0
        found = {
            "steepest fall": steepest_fall(inner.tolist()) if falls else np.nan,
            "breakpoint": piecewise_breakpoint(inner.tolist()).place,
        }
        chance = np.mean([_distance(layer, critical) <= NEAR for layer in layers])
        for elbow, place in found.items():
            layer = layers[0] - 1 + place
            distance = _distance(layer, critical)
            row = {"block": one, "elbow": elbow, "layer": layer, "distance": distance}
            rows.append(row | {"near": int(distance <= NEAR), "chance": chance})
    return pd.DataFrame(rows)


def _distance(layer: float, critical: Sequence[int]) -> float:
    return float(np.abs(np.asarray(critical) - layer).min())


def component_agreement(profiles: pd.DataFrame) -> pd.DataFrame:
    """How other ablations' profiles agree with zero ablation of whole blocks.

    Args:
        profiles: columns component, written, block, layer, logp.

    Returns:
        Columns ablation ("block mean", "attention zero", …, "nothing": 0), block, spearman
        (`similarity.block_correlations` of drops of log-probability).
    """
    parts = {
        f"{component} {written}": sim.by_block(part, "logp")
        for (component, written), part in profiles.groupby(["component", "written"])
    }
    whole = parts.pop("block zero")
    blocks = sorted(profiles.block.unique().tolist())
    rows = [{"ablation": "nothing", "block": one, "spearman": 0.0} for one in blocks]
    for name, values in parts.items():
        rows += [
            {"ablation": name, "block": one, "spearman": value}
            for one, value in zip(blocks, sim.block_correlations(whole, values), strict=True)
        ]
    return pd.DataFrame(rows)

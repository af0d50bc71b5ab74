"""Which tokens carry token hidden reward: concentration, and overlap with entropy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.grpo.rules import kernel_scores as ks
from common.grpo.rules.token_weights import TOKEN_WEIGHTS
from papers.token_hidden_reward.policies import (
    Groups,
    Supervised,
    language_policy,
    mixed_groups,
    small_policy,
)

SCORES = ("thr", "thr_others")
"""THR, and THR without the responses' influence on themselves."""

EDGES = np.linspace(-10, 10, 81)
"""Bins of the density, in units of the mean |THR|."""


def small_tokens(
    supervised: Supervised, seed: int, prompts: int, wanted: int, group_size: int, room: int
) -> pd.DataFrame:
    """`token_table` of a small decoder of its own."""
    groups = mixed_groups(
        small_policy(supervised, seed),
        prompts=prompts,
        wanted=wanted,
        group_size=group_size,
        max_new_tokens=room,
        seed=10_000 + seed,
    )
    return token_table(groups).assign(seed=seed)


def language_tokens(
    model: str,
    digits: int,
    supervised: Supervised,
    prompts: int,
    wanted: int,
    group_size: int,
    room: int,
    seed: int,
) -> pd.DataFrame:
    """`token_table` of a language model; of a small decoder with the seed if that is "small"."""
    small = model == "small"
    groups = mixed_groups(
        small_policy(supervised, seed) if small else language_policy(model, digits),
        prompts=prompts,
        wanted=wanted,
        group_size=group_size,
        max_new_tokens=room,
        seed=seed,
    )
    return token_table(groups)


def token_table(groups: Groups) -> pd.DataFrame:
    """One row per token: prompt, response, position, token, correct, thr, thr_others, kept,
    entropy (nats) and surprise (1 - π of the token)."""
    arguments = (groups.states, groups.rewards, groups.mask, groups.size)
    logps, entropies = groups.logps_and_entropies
    weights = TOKEN_WEIGHTS["thr"].function(groups.batch(), groups.rewards)
    rows, positions = groups.mask.nonzero().T
    ids = groups.rollouts.completion_ids[rows, positions].tolist()
    columns = {
        "thr": ks.thr(*arguments),
        "thr_others": ks.thr(*arguments, own_response=False),
        "kept": weights,
        "entropy": entropies,
        "surprise": -logps.expm1(),
    }
    return pd.DataFrame(
        {
            "prompt": (rows // groups.size).numpy(),
            "response": (rows % groups.size).numpy(),
            "position": positions.numpy(),
            "token": groups.policy.tokenizer.convert_ids_to_tokens(ids),
            "correct": groups.rewards[rows].numpy(),
        }
        | {name: values[rows, positions].double().numpy() for name, values in columns.items()}
    )


def gini(values: NDArray[np.float64]) -> float:
    """Gini coefficient of non-negative values: 0 for equal ones, almost 1 for a single one."""
    ordered, n = np.sort(values), len(values)
    if not ordered.sum():
        return 0.0
    return float((2 * np.arange(1, n + 1) - n - 1) @ ordered / (n * ordered.sum()))


def top_share(values: NDArray[np.float64], share: float = 0.1) -> float:
    """How much of the sum the largest `share` of the values carries; the count is rounded up."""
    ordered = np.sort(values)[::-1]
    total = ordered.sum()
    return float(ordered[: int(np.ceil(share * len(ordered)))].sum() / total) if total else share


def concentration(tokens: pd.DataFrame, unit: str) -> pd.DataFrame:
    """For each unit and score: top10 and gini of |score|, beside their values if all were equal."""
    rows = []
    for name, part in tokens.groupby(unit):
        for score in SCORES:
            sizes = part[score].abs().to_numpy()
            for statistic, value, even in (
                ("top10", top_share(sizes), 0.1),
                ("gini", gini(sizes), 0.0),
            ):
                rows.append((name, score, statistic, "measured", value))
                rows.append((name, score, statistic, "even", even))
    return pd.DataFrame(rows, columns=[unit, "score", "statistic", "source", "value"])


def overlaps(tokens: pd.DataFrame, unit: str, shares: Sequence[float]) -> pd.DataFrame:
    """For each unit: which part of the top share by |score| is in the top share by a proxy.

    Proxies are entropy and surprise. `chance` is what random tokens would give.
    """
    rows = []
    for name, part in tokens.groupby(unit):
        for score in SCORES:
            for share in shares:
                count = max(round(share * len(part)), 1)
                top = set(part[score].abs().nlargest(count).index)
                for proxy in ("entropy", "surprise"):
                    shared = len(top & set(part[proxy].nlargest(count).index)) / count
                    rows.append((name, score, proxy, share, "measured", shared))
                    rows.append((name, score, proxy, share, "chance", count / len(part)))
    columns = [unit, "score", "proxy", "share", "source", "overlap"]
    return pd.DataFrame(rows, columns=columns)


def density(tokens: pd.DataFrame, unit: str) -> pd.DataFrame:
    """Density of THR in units of the unit's mean |THR|, by side; the ends hold the outliers."""
    scale = tokens.thr.abs().groupby(tokens[unit]).transform("mean")
    scaled = (tokens.thr / scale).clip(EDGES[0], EDGES[-1])
    centres = (EDGES[:-1] + EDGES[1:]) / 2
    parts = []
    for correct, part in scaled.groupby(tokens.correct):
        found = np.histogram(part, EDGES, density=True)[0]
        parts.append(pd.DataFrame({"correct": correct, "thr": centres, "density": found}))
    return pd.concat(parts, ignore_index=True)

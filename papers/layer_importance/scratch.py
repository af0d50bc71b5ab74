"""The null of "invariance": how alike the profiles of independently pre-trained decoders are."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import pandas as pd

from papers.layer_importance import similarity as sim
from papers.layer_importance.models import base_model
from papers.layer_importance.profiles import BASE, Asked, block_profiles
from papers.layer_importance.variants import Training, post_train

TRAINED = "addition"
"""The task that post-training is on."""

ALL = "all"


def seed_profiles(
    asked: Asked, trainings: Sequence[Training], tasks: Sequence[str], seed: int
) -> pd.DataFrame:
    """One seed's decoder and its variants: the base on all tasks, the variants on sums.

    Columns seed, variant, task, block, layer, accuracy, logp.
    """
    base, tokenizer = base_model(asked.model, asked.scratch, seed)
    frames = [block_profiles(base, tokenizer, asked, task).assign(variant=BASE) for task in tasks]
    for training in trainings:
        model = copy.deepcopy(base)
        post_train(model, tokenizer, asked.questions(TRAINED, tokenizer), training)
        frame = block_profiles(model, tokenizer, asked, TRAINED)
        frames.append(frame.assign(variant=training.method))
    return pd.concat(frames, ignore_index=True).assign(seed=seed)


def similarities(profiles: pd.DataFrame) -> pd.DataFrame:
    """Rank correlation of each variant's profile of sums with its own base's and with others'.

    Columns seed, variant ("all": mean over them), compared_with ("own base", "other seeds": mean
    over their bases), spearman (drops of log-probability, middle layers).
    """
    sums = profiles[profiles.task == TRAINED]
    drops = {
        key: sim.mean_drop(sim.by_block(part, "logp"), range(part.block.nunique()))
        for key, part in sums.groupby(["seed", "variant"])
    }
    seeds = sorted(sums.seed.unique().tolist())
    rows = []
    for (seed, variant), drop in drops.items():
        if variant == BASE:
            continue
        layers = sim.middle(len(drop))
        alike = {s: sim.spearman(drop[layers], drops[s, BASE][layers]) for s in seeds}
        own = alike.pop(seed)
        key = {"seed": seed, "variant": variant}
        rows.append(key | {"compared_with": "own base", "spearman": own})
        others = float(np.mean(list(alike.values())))
        rows.append(key | {"compared_with": "other seeds", "spearman": others})
    found = pd.DataFrame(rows)
    means = found.groupby(["seed", "compared_with"]).spearman.mean().reset_index()
    return pd.concat([found, means.assign(variant=ALL)], ignore_index=True)


def accuracies(profiles: pd.DataFrame) -> pd.DataFrame:
    """Intact accuracy on sums after each post-training and before: seed, variant, arm, accuracy."""
    sums = profiles[(profiles.task == TRAINED) & (profiles.layer == -1)]
    means = sums.groupby(["seed", "variant"]).accuracy.mean().reset_index()
    before = means[means.variant == BASE].set_index("seed").accuracy
    after = means[means.variant != BASE].assign(arm="after")
    earlier = after.assign(arm="before", accuracy=after.seed.map(before))
    return pd.concat([after, earlier], ignore_index=True)

"""The model-based rival: estimate the transitions, then solve the estimated problem exactly.

Plug-in planning with a generative model, as in the sample-complexity results for stochastic
shortest paths of Tarbouriech et al. 2021, "Sample complexity bounds for stochastic shortest path
with a generative model" [from memory].
"""

import numpy as np

from common.tabular.exact import policy_iteration
from common.tabular.ssp import SSP, IntArray


def empirical_ssp(ssp: SSP, samples: int, rng: np.random.Generator) -> SSP:
    """The problem as `samples` observed transitions of every state-action pair show it.

    Rewards are deterministic, so one observation reveals them. One further transition of every
    pair is counted as an ending: the estimate then always terminates, whatever was seen, at the
    price of a bias of order 1 / `samples`.

    Raises:
        ValueError: if `samples` is below 1.
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    endings = ssp.termination_probabilities[:, :, None]
    outcomes = np.concatenate([ssp.probabilities, endings], axis=2)
    outcomes /= outcomes.sum(axis=2, keepdims=True)
    counts = rng.multinomial(samples, outcomes)
    return SSP(ssp.successors, counts[:, :, :-1] / (samples + 1), ssp.rewards)


def model_based_policy(ssp: SSP, samples: int, seed: int) -> IntArray:
    """int64[S]: the optimal policy of `empirical_ssp`; costs S A `samples` environment steps."""
    return policy_iteration(empirical_ssp(ssp, samples, np.random.default_rng(seed))).policy

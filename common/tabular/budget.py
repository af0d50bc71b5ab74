"""How many episodes suffice for exploring starts to return an optimal policy.

Order: that of arXiv 2410.02994 (abstract), S A K^3 log^3(1/delta) up to logarithms; constants:
derived here. The theorem's own constants, and the exact algorithm they belong to, were not
available to us.

The derivation in short. Write Delta for the smallest distance between distinct action values
(`exact.value_separation`). If all estimates err by less than Delta / 4, the conservative update
of `mces.batch_mces` acts like exact policy iteration, which needs
I = `exact.policy_iteration_bound` sweeps. Episodes beyond H = 2 K m steps have probability at
most 2^-m (Markov's inequality, m times over). Below H, returns are bounded and Hoeffding's
inequality gives the number N of episodes for each of the S A I estimates. Half of the allowed
error goes to the tail beyond H, half to chance.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from common.tabular.exact import policy_iteration_bound

Version = Literal["untruncated", "truncated"]


@dataclass(frozen=True)
class Budget:
    """A sampling plan with a guarantee; all counts are Python integers of any size.

    Attributes:
        iterations: I, sweeps of evaluation and improvement, at most.
        horizon: H, steps. Where the truncated version cuts episodes; for the untruncated one
            the length that, with high probability, no episode exceeds.
        episodes_per_pair: N, for each state-action pair in each sweep.
        total_episodes: M = S A I N.
    """

    iterations: int
    horizon: int
    episodes_per_pair: int
    total_episodes: int


def prescribed_budget(
    n_states: int,
    n_actions: int,
    length: float,
    reward_bound: float,
    separation: float,
    log_inverse_delta: float,
    version: Version,
    *,
    one_signed: bool = False,
) -> Budget:
    """The budget with which `batch_mces` is optimal with probability at least 1 - delta.

    Order: the paper's (arXiv 2410.02994, abstract); constants: derived here. "untruncated"
    plays all episodes to their end and grows like K^3 log^3(1/delta). "truncated" cuts them
    at H and needs a single factor log(1/delta); it is our own refinement, not the paper's.

    Args:
        n_states: S.
        n_actions: A.
        length: K, expected steps of the longest episode (`exact.worst_case_length`).
        reward_bound: R >= |r(s, a)|.
        separation: Delta, the smallest distance of distinct action values of one state and
            policy; inf if there are none.
        log_inverse_delta: ln(1 / delta); a logarithm, so that delta = 10^-1000 can be asked.
        version: "untruncated" or "truncated".
        one_signed: whether all rewards have one sign; returns then lie in a range of R H
            instead of 2 R H, which saves a factor 4.

    Raises:
        ValueError: if an argument lies outside its range.

    >>> prescribed_budget(5, 2, 2.0, 1.0, 0.5, math.log(10), "truncated", one_signed=True)
    Budget(iterations=6, horizon=20, episodes_per_pair=363012, total_episodes=21780720)
    """
    if n_states < 1 or n_actions < 1:
        raise ValueError("n_states and n_actions must be at least 1")
    if not 0 < log_inverse_delta < math.inf:
        raise ValueError(f"log_inverse_delta must be positive, got {log_inverse_delta}")
    if version not in ("untruncated", "truncated"):
        raise ValueError(f"version must be 'untruncated' or 'truncated', got {version!r}")
    iterations = policy_iteration_bound(length, reward_bound, separation)
    estimates = n_states * n_actions * iterations
    tail = _tail_blocks(length, reward_bound, separation)
    spread = (1.0 if one_signed else 2.0) * reward_bound
    # The untruncated version spends half of delta on "no episode exceeds H".
    log_events = math.log((4 if version == "untruncated" else 2) * estimates) + log_inverse_delta

    def episodes(blocks: int) -> int:
        horizon = _horizon(length, blocks)
        return max(1, math.ceil(2 * log_events * (spread * horizon / (separation / 4)) ** 2))

    blocks = tail
    if version == "untruncated":
        blocks = _fixed_point(lambda m: estimates * episodes(m), tail, log_inverse_delta)
    per_pair = episodes(blocks)
    return Budget(iterations, _horizon(length, blocks), per_pair, estimates * per_pair)


def _horizon(length: float, blocks: int) -> int:
    """H = 2 K m rounded up; P(T > H) <= 2^-m holds for real-valued 2 K m and thus for H."""
    return math.ceil(2 * length * blocks)


def _tail_blocks(length: float, reward_bound: float, separation: float) -> int:
    """The m that makes the bias R K 2^-m of cutting at H at most Delta / 8; at least 1."""
    if math.isinf(separation):
        return 1
    return max(1, math.ceil(math.log2(8 * reward_bound * length / separation)))


def _fixed_point(total_of_blocks: Callable[[int], int], start: int, log_inverse: float) -> int:
    """The smallest m >= `start` with M(m) 2^-m <= delta / 2, where M itself grows with m."""
    blocks = start
    while True:
        # math.log2 is exact enough on integers far beyond the range of floats
        needed = math.ceil(math.log2(2 * total_of_blocks(blocks)) + log_inverse / math.log(2))
        if needed <= blocks:
            return blocks
        blocks = needed

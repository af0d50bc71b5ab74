"""Confidence intervals of action values while they are being sampled, and what follows from them.

Intervals: empirical Bernstein (Maurer and Pontil 2009, theorem 4), which adapt to the variance of
the returns. What they say about a policy is derived here.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from common.tabular.ssp import FloatArray, IntArray


@dataclass(eq=False)
class RunningEstimates:
    """Means and variances of returns, of as many episodes as each state-action pair has had.

    Attributes:
        episodes: int64[S, A].
        means: float64[S, A].
        squares: float64[S, A], sums of squared deviations from the mean.
    """

    episodes: IntArray
    means: FloatArray
    squares: FloatArray

    @classmethod
    def empty(cls, n_states: int, n_actions: int) -> Self:
        """No episodes yet."""
        shape = (n_states, n_actions)
        return cls(np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape))

    def add(self, values: FloatArray, variance: FloatArray, episodes: int) -> None:
        """Merge means and variances, float64[S, A] each, of `episodes` further episodes per pair.

        Pairs without any (NaN) stay as they are. Pairwise update of Chan, Golub and LeVeque (1983).
        """
        n, m, new = self.episodes, episodes, ~np.isnan(values)
        spread = variance * (m - 1) if m > 1 else np.zeros_like(values)
        shift = values - self.means
        self.means = np.where(new, self.means + shift * m / (n + m), self.means)
        squares = self.squares + spread + shift**2 * (n * m / (n + m))
        self.squares = np.where(new, squares, self.squares)
        self.episodes = n + m * new

    def radius(self, spread: float, log_inverse_delta: float) -> FloatArray:
        """float64[S, A]: half-widths of intervals each of which fails with probability <= delta.

        sqrt(2 V L / n) + 7 b L / (3 (n - 1)) with the sample variance V, L = ln(4 / delta), which
        covers both sides, and b = `spread`, the length of the range of a return. inf below 2
        episodes.
        """
        log = math.log(4) + log_inverse_delta
        n = np.maximum(self.episodes, 2)
        variance = self.squares / (n - 1)
        radius = np.sqrt(2 * log * variance / n) + 7 * spread * log / (3 * (n - 1))
        return np.where(self.episodes < 2, math.inf, radius)


def loss_bound(
    lower: FloatArray, upper: FloatArray, policy: IntArray, lengths: FloatArray
) -> FloatArray:
    """float64[S]: bounds on v*(s) - v^policy(s) from intervals of Q^policy, float64[S, A] each.

    The longest expected episode xi(s) (`lengths`, float64[S], `exact.worst_case_length`) times the
    largest advantage over all states that the intervals allow: along an optimal policy the loss
    is the expected sum of the advantages of its actions, and no episode is expected to last longer
    (performance difference lemma, Kakade and Langford 2002, for stochastic shortest paths).
    """
    states = np.arange(len(policy))
    advantages = upper - lower[states, policy][:, None]
    advantages[states, policy] = 0.0  # of its own action a policy has no advantage, surely
    return lengths * max(0.0, float(advantages.max()))

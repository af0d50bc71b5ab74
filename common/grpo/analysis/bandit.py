"""A contextual softmax bandit: prompts that share a policy, with everything known exactly.

The policy answers prompt x by one of M answers, π(a|x) ∝ exp(φ(x,a)·θ + b(x,a)). The offsets b are
what it knows before training, at θ = 0. With fewer parameters than prompts, prompts compete; with a
parameter per answer they do not. All seeds are trained side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SoftmaxBandit:
    """Bandits of S seeds, each with X prompts of M answers and d shared parameters.

    Attributes:
        features: (S, X, M, d), φ; an axis of length 1 is shared.
        offsets: (S, X, M), b.
        correct: (S, X, M), which answers are right.
    """

    features: Floats
    offsets: Floats
    correct: NDArray[np.bool_]

    def __post_init__(self) -> None:
        shape = self.offsets.shape
        if self.features.ndim != 4 or len(shape) != 3 or self.correct.shape != shape:
            raise ValueError(
                "features, offsets, correct: need shapes (S, X, M, d), (S, X, M), (S, X, M), got "
                f"{self.features.shape}, {shape}, {self.correct.shape}"
            )

    @property
    def start(self) -> Floats:
        """(S, d), the parameters before training: zeros."""
        return np.zeros((len(self.offsets), self.features.shape[-1]))

    def policy(self, theta: Floats) -> Floats:
        """π, (S, X, M), for parameters (S, d)."""
        return np.asarray(softmax(self._logits(theta), axis=-1))

    def success_rates(self, theta: Floats) -> Floats:
        """ρ_x, (S, X)."""
        return (self.policy(theta) * self.correct).sum(-1)

    def rate_gradients(self, theta: Floats) -> Floats:
        """∇ρ_x, (S, X, d)."""
        policy = self.policy(theta)
        rates = (policy * self.correct).sum(-1, keepdims=True)
        weights = policy * (self.correct - rates)
        return np.asarray(np.einsum("sxm,sxmd->sxd", weights, self._features()))

    def ascent(self, theta: Floats, weights: Floats) -> Floats:
        """Mean over prompts of weight times ∇ρ_x, (S, d), for weights F'(ρ_x) of shape (S, X)."""
        policy = self.policy(theta)
        rates = (policy * self.correct).sum(-1, keepdims=True)
        coefficients = weights[..., None] * policy * (self.correct - rates)
        return self._combine(coefficients)

    def sample(self, theta: Floats, uniforms: Floats) -> NDArray[np.int64]:
        """Answers (S, X, N), by inversion of uniform numbers (S, X, N) in [0, 1)."""
        cumulative = self.policy(theta).cumsum(-1)
        # Rounding may leave the last sum a little below 1.
        found = (uniforms[..., None] >= cumulative[:, :, None, :-1]).sum(-1)
        return np.asarray(found, dtype=np.int64)

    def is_correct(self, answers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(S, X, N), whether answers are right."""
        return np.asarray(np.take_along_axis(self.correct, answers, -1))

    def update(self, theta: Floats, answers: NDArray[np.int64], advantages: Floats) -> Floats:
        """Mean over prompts of (1/N) Σ A_i ∇ log π(a_i|x), (S, d).

        Args:
            theta: (S, d).
            answers: (S, X, N).
            advantages: (S, X, N).
        """
        policy = self.policy(theta)
        samples = answers.shape[-1]
        cells = np.arange(policy[..., 0].size).reshape(*policy.shape[:2], 1) * policy.shape[-1]
        sums = np.bincount((cells + answers).ravel(), advantages.ravel(), policy.size)
        taken = sums.reshape(policy.shape) - advantages.sum(-1, keepdims=True) * policy
        return self._combine(taken / samples)

    def _logits(self, theta: Floats) -> Floats:
        seeds, prompts, answers = self.offsets.shape
        if self.features.shape[:3] != self.offsets.shape:
            return self.offsets + np.einsum("sxmd,sd->sxm", self._features(), theta)
        flat = self.features.reshape(seeds, prompts * answers, -1) @ theta[..., None]
        return self.offsets + flat.reshape(self.offsets.shape)

    def _combine(self, coefficients: Floats) -> Floats:
        """Mean over prompts of Σ_a c(x,a) φ(x,a), (S, d)."""
        seeds, prompts, answers = self.offsets.shape
        if self.features.shape[:3] != self.offsets.shape:
            return np.einsum("sxm,sxmd->sd", coefficients, self._features()) / prompts
        flat = self.features.reshape(seeds, prompts * answers, -1)
        return (coefficients.reshape(seeds, 1, -1) @ flat)[:, 0] / prompts

    def _features(self) -> Floats:
        return np.broadcast_to(self.features, (*self.offsets.shape, self.features.shape[-1]))


def shared_bandit(
    seeds: Sequence[int],
    *,
    prompts: int,
    features: int,
    answers: int,
    most_correct: int = 3,
    rates: tuple[float, float] = (0.01, 0.9),
) -> SoftmaxBandit:
    """Bandits whose prompts share parameters; each seed draws its own.

    Features are normal with variance 1/d. A prompt has 1 to `most_correct` right answers. Its
    success rate at the start is log-uniform between `rates`, split at random among the right
    answers, and the rest among the wrong ones.

    Args:
        seeds: equal seeds give equal bandits, whatever the other seeds are.
        prompts: X.
        features: d.
        answers: M, more than `most_correct`.
        most_correct: largest number of right answers.
        rates: lowest and highest success rate at the start.

    Raises:
        ValueError: a size is not positive, no wrong answer is left, or rates outside (0, 1).
    """
    if min(prompts, features, most_correct) < 1:
        raise ValueError("prompts, features, most_correct: must be positive")
    if answers <= most_correct:
        raise ValueError(f"answers: must exceed most_correct = {most_correct}, got {answers}")
    if not 0 < rates[0] <= rates[1] < 1:
        raise ValueError(f"rates: must rise inside (0, 1), got {rates}")
    phi, offsets, correct = [], [], []
    for seed in seeds:
        rng = np.random.default_rng([seed, 0])
        phi.append(rng.standard_normal((prompts, answers, features)) / np.sqrt(features))
        right = np.arange(answers) < rng.integers(1, most_correct + 1, (prompts, 1))
        rate = np.exp(rng.uniform(np.log(rates[0]), np.log(rates[1]), (prompts, 1)))
        shares = rng.standard_exponential((prompts, answers))
        right_share = shares / (shares * right).sum(1, keepdims=True) * rate
        wrong_share = shares / (shares * ~right).sum(1, keepdims=True) * (1 - rate)
        offsets.append(np.log(np.where(right, right_share, wrong_share)))
        correct.append(right)
    return SoftmaxBandit(np.stack(phi), np.stack(offsets), np.stack(correct))


def separate_bandits(bandit: SoftmaxBandit) -> SoftmaxBandit:
    """The same prompts, each as a bandit of its own with one parameter per answer.

    Returns:
        A bandit of S·X lanes with one prompt each, in the order of seeds, then prompts.
    """
    answers = bandit.offsets.shape[-1]
    lanes = bandit.offsets.reshape(-1, 1, answers)
    eye = np.eye(answers)[None, None]
    return SoftmaxBandit(eye, log_softmax(lanes, -1), bandit.correct.reshape(-1, 1, answers))

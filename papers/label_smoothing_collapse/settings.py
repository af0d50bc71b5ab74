"""One unconstrained feature model with its penalties: its objective and its minimiser."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from common.collapse.ufm.cross_entropy import (
    CrossEntropyMinimiser,
    balanced_labels,
    cross_entropy_minimiser,
    cross_entropy_objective,
)
from common.collapse.ufm.lbfgs import Parameters

Objective = Callable[[Parameters], Tensor]


@dataclass(frozen=True)
class Setting:
    """K classes with n samples each, d features, and an L2 penalty for each block."""

    num_classes: int
    per_class: int
    num_features: int
    weight_decay: float
    feature_decay: float
    bias_decay: float

    @property
    def penalty(self) -> float:
        """K s = √(K N λ_W λ_H): with it and δ alone, K fixes the logit gap."""
        return self.num_classes * math.sqrt(self.per_class * self.weight_decay * self.feature_decay)

    @property
    def labels(self) -> Tensor:
        return balanced_labels(self.num_classes, self.per_class)

    @property
    def decays(self) -> dict[str, float]:
        return {
            "weight": self.weight_decay,
            "features": self.feature_decay,
            "bias": self.bias_decay,
        }

    def minimiser(self, smoothing: float) -> CrossEntropyMinimiser:
        return cross_entropy_minimiser(
            self.num_classes,
            self.per_class,
            self.num_features,
            weight_decay=self.weight_decay,
            feature_decay=self.feature_decay,
            smoothing=smoothing,
        )

    def objective(self, smoothing: float) -> Objective:
        """The loss with its L2 terms."""
        return partial(
            cross_entropy_objective, labels=self.labels, smoothing=smoothing, decays=self.decays
        )

    def data_fit(self, smoothing: float) -> Objective:
        """The loss without them."""
        return partial(cross_entropy_objective, labels=self.labels, smoothing=smoothing)

    def matched(self, smoothing: float) -> Setting:
        """The setting whose plain cross-entropy has the logit gap of this one under smoothing.

        All penalties grow by (δ + K s) / (K s), because the gap depends on δ + K s alone; the
        ratio of the norms of W and H stays.
        """
        factor = (smoothing + self.penalty) / self.penalty
        return replace(
            self,
            weight_decay=factor * self.weight_decay,
            feature_decay=factor * self.feature_decay,
            bias_decay=factor * self.bias_decay,
        )

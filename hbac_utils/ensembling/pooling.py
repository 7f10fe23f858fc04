"""Linear and logarithmic pools of several members' probabilities.

A linear pool averages probabilities, a logarithmic one their logarithms (Genest and Zidek 1986,
Combining probability distributions, Statistical Science 1).
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy.special import softmax

from hbac_utils.labels import N_CLASSES
from hbac_utils.metric import floored_log


@dataclass(frozen=True)
class Pool:
    """Weights of members, and a calibration of the pooled logits: ``bias + scale · ln p``."""

    kind: Literal["linear", "log"]
    weights: np.ndarray  # (members,), the same for all classes, or (6, members)
    scale: np.ndarray = field(default_factory=lambda: np.ones(N_CLASSES))
    bias: np.ndarray = field(default_factory=lambda: np.zeros(N_CLASSES))

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Pool probabilities of shape (6, n, members); return shape (n, 6), rows sum to 1."""
        if self.kind == "log":
            logits = weighted_sum(floored_log(values), self.weights)
        else:
            pooled = weighted_sum(values, self.weights)
            if (self.scale == 1).all() and (self.bias == 0).all():
                return pooled / pooled.sum(axis=1, keepdims=True)
            logits = floored_log(pooled)
        return softmax(self.bias + self.scale * logits, axis=1)


def weighted_sum(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sum values (6, n, members) with weights (members,) or (6, members), to (n, 6)."""
    weights = np.broadcast_to(weights, (len(values), values.shape[-1])).astype(values.dtype)
    return np.stack([v @ w for v, w in zip(values, weights, strict=True)], axis=1)


def mean(members: int) -> Pool:
    """Average probabilities, with equal weights."""
    return Pool("linear", np.full(members, 1 / members))


def geometric_mean(members: int) -> Pool:
    """Average logarithms, with equal weights."""
    return Pool("log", np.full(members, 1 / members))

"""A pool: how the probabilities of several members become one prediction.

A linear pool averages probabilities, a logarithmic one their logarithms (Genest and Zidek 1986,
Combining probability distributions, Statistical Science 1); either may be scaled and shifted in the
logits afterwards, which is calibration.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from hbac_utils.labels import N_CLASSES

FLOOR = 1e-6
"""Probabilities below count as this in a logarithm: no member may rule a class out for all."""


@dataclass(frozen=True)
class Pool:
    """Weights of members, and a calibration.

    Attributes
    ----------
    kind : {"linear", "log"}
    weights : array of float, shape (members,) or (6, members)
        The same for all classes, or each class its own.
    scale, bias : arrays of float, shape (6,)
        Of the logits afterwards: ``bias + scale · ln p``.
    """

    kind: Literal["linear", "log"]
    weights: np.ndarray
    scale: np.ndarray = field(default_factory=lambda: np.ones(N_CLASSES))
    bias: np.ndarray = field(default_factory=lambda: np.zeros(N_CLASSES))

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Pool the members' probabilities.

        Parameters
        ----------
        values : array, shape (6, n, members)
            Probabilities, of a logarithmic pool too.

        Returns
        -------
        array of float64, shape (n, 6)
            Rows sum to 1.
        """
        if self.kind == "log":
            return softmax(self._calibrated(self._weighted(floored_log(values))))
        pooled = self._weighted(values)
        if self.is_calibrated:
            return softmax(self._calibrated(floored_log(pooled)))
        return pooled / pooled.sum(axis=1, keepdims=True)

    @property
    def is_calibrated(self) -> bool:
        """Whether scale or bias do anything."""
        return bool((self.scale != 1).any() or (self.bias != 0).any())

    def _weighted(self, values: np.ndarray) -> np.ndarray:
        weights = np.broadcast_to(self.weights, (N_CLASSES, values.shape[-1]))
        return np.stack([v @ w.astype(v.dtype) for v, w in zip(values, weights, strict=True)], 1)

    def _calibrated(self, logits: np.ndarray) -> np.ndarray:
        return self.bias + self.scale * logits


def floored_log(values: np.ndarray) -> np.ndarray:
    """Take the logarithm of probabilities, none below `FLOOR`."""
    return np.log(np.maximum(values, FLOOR))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Make probabilities of logits, over the last axis, in double precision."""
    logits = logits.astype(np.float64)
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def mean(members: int) -> Pool:
    """Average probabilities, all members alike."""
    return Pool("linear", np.full(members, 1 / members))


def geometric_mean(members: int) -> Pool:
    """Average logarithms, all members alike."""
    return Pool("log", np.full(members, 1 / members))

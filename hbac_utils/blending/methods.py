"""The ways to blend, the simplest first, each fitted without the patients that it is scored on."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hbac_utils.blending.logits import stack, temperature, vector_scaling
from hbac_utils.blending.pool import Pool, geometric_mean, mean
from hbac_utils.blending.weights import (
    Problem,
    Solution,
    class_weights,
    convex_weights,
    pose,
    selected_weights,
)


@dataclass
class Fit:
    """All methods on one set of windows; what several of them need is computed once.

    Parameters
    ----------
    values : array, shape (6, n, members)
    truth : array, shape (n, 6)
    """

    values: np.ndarray
    truth: np.ndarray

    def __post_init__(self):
        self.problem: Problem = pose(self.values, self.truth)
        self.solution: Solution = convex_weights(self.problem)

    @property
    def members(self) -> int:
        """How many there are."""
        return self.values.shape[-1]

    @property
    def weighted(self) -> Pool:
        """The linear pool with the lowest score."""
        return Pool("linear", self.solution.weights)


METHODS: dict[str, Callable[[Fit], Pool]] = {
    "mean": lambda fit: mean(fit.members),
    "geometric mean": lambda fit: geometric_mean(fit.members),
    "mean, temperature": lambda fit: temperature(mean(fit.members), fit.values, fit.truth),
    "weights": lambda fit: fit.weighted,
    "selection": lambda fit: Pool("linear", selected_weights(fit.problem)),
    "weights, temperature": lambda fit: temperature(fit.weighted, fit.values, fit.truth),
    "weights, vector scaling": lambda fit: vector_scaling(fit.weighted, fit.values, fit.truth),
    "weights by class": lambda fit: class_weights(fit.values, fit.truth, fit.solution.weights),
    "stack": lambda fit: stack(fit.values, fit.truth),
}
"""In this order the first one is chosen that no other one is better than beyond doubt."""

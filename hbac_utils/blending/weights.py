"""Weights of a linear pool that minimise the competition's score.

The score of a linear pool, −Σ t·ln(Σ w p), is convex in the weights, so its minimum over the
simplex can be found to any accuracy, with a proof: the gradient bounds the distance of a score from
the minimum.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from hbac_utils.blending.pool import Pool
from hbac_utils.metric import CLIP

TOLERANCE = 1e-13  # nats: where a weight is just not above zero, it is off by the root of this
ITERATIONS = 40
BLOCK = 65_536  # points in a step of the Hessian, so that it needs no second copy of all
TO_BOUNDARY = 0.995  # of the way to a weight of zero is gone at most
ROUNDS = 30  # of a selection
RELATIVE_PENALTY = 1e-2  # of class weights: nats for a weight that is off by one


@dataclass(frozen=True)
class Solution:
    """Weights on the simplex, and how far their score can be from the minimum, nats."""

    weights: np.ndarray
    gap: float


def convex_weights(values: np.ndarray, truth: np.ndarray, tolerance: float = TOLERANCE) -> Solution:
    """Minimise the score of a linear pool over the simplex of weights.

    A primal–dual interior-point method (Wright 1997, Primal-Dual Interior-Point Methods). As the
    rows of the truth sum to 1, the constraint Σw = 1 can be replaced by the term + Σw: the minimum
    over all w ≥ 0 then lies on the simplex. With sₘ = mean Σ t pₘ / Σ w p, the gradient is 1 − s,
    and the duality gap on the simplex is max s − 1.

    Parameters
    ----------
    values : array, shape (6, n, members)
        Probabilities; below the competition's clip they count as that.
    truth : array, shape (n, 6)
        Vote fractions.
    tolerance : float
        Of the duality gap, nats.

    Returns
    -------
    Solution
    """
    points, shares = _points(values, truth)
    members = values.shape[-1]
    weights = np.full(members, 1 / members)
    slack = np.ones(members)
    for _ in range(ITERATIONS):
        pooled = points @ weights
        gradient = 1 - points.T @ (shares / pooled)
        total = weights.sum()
        gap = float(np.max(1 - gradient) * total - 1)  # of weights / total
        if gap <= tolerance:
            break
        barrier = 0.1 * (weights @ slack) / members
        hessian = _hessian(points, np.sqrt(shares) / pooled)
        hessian[np.diag_indices(members)] += slack / weights
        step = cho_solve(cho_factor(hessian), barrier / weights - gradient)
        slack_step = barrier / weights - slack - slack / weights * step
        weights = weights + _reach(weights, step) * step
        slack = slack + _reach(slack, slack_step) * slack_step
    return Solution(weights / weights.sum(), max(gap, 0.0))


def linear_score(values: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> float:
    """Compute the cross-entropy of a linear pool, nats; `convex_weights` says of what."""
    points, shares = _points(values, truth)
    return float(-shares @ np.log(points @ weights))


def _points(values: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keep what has a truth above zero: probabilities (points, members), shares that sum to 1."""
    given = truth.T > 0
    points = np.maximum(values[given].astype(np.float64), CLIP)
    return points, truth.T[given] / len(truth)


def _hessian(points: np.ndarray, factors: np.ndarray) -> np.ndarray:
    members = points.shape[1]
    hessian = np.zeros((members, members))
    for start in range(0, len(points), BLOCK):
        # it steers the steps and not where they end: single precision will do
        block = points[start : start + BLOCK] * factors[start : start + BLOCK, None]
        block = block.astype(np.float32)
        hessian += block.T @ block
    return hessian


def _reach(place: np.ndarray, step: np.ndarray) -> float:
    shrinking = step < 0
    if not shrinking.any():
        return 1.0
    return min(1.0, TO_BOUNDARY * float(np.min(-place[shrinking] / step[shrinking])))


def selected_weights(values: np.ndarray, truth: np.ndarray, rounds: int = ROUNDS) -> np.ndarray:
    """Add the member that helps most, again and again, each as often as it likes.

    Caruana et al. 2004, Ensemble selection from libraries of models (ICML). Ends where no member
    lowers the score any more.

    Returns
    -------
    array of float, shape (members,)
        Multiples of one over the number of members chosen.
    """
    points, shares = _points(values, truth)
    points = np.ascontiguousarray(points.T, dtype=np.float32)  # logarithms are faster so
    shares = shares.astype(np.float32)
    counts = np.zeros(len(points), int)
    total, best = np.zeros(len(shares), np.float32), np.inf
    for size in range(1, rounds + 1):
        scores = [np.log(size) - shares @ np.log(total + member) for member in points]
        chosen = int(np.argmin(scores))
        if scores[chosen] >= best:
            break
        best = scores[chosen]
        counts[chosen] += 1
        total += points[chosen]
    return counts / counts.sum()


def class_weights(
    values: np.ndarray, truth: np.ndarray, common: np.ndarray, penalty: float = RELATIVE_PENALTY
) -> Pool:
    """Give each class weights of its own, drawn to the common ones by a penalty.

    The prediction is normalised, which makes the problem non-convex: this is the minimum that is
    reached from the common weights, never worse than they are.

    Parameters
    ----------
    values, truth : arrays
        As of `convex_weights`.
    common : array, shape (members,)
    penalty : float
        Times the squared distance from the common weights, nats.
    """
    classes, n, members = values.shape

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        own = flat.reshape(classes, members)
        pooled = np.stack([v @ w for v, w in zip(values, own, strict=True)], 1)
        pooled = np.maximum(pooled, CLIP)
        sums = pooled.sum(axis=1, keepdims=True)
        slope = (1 / sums - truth / pooled) / n
        gradient = np.stack([v.T @ s for v, s in zip(values, slope.T, strict=True)])
        away = own - common
        value = (np.log(sums[:, 0]).sum() - (truth * np.log(pooled)).sum()) / n
        return value + penalty * (away**2).sum(), (gradient + 2 * penalty * away).ravel()

    start = np.tile(common, classes)
    bounds = [(0.0, None)] * start.size
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    return Pool("linear", found.x.reshape(classes, members))

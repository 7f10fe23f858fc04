"""Weights of a linear pool that minimise the competition's score.

The score of a linear pool, −Σ t·ln(Σ w p), is convex in the weights, so its minimum over the
simplex can be found to any accuracy, with a proof: the gradient bounds the distance of a score from
the minimum.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from hbac_utils.ensembling.pooling import Pool
from hbac_utils.metric import CLIP

TOLERANCE = 1e-13  # nats: where a weight is just not above zero, it is off by the root of this
ITERATIONS = 40
ENOUGH = 65_536  # points for the Hessian
BLOCK = 4_096  # points in a step of the Hessian: few enough for a core's own cache
TO_BOUNDARY = 0.995  # of the way to a weight of zero is gone at most
ROUNDS = 30  # of a selection
RELATIVE_PENALTY = 1e-2  # of class weights: nats for a weight that is off by one


@dataclass(frozen=True)
class Problem:
    """The score of a linear pool as a function of its weights, to be minimised over the simplex.

    Attributes
    ----------
    points : array of float64, shape (points, members)
        The members' probabilities wherever the truth is above zero; below the competition's clip
        they count as that.
    shares : array of float64, shape (points,)
        The truth there, over the number of windows: they sum to 1.
    """

    points: np.ndarray
    shares: np.ndarray

    @cached_property
    def narrow(self) -> np.ndarray:
        """The points in single precision, for what steers and does not decide."""
        return self.points.astype(np.float32)

    def score(self, weights: np.ndarray) -> float:
        """Compute the cross-entropy, nats."""
        return float(-self.shares @ np.log(self.points @ weights))

    def without(self, member: int) -> "Problem":
        """Leave a member out."""
        return Problem(np.delete(self.points, member, axis=1), self.shares)


def pose(values: np.ndarray, truth: np.ndarray) -> Problem:
    """Make a problem of predictions.

    Parameters
    ----------
    values : array, shape (6, n, members)
        Probabilities.
    truth : array, shape (n, 6)
        Vote fractions.
    """
    given = truth.T > 0
    points = np.concatenate([v[rows] for v, rows in zip(values, given, strict=True)])
    points = points.astype(np.float64, copy=False)
    np.maximum(points, CLIP, out=points)
    return Problem(points, truth.T[given] / len(truth))


@dataclass(frozen=True)
class Solution:
    """Weights on the simplex, and how far their score can be from the minimum, nats."""

    weights: np.ndarray
    gap: float


def convex_weights(problem: Problem, tolerance: float = TOLERANCE) -> Solution:
    """Minimise the score of a linear pool over the simplex of weights.

    A primal–dual interior-point method (Wright 1997, Primal-Dual Interior-Point Methods). As the
    rows of the truth sum to 1, the constraint Σw = 1 can be replaced by the term + Σw: the minimum
    over all w ≥ 0 then lies on the simplex. With sₘ = mean Σ t pₘ / Σ w p, the gradient is 1 − s,
    and the duality gap on the simplex is max s − 1.

    Parameters
    ----------
    problem : Problem
    tolerance : float
        Of the duality gap, nats.

    Returns
    -------
    Solution
    """
    points, shares = problem.points, problem.shares
    members = points.shape[1]
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
        hessian = _hessian(problem.narrow, (np.sqrt(shares) / pooled).astype(np.float32))
        hessian[np.diag_indices(members)] += slack / weights
        step = cho_solve(cho_factor(hessian), barrier / weights - gradient)
        slack_step = barrier / weights - slack - slack / weights * step
        weights = weights + _reach(weights, step) * step
        slack = slack + _reach(slack, slack_step) * slack_step
    return Solution(weights / weights.sum(), max(gap, 0.0))


def _hessian(points: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Sum over the points, or a part of them where there are many.

    It steers the steps and not where they end: single precision and a sample will do.
    """
    members = points.shape[1]
    hessian = np.zeros((members, members))
    stride = max(1, len(points) // ENOUGH)
    points, factors = points[::stride], factors[::stride] * np.float32(np.sqrt(stride))
    for start in range(0, len(points), BLOCK):
        block = points[start : start + BLOCK] * factors[start : start + BLOCK, None]
        hessian += block.T @ block
    return hessian


def _reach(place: np.ndarray, step: np.ndarray) -> float:
    shrinking = step < 0
    if not shrinking.any():
        return 1.0
    return min(1.0, TO_BOUNDARY * float(np.min(-place[shrinking] / step[shrinking])))


def selected_weights(problem: Problem, rounds: int = ROUNDS) -> np.ndarray:
    """Add the member that helps most, again and again, each as often as it likes.

    Caruana et al. 2004, Ensemble selection from libraries of models (ICML). Ends where no member
    lowers the score any more.

    Returns
    -------
    array of float, shape (members,)
        Multiples of one over the number of members chosen.
    """
    points = np.ascontiguousarray(problem.narrow.T)  # logarithms are faster so
    shares = problem.shares.astype(np.float32)
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
        As of `pose`.
    common : array, shape (members,)
    penalty : float
        Times the squared distance from the common weights, nats.
    """
    classes, _, members = values.shape
    values = values.astype(np.float32, copy=False)

    def loss(flat: np.ndarray, values: np.ndarray, truth: np.ndarray) -> tuple[float, np.ndarray]:
        n = len(truth)
        own = flat.reshape(classes, members)
        narrow = own.astype(np.float32)
        pooled = np.stack([v @ w for v, w in zip(values, narrow, strict=True)], 1)
        pooled = np.maximum(pooled.astype(np.float64), CLIP)
        sums = pooled.sum(axis=1, keepdims=True)
        slope = (1 / sums - truth / pooled) / n
        narrow = slope.T.astype(np.float32)
        gradient = np.stack([v.T @ s for v, s in zip(values, narrow, strict=True)])
        away = own - common
        value = (np.log(sums[:, 0]).sum() - (truth * np.log(pooled)).sum()) / n
        return value + penalty * (away**2).sum(), (gradient + 2 * penalty * away).ravel()

    start = np.tile(common, classes)
    bounds = [(0.0, None)] * start.size
    found = descend(loss, start, values, truth, bounds=bounds)
    return Pool("linear", found.reshape(classes, members))


FEW = 8_192  # windows that show the way
SMALL = 1e-8  # nats: a step that gains less is the last one


def descend(
    loss: Callable, start: np.ndarray, values: np.ndarray, truth: np.ndarray, bounds=None
) -> np.ndarray:
    """Minimise by L-BFGS (Liu and Nocedal 1989); where there are many windows, on a part first.

    Most of the way leads through what any few thousand windows agree on.

    Parameters
    ----------
    loss : callable
        Of (parameters, values, truth); gives the loss and its gradient.
    start : array, shape (parameters,)
    values : array, shape (6, n, members)
    truth : array, shape (n, 6)
    bounds : sequence of pairs, optional

    Returns
    -------
    array, shape (parameters,)
        Where the loss is never higher than at the start.
    """

    def found(start: np.ndarray, stride: int) -> np.ndarray:
        part = (np.ascontiguousarray(values[:, ::stride]), truth[::stride])
        options = {"maxiter": 200, "ftol": SMALL}
        return minimize(
            loss, start, part, jac=True, method="L-BFGS-B", bounds=bounds, options=options
        ).x

    stride = len(truth) // FEW
    if stride > 1:
        rough = found(start, stride)
        start = min(start, rough, key=lambda place: loss(place, values, truth)[0])
    return found(start, 1)

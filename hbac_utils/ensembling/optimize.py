"""Weights, calibrations and stacks that minimise the competition's score.

The score of a linear pool, −Σ t·ln(Σ w p), is convex in the weights w; its gradient bounds the
distance from the minimum (the duality gap). Calibrations and stacks are multinomial regressions on
logits, whose loss is convex and equals the score up to a constant. ``values`` are the members'
probabilities, shape (6, n, members); ``truth`` vote fractions, shape (n, 6).
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import LinAlgError, cholesky, solve_triangular
from scipy.optimize import minimize, nnls
from scipy.special import log_softmax

from hbac_utils.ensembling.pooling import Pool, weighted_sum
from hbac_utils.metric import CLIP, floored_log

TOLERANCE = 1e-13  # nats, of the duality gap; a weight near zero may be off by its square root
ITERATIONS = 30  # of the weights
BLOCK = 4_096  # rows at a time in the Hessian: they fit a core's cache
SUBSAMPLE = 8_192  # windows of a first, coarse minimisation

# ridge penalties: nats for a weight or coefficient that is off by one
CLASS_PENALTY = 1e-2  # of class weights, from the common ones
STACK_PENALTY = 1e-2  # from the geometric mean's
CALIBRATION_PENALTY = 1e-4  # of vector scaling, for classes that hardly occur


@dataclass(frozen=True)
class Mixture:
    """The score of a linear pool as a function of its weights."""

    points: np.ndarray  # (points, members): probabilities where the truth is above 0, clipped
    shares: np.ndarray  # (points,): the truth there over the number of windows; they sum to 1

    @classmethod
    def of(cls, values: np.ndarray, truth: np.ndarray) -> "Mixture":
        """Select the points with votes."""
        voted = truth.T > 0
        points = np.concatenate([v[rows] for v, rows in zip(values, voted, strict=True)])
        points = points.astype(np.float64, copy=False)
        np.maximum(points, CLIP, out=points)
        return cls(points, truth.T[voted] / len(truth))

    def score(self, weights: np.ndarray) -> float:
        """Compute the cross-entropy, nats."""
        return float(-self.shares @ np.log(self.points @ weights))


def convex_weights(mixture: Mixture, tolerance: float = TOLERANCE) -> tuple[np.ndarray, float]:
    """Minimise the score of a linear pool over the simplex of weights.

    Sequential quadratic programming for mixture proportions [1]_. As the truth sums to 1, the
    constraint Σw = 1 can be replaced by a term + Σw; each Newton step is then a non-negative
    least-squares problem. With the gradient 1 − s, the duality gap on the simplex is max s − 1.

    Returns the weights, shape (members,), and the duality gap, nats: the score is no further above
    the minimum.

    References
    ----------
    .. [1] Kim, Carbonetto, Stephens, Anitescu (2020), J. Comput. Graph. Stat. 29, 261–273.
    """
    points, shares = mixture.points, mixture.shares
    members = points.shape[1]
    weights = np.full(members, 1 / members)
    for iteration in range(ITERATIONS):
        pooled = points @ weights
        ratios = points.T @ (shares / pooled)
        gap = float(ratios.max() * weights.sum() - 1)
        if gap <= tolerance or iteration == ITERATIONS - 1:
            break
        gradient = 1 - ratios
        hessian = _gram(points, np.sqrt(shares) / pooled)
        hessian, root = _positive_definite(hessian)
        aim = solve_triangular(root, hessian @ weights - gradient, lower=True)
        step = nnls(root.T, aim)[0] - weights
        value = mixture.score(weights) + weights.sum() + 1e-14  # rounding
        while mixture.score(weights + step) + (weights + step).sum() > value:
            step /= 2
        weights = weights + step
    return weights / weights.sum(), max(gap, 0.0)


def _positive_definite(hessian: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Add to the diagonal what a Cholesky factor needs; return the sum and the factor.

    Members may be equal, or so similar that rounding to single precision gives a negative
    eigenvalue.
    """
    ridge = np.trace(hessian) * np.eye(len(hessian))
    for size in (1e-9, 1e-7, 1e-5):
        with suppress(LinAlgError):
            return hessian + size * ridge, cholesky(hessian + size * ridge, lower=True)
    raise LinAlgError("the members' probabilities are not finite")


def _gram(points: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Sum the outer products of scaled points, in single precision: it gives a direction only."""
    gram = np.zeros((points.shape[1], points.shape[1]))
    for start in range(0, len(points), BLOCK):
        rows = slice(start, start + BLOCK)
        block = (points[rows] * factors[rows, None]).astype(np.float32)
        gram += block.T @ block
    return gram


def class_weights(
    values: np.ndarray, truth: np.ndarray, common: np.ndarray, penalty: float = CLASS_PENALTY
) -> Pool:
    """Fit weights for each class, with a ridge penalty towards the common ones.

    The prediction is normalised, so the problem is not convex: this is the minimum reached from the
    common weights.
    """
    values = values.astype(np.float32, copy=False)
    start = np.tile(common, (len(values), 1))

    def loss(flat: np.ndarray, values: np.ndarray, truth: np.ndarray) -> tuple[float, np.ndarray]:
        own, n = flat.reshape(start.shape), len(truth)
        pooled = np.maximum(weighted_sum(values, own).astype(np.float64), CLIP)
        sums = pooled.sum(axis=1, keepdims=True)
        value = (np.log(sums).sum() - np.vdot(truth, np.log(pooled))) / n
        slope = ((1 / sums - truth / pooled) / n).T.astype(np.float32)
        gradient = np.stack([v.T @ s for v, s in zip(values, slope, strict=True)])
        away = own - start
        return value + penalty * (away**2).sum(), (gradient + 2 * penalty * away).ravel()

    bounds = [(0.0, None)] * start.size
    found = minimise_large(loss, start.ravel(), values, truth, bounds=bounds)
    return Pool("linear", found.reshape(start.shape))


def minimise_large(
    loss: Callable, start: np.ndarray, values: np.ndarray, truth: np.ndarray, bounds=None
) -> np.ndarray:
    """Minimise by L-BFGS; with many windows on a subsample first, which is most of the way.

    ``loss`` takes (parameters, values, truth) and returns the loss and its gradient.
    """
    options = {"maxiter": 200, "ftol": 1e-8}
    for stride in sorted({max(1, len(truth) // SUBSAMPLE), 1}, reverse=True):
        part = (np.ascontiguousarray(values[:, ::stride]), truth[::stride])
        start = minimize(
            loss, start, part, jac=True, method="L-BFGS-B", bounds=bounds, options=options
        ).x
    return start


def vector_scaling(pool: Pool, values: np.ndarray, truth: np.ndarray) -> Pool:
    """Scale and shift each class's logit (Guo et al. 2017, arXiv:1706.04599)."""
    logits = floored_log(pool.predict(values))
    start = np.repeat([1.0, 0.0], truth.shape[1])

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        scale, bias = flat.reshape(2, -1)
        value, slope = _cross_entropy(bias + scale * logits, truth)
        gradient = np.concatenate([(slope * logits).sum(axis=0), slope.sum(axis=0)])
        away = flat - start
        value += CALIBRATION_PENALTY * (away @ away)
        return value, gradient + 2 * CALIBRATION_PENALTY * away

    scale, bias = minimize(loss, start, jac=True, method="L-BFGS-B").x.reshape(2, -1)
    return replace(pool, scale=scale, bias=bias)


def log_weights(values: np.ndarray, truth: np.ndarray) -> Pool:
    """Fit a non-negative weight per member and a bias per class of a logarithmic pool.

    The prediction is a weighted geometric mean times a factor per class, normalised (Genest and
    Zidek 1986; 3rd place of the competition). The weights need not sum to 1: their sum is a
    temperature. The problem is convex.
    """
    return _log_pool(values, truth, CALIBRATION_PENALTY, by_class=False)


def stack(values: np.ndarray, truth: np.ndarray, penalty: float = STACK_PENALTY) -> Pool:
    """Fit a coefficient per member and class and a bias per class.

    As members are correlated, a ridge penalty draws the coefficients to the geometric mean.
    """
    return _log_pool(values, truth, penalty, by_class=True)


def _log_pool(values: np.ndarray, truth: np.ndarray, penalty: float, by_class: bool) -> Pool:
    """Fit a bias per class, and weights by class, or common ones that are not negative."""
    classes, _, members = values.shape
    rows = classes if by_class else 1
    logs = floored_log(values).astype(np.float32, copy=False)
    start = np.concatenate([np.full(rows * members, 1 / members), np.zeros(classes)])

    def loss(flat: np.ndarray, logs: np.ndarray, truth: np.ndarray) -> tuple[float, np.ndarray]:
        own, bias = flat[:-classes].reshape(rows, members), flat[-classes:]
        value, slope = _cross_entropy(bias + weighted_sum(logs, own), truth)
        narrow = slope.T.astype(np.float32)
        by_member = np.stack([v.T @ s for v, s in zip(logs, narrow, strict=True)])
        if not by_class:
            by_member = by_member.sum(axis=0)
        gradient = np.concatenate([by_member.ravel(), slope.sum(axis=0)])
        away = flat - start
        return value + penalty * (away @ away), gradient + 2 * penalty * away

    bounds = [(None if by_class else 0.0, None)] * (rows * members) + [(None, None)] * classes
    found = minimise_large(loss, start, logs, truth, bounds=bounds)
    weights = found[:-classes].reshape(rows, members)
    return Pool("log", weights if by_class else weights[0], bias=found[-classes:])


def _cross_entropy(logits: np.ndarray, truth: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the mean over the rows, and its gradient with respect to the logits."""
    logs, n = log_softmax(logits, axis=1), len(truth)
    return float(-np.vdot(truth, logs) / n), (np.exp(logs) - truth) / n

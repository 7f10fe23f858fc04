"""Calibration of one prediction, and a stack of several: multinomial regressions on logits.

The losses are convex and equal the score up to a constant. For arguments see `optimize`.
"""

from dataclasses import replace

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from hbac_utils.ensembling.optimize import minimise_large
from hbac_utils.ensembling.pooling import Pool, weighted_sum
from hbac_utils.metric import floored_log

# ridge penalties: nats for a coefficient that is off by one
STACK_PENALTY = 1e-2  # from the geometric mean's
CALIBRATION_PENALTY = 1e-4  # of vector scaling, for classes that hardly occur


def temperature(pool: Pool, values: np.ndarray, truth: np.ndarray) -> Pool:
    """Scale a pool's logits by one number (Guo et al. 2017, arXiv:1706.04599)."""
    logits = floored_log(pool.predict(values))

    def loss(exponent: np.ndarray) -> tuple[float, np.ndarray]:
        scale = np.exp(exponent[0])  # stays positive
        value, slope = _cross_entropy(scale * logits, truth)
        return value, np.array([scale * (slope * logits).sum()])

    found = minimize(loss, np.zeros(1), jac=True, method="L-BFGS-B")
    return replace(pool, scale=np.full(truth.shape[1], np.exp(found.x[0])))


def vector_scaling(pool: Pool, values: np.ndarray, truth: np.ndarray) -> Pool:
    """Scale and shift each class's logit (Guo et al. 2017)."""
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


def stack(values: np.ndarray, truth: np.ndarray, penalty: float = STACK_PENALTY) -> Pool:
    """Fit a coefficient per member and class and a bias per class.

    As members are correlated, a ridge penalty draws the coefficients to the geometric mean.
    """
    classes, _, members = values.shape
    logs = floored_log(values).astype(np.float32, copy=False)
    start = np.concatenate([np.full(classes * members, 1 / members), np.zeros(classes)])

    def loss(flat: np.ndarray, logs: np.ndarray, truth: np.ndarray) -> tuple[float, np.ndarray]:
        own, bias = flat[:-classes].reshape(classes, members), flat[-classes:]
        value, slope = _cross_entropy(bias + weighted_sum(logs, own), truth)
        narrow = slope.T.astype(np.float32)
        by_member = np.concatenate([v.T @ s for v, s in zip(logs, narrow, strict=True)])
        gradient = np.concatenate([by_member, slope.sum(axis=0)])
        away = flat - start
        return value + penalty * (away @ away), gradient + 2 * penalty * away

    found = minimise_large(loss, start, logs, truth)
    return Pool("log", found[:-classes].reshape(classes, members), bias=found[-classes:])


def _cross_entropy(logits: np.ndarray, truth: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the mean over the rows, and its gradient with respect to the logits."""
    logs, n = log_softmax(logits, axis=1), len(truth)
    return float(-np.vdot(truth, logs) / n), (np.exp(logs) - truth) / n

"""What is fitted to logits: calibration of one prediction, and a stack of several.

Both are multinomial regressions on logarithms of probabilities, with vote fractions as targets;
their loss is the score up to a constant, and convex.
"""

from dataclasses import replace

import numpy as np
from scipy.optimize import minimize

from hbac_utils.ensembling.optimize import descend
from hbac_utils.ensembling.pooling import Pool, floored_log

STACK_PENALTY = 1e-2
"""Of a stack: nats for a coefficient that is off by one from the geometric mean's."""

CALIBRATION_PENALTY = 1e-4  # likewise of vector scaling: enough where a class hardly occurs


def temperature(pool: Pool, values: np.ndarray, truth: np.ndarray) -> Pool:
    """Divide a pool's logits by one number (Guo et al. 2017, arXiv:1706.04599).

    Parameters
    ----------
    pool : Pool
        Not calibrated.
    values : array, shape (6, n, members)
    truth : array, shape (n, 6)
    """
    logits = floored_log(pool.predict(values))
    found = minimize(_temperature_loss, np.zeros(1), (logits, truth), jac=True, method="L-BFGS-B")
    return replace(pool, scale=np.full(truth.shape[1], np.exp(found.x[0])))


def _temperature_loss(exponent: np.ndarray, logits: np.ndarray, truth: np.ndarray):
    # of the logarithm of the scale, so that it stays positive
    scale = np.exp(exponent[0])
    value, slope = _cross_entropy(scale * logits, truth)
    return value, np.array([scale * (slope * logits).sum()])


def vector_scaling(pool: Pool, values: np.ndarray, truth: np.ndarray) -> Pool:
    """Scale and shift each class's logit by numbers of its own (Guo et al. 2017).

    Parameters
    ----------
    pool, values, truth
        As of `temperature`.
    """
    logits = floored_log(pool.predict(values))
    classes = truth.shape[1]
    start = np.concatenate([np.ones(classes), np.zeros(classes)])

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        scale, bias = flat.reshape(2, classes)
        value, slope = _cross_entropy(bias + scale * logits, truth)
        gradient = np.concatenate([(slope * logits).sum(axis=0), slope.sum(axis=0)])
        away = flat - start
        return (
            value + CALIBRATION_PENALTY * (away**2).sum(),
            gradient + 2 * CALIBRATION_PENALTY * away,
        )

    scale, bias = minimize(loss, start, jac=True, method="L-BFGS-B").x.reshape(2, classes)
    return replace(pool, scale=scale, bias=bias)


def stack(values: np.ndarray, truth: np.ndarray, penalty: float = STACK_PENALTY) -> Pool:
    """Fit a coefficient for each member and class, and a bias for each class.

    Drawn to the geometric mean by a ridge penalty, as members are much alike.

    Parameters
    ----------
    values, truth
        As of `temperature`.
    penalty : float
    """
    classes, _, members = values.shape
    logs = floored_log(values).astype(np.float32)
    start = np.concatenate([np.full(classes * members, 1 / members), np.zeros(classes)])

    def loss(flat: np.ndarray, logs: np.ndarray, truth: np.ndarray) -> tuple[float, np.ndarray]:
        own, bias = flat[:-classes].reshape(classes, members), flat[-classes:]
        logits = np.stack([v @ w for v, w in zip(logs, own.astype(np.float32), strict=True)], 1)
        value, slope = _cross_entropy(bias + logits, truth)
        narrow = slope.T.astype(np.float32)
        gradient = np.stack([v.T @ s for v, s in zip(logs, narrow, strict=True)])
        away = flat - start
        return (
            value + penalty * (away**2).sum(),
            np.concatenate([gradient.ravel(), slope.sum(axis=0)]) + 2 * penalty * away,
        )

    found = descend(loss, start, logs, truth)
    return Pool("log", found[:-classes].reshape(classes, members), bias=found[-classes:])


def _cross_entropy(logits: np.ndarray, truth: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the mean over the rows, and its gradient with respect to the logits."""
    # the logarithm of the softmax, without taking it of numbers that may be zero
    away = logits - logits.max(axis=1, keepdims=True)
    prediction = np.exp(away)
    sums = prediction.sum(axis=1, keepdims=True)
    prediction /= sums
    value = float(np.log(sums).mean() - np.vdot(truth, away) / len(truth))
    return value, (prediction - truth) / len(truth)

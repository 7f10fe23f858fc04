"""Minimisation of a smooth loss over many windows."""

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize

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

"""How experts agree on a window: on one class, on two, or not."""

import numpy as np
import pandas as pd

from hbac_utils.labels import CLASSES, vote_fractions

KINDS = ("idealized", "proto", "edge", "scattered")
AGREED = 0.75
"""The share of the votes that makes an agreement of one class, or of two."""


def agreement(votes: np.ndarray) -> np.ndarray:
    """Name how experts agree on each window.

    With three quarters of the votes on one class it is *idealized*; else with that share on
    the two leading classes it is *proto* if one of them is Other, and an *edge* case if both
    are patterns; else the votes are *scattered*.

    Parameters
    ----------
    votes : array, shape (n, 6)

    Returns
    -------
    array of str, shape (n,), each one of `KINDS`

    References
    ----------
    Jing et al., Neurology 2023, doi:10.1212/WNL.0000000000201670, name the first three; the
    limit of three quarters is ours.
    """
    fractions = vote_fractions(votes)
    order = np.argsort(-fractions, axis=1, kind="stable")[:, :2]
    first, second = np.take_along_axis(fractions, order, axis=1).T
    with_other = (order == CLASSES.index("Other")).any(axis=1)
    conditions = [first >= AGREED, first + second < AGREED, with_other]
    return np.select(conditions, ["idealized", "scattered", "proto"], default="edge")


def shares(votes: np.ndarray) -> np.ndarray:
    """Place windows in the triangle of agreement.

    Parameters
    ----------
    votes : array, shape (n, 6)

    Returns
    -------
    array of float64, shape (n, 3)
        The shares of the leading pattern, of Other, and of all other patterns; they sum to one.
    """
    fractions = vote_fractions(votes)
    leading, other = fractions[:, :-1].max(axis=1), fractions[:, -1]
    return np.column_stack([leading, other, 1 - leading - other])


def vote_groups(totals: np.ndarray) -> pd.Categorical:
    """Group windows by how many experts voted; the groups do not cross `RELIABLE_VOTES`.

    Parameters
    ----------
    totals : array of int, shape (n,)
        Votes on each window.

    Returns
    -------
    Categorical, length n
        Ordered: ``1–2``, ``3``, ``4–9``, ``10–12``, ``13–15``, ``≥ 16``.
    """
    last = (2, 3, 9, 12, 15)
    first = (1, *(end + 1 for end in last))
    names = [f"{a}–{b}" if a < b else f"{a}" for a, b in zip(first, last, strict=False)]
    codes = np.searchsorted(last, np.asarray(totals))
    return pd.Categorical.from_codes(codes, [*names, f"≥ {first[-1]}"], ordered=True)

"""How sure a score is: patients drawn anew, as windows of one patient are much alike."""

import numpy as np
import pandas as pd

RESAMPLES = 2000


def resampled_means(losses: pd.DataFrame, patients: pd.Series) -> np.ndarray:
    """Average losses over patients drawn with replacement, again and again.

    Parameters
    ----------
    losses : DataFrame
        A row per window, a column per prediction.
    patients : Series
        Each row's patient.

    Returns
    -------
    array of float64, shape (RESAMPLES, columns)
        The same patients for all columns, so their differences can be taken row by row.
    """
    sums = losses.groupby(patients.to_numpy()).sum().to_numpy()
    counts = patients.value_counts().sort_index().to_numpy()
    n = len(counts)
    drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), RESAMPLES).astype(float)
    return (drawn @ sums) / (drawn @ counts)[:, None]

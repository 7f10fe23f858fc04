"""Windows of one EEG with the same votes: one opinion, however often it was written down."""

import numpy as np
import pandas as pd

from hbac_utils.labels import VOTE_COLUMNS


def group_windows(table: pd.DataFrame) -> pd.Series:
    """Assign numbers to the (EEG, vote vector) groups, in the order of their first windows.

    Parameters
    ----------
    table : DataFrame
        With ``eeg_id`` and the six votes.

    Returns
    -------
    Series of int
        Indexed as the table.
    """
    return table.groupby(["eeg_id", *VOTE_COLUMNS], sort=False).ngroup()


def middle_windows(windows: pd.DataFrame) -> np.ndarray:
    """Choose the middle window of each group: those that are scored.

    Parameters
    ----------
    windows : DataFrame
        With ``group`` and ``eeg_label_offset_seconds``, indexed from 0.

    Returns
    -------
    array of int64
        Positions, ascending.
    """
    order = windows.sort_values(["group", "eeg_label_offset_seconds"], kind="stable")
    groups = order.groupby("group")["group"]
    middle = groups.cumcount() == (groups.transform("size") - 1) // 2
    return np.sort(order.index[middle].to_numpy())

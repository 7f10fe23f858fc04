"""Folds by patient: nobody is in two of them."""

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from hbac_utils.errors import InputError
from hbac_utils.labels import CLASSES, RELIABLE_VOTES


def patient_folds(windows: pd.DataFrame, folds: int, seed: int) -> np.ndarray:
    """Assign each window to the fold that validates it.

    Patients are kept whole; classes are balanced over the (EEG, vote vector) groups, so that
    one long recording does not decide where its class goes.

    Parameters
    ----------
    windows : DataFrame
        With ``patient_id``, ``expert_consensus`` and ``group``.
    folds : int
    seed : int

    Returns
    -------
    array of int64, shape (n_windows,)
        From 0 to folds − 1.

    Raises
    ------
    InputError
        If there are fewer patients than folds, or a fold would stay empty.
    """
    patients = windows["patient_id"].nunique()
    if patients < folds:
        raise InputError(f"{folds} folds need at least {folds} patients, the data has {patients}")
    groups = windows.drop_duplicates("group")
    # a patient whose groups are spread by class is still placed as one, by scikit-learn
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    fold_of_patient: dict[int, int] = {}
    splits = splitter.split(groups, groups["expert_consensus"], groups["patient_id"])
    for fold, (_, held_out) in enumerate(splits):
        fold_of_patient.update(dict.fromkeys(groups["patient_id"].iloc[held_out], fold))
    fold = windows["patient_id"].map(fold_of_patient).to_numpy()
    empty = sorted(set(range(folds)) - set(fold))
    if empty:
        raise InputError(f"fold {empty[0]} of {folds} stays empty; use fewer folds")
    return fold


def split_balance(windows: pd.DataFrame, fold: np.ndarray) -> pd.DataFrame:
    """Tabulate what each fold validates.

    Parameters
    ----------
    windows : DataFrame
        As for `patient_folds`, with ``total_votes``.
    fold : array of int, shape (n_windows,)

    Returns
    -------
    DataFrame
        A row per fold: patients, windows, (EEG, vote vector) groups, the share of groups with
        ≥ 10 votes, and the share of each class among the groups.
    """
    table = windows.assign(fold=fold)
    groups = table.drop_duplicates("group").groupby("fold")
    counts = pd.DataFrame(
        {
            "patients": table.groupby("fold")["patient_id"].nunique(),
            "windows": table.groupby("fold").size(),
            "groups": groups.size(),
            f"≥ {RELIABLE_VOTES} votes": groups["total_votes"].agg(
                lambda votes: (votes >= RELIABLE_VOTES).mean()
            ),
        }
    )
    classes = groups["expert_consensus"].value_counts(normalize=True).unstack(fill_value=0.0)
    return counts.join(classes.reindex(columns=list(CLASSES), fill_value=0.0)).round(3)

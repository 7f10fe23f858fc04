"""Vote groups, folds by patient, and the experts' agreement."""

import warnings

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from hbac_utils.labels import CLASSES, RELIABLE_VOTES, VOTE_COLUMNS, vote_fractions
from hbac_utils.utils.errors import InputError


def group_windows(table: pd.DataFrame) -> pd.Series:
    """Give each (EEG, vote vector) group a number, in the order of their first windows."""
    return table.groupby(["eeg_id", *VOTE_COLUMNS], sort=False).ngroup()


def middle_windows(windows: pd.DataFrame) -> np.ndarray:
    """Choose the middle window of each group, which are scored: positions, ascending."""
    order = windows.sort_values(["group", "eeg_label_offset_seconds"], kind="stable")
    groups = order.groupby("group")["group"]
    middle = groups.cumcount() == (groups.transform("size") - 1) // 2
    return np.sort(order.index[middle].to_numpy())


def patient_folds(windows: pd.DataFrame, folds: int, seed: int) -> np.ndarray:
    """Assign each window to the fold that validates it; no patient is in two folds.

    Classes are balanced over the (EEG, vote vector) groups, so that one long recording does not
    decide where its class goes. Returns fold numbers, int64, shape (n_windows,). Raises
    InputError if there are fewer patients than folds, every class has fewer groups than folds, or
    a fold would be empty.
    """
    remedy = "use more EEGs (a larger LIMIT) or fewer folds (data.folds in the recipe)"
    patients = windows["patient_id"].nunique()
    if patients < folds:
        raise InputError(
            f"{folds} folds need at least {folds} patients, the data has {patients}; {remedy}"
        )
    groups = windows.drop_duplicates("group")
    largest = groups["expert_consensus"].value_counts().max()
    if largest < folds:
        raise InputError(
            f"{folds} folds need {folds} groups (EEG, vote vector) of a class, the data has at "
            f"most {largest}; {remedy}"
        )
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    splits = splitter.split(groups, groups["expert_consensus"], groups["patient_id"])
    fold_of_patient: dict[int, int] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of rare classes: `split_balance` shows them
        for fold, (_, held_out) in enumerate(splits):
            fold_of_patient.update(dict.fromkeys(groups["patient_id"].iloc[held_out], fold))
    fold = windows["patient_id"].map(fold_of_patient).to_numpy()
    empty = sorted(set(range(folds)) - set(fold))
    if empty:
        raise InputError(f"fold {empty[0]} of {folds} is empty; {remedy}")
    return fold


def split_balance(windows: pd.DataFrame, fold: np.ndarray) -> pd.DataFrame:
    """Tabulate what each fold validates.

    Counts patients, windows and groups; the share of groups with ≥ 10 votes; and the share of
    each class among the groups. ``fold`` is from `patient_folds`.
    """
    table = windows.assign(fold=fold)
    groups = table.drop_duplicates("group").groupby("fold")
    reliable = groups["total_votes"].agg(lambda votes: (votes >= RELIABLE_VOTES).mean())
    counts = pd.DataFrame(
        {
            "patients": table.groupby("fold")["patient_id"].nunique(),
            "windows": table.groupby("fold").size(),
            "groups": groups.size(),
            f"≥ {RELIABLE_VOTES} votes": reliable,
        }
    )
    classes = groups["expert_consensus"].value_counts(normalize=True).unstack(fill_value=0.0)
    return counts.join(classes.reindex(columns=list(CLASSES), fill_value=0.0)).round(3)


KINDS = ("idealized", "proto", "edge", "scattered")
AGREED = 0.75  # share of the votes that makes an agreement on one class, or on two


def agreement(votes: np.ndarray) -> np.ndarray:
    """Classify how the experts agree on each window.

    Three quarters of the votes on one class is *idealized*; else that share on the two leading
    classes is *proto* if one of them is Other, and *edge* if both are patterns; else *scattered*.
    Takes shape (n, 6); returns strings, shape (n,).

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
    """Vote shares of the leading pattern, of Other, and of all other patterns: shape (n, 3)."""
    fractions = vote_fractions(votes)
    leading, other = fractions[:, :-1].max(axis=1), fractions[:, -1]
    return np.column_stack([leading, other, 1 - leading - other])


def vote_groups(totals: np.ndarray) -> pd.Categorical:
    """Bin windows by their number of votes; the bins do not cross `RELIABLE_VOTES`."""
    names = ["1–2", "3", "4–9", "10–12", "13–15", "≥ 16"]
    codes = np.searchsorted([2, 3, 9, 12, 15], np.asarray(totals))
    return pd.Categorical.from_codes(codes, names, ordered=True)

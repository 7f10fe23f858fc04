"""Vote groups, folds by patient, and the experts' agreement."""

import numpy as np
import pandas as pd
import pytest

from hbac_utils.data.splits import (
    agreement,
    group_windows,
    middle_windows,
    patient_folds,
    split_balance,
    vote_groups,
)
from hbac_utils.labels import CLASSES, VOTE_COLUMNS
from hbac_utils.utils.errors import InputError


def test_groups_and_their_middle_windows_by_hand():
    votes = [(3, 0), (3, 0), (0, 3), (3, 0), (3, 0)]
    table = pd.DataFrame(
        {"eeg_id": [7, 7, 7, 7, 8], "eeg_label_offset_seconds": [4.0, 0.0, 8.0, 2.0, 0.0]}
    ).assign(**dict.fromkeys(VOTE_COLUMNS, 0))
    table[list(VOTE_COLUMNS[:2])] = votes
    table["group"] = group_windows(table)
    assert table["group"].tolist() == [0, 0, 1, 0, 2]
    # of offsets 0, 2 and 4 the one at 2
    assert middle_windows(table).tolist() == [2, 3, 4]


@pytest.mark.parametrize(
    ("votes", "kind"),
    [
        ((8, 0, 0, 0, 0, 0), "idealized"),
        ((6, 0, 0, 0, 0, 2), "idealized"),
        ((5, 0, 0, 0, 0, 3), "proto"),
        ((4, 4, 0, 0, 0, 0), "edge"),
        ((2, 2, 2, 0, 0, 2), "scattered"),
    ],
)
def test_agreement_by_hand(votes, kind):
    assert agreement(np.array([votes])).tolist() == [kind]


def test_vote_counts_are_binned():
    bins = vote_groups(np.array([1, 2, 3, 4, 9, 10, 12, 13, 15, 16, 28]))
    assert (
        list(bins)
        == ["1–2"] * 2 + ["3"] + ["4–9"] * 2 + ["10–12"] * 2 + ["13–15"] * 2 + ["≥ 16"] * 2
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_patient_is_in_two_folds(store, seed):
    fold = patient_folds(store.windows, 4, seed)
    assert set(fold) == {0, 1, 2, 3}
    assert (pd.Series(fold).groupby(store.windows["patient_id"].to_numpy()).nunique() == 1).all()


def test_folds_are_the_same_for_the_same_seed(store):
    np.testing.assert_array_equal(
        patient_folds(store.windows, 3, 5), patient_folds(store.windows, 3, 5)
    )
    assert (patient_folds(store.windows, 3, 5) != patient_folds(store.windows, 3, 6)).any()


def test_too_few_patients_or_groups_are_refused(store):
    with pytest.raises(InputError, match="17 folds need at least 17 patients, the data has 16"):
        patient_folds(store.windows, 17, 0)
    one_of_each_class = store.windows.drop_duplicates("expert_consensus")
    one_of_each_class = one_of_each_class.assign(patient_id=range(len(one_of_each_class)))
    line = "2 folds need 2 groups .* of a class, the data has at most 1; use more EEGs"
    with pytest.raises(InputError, match=line):
        patient_folds(one_of_each_class, 2, 0)


def test_the_balance_adds_up(store):
    fold = patient_folds(store.windows, 2, 0)
    balance = split_balance(store.windows, fold)
    assert balance["windows"].sum() == len(store.windows)
    assert balance["patients"].sum() == 16
    np.testing.assert_allclose(balance[list(CLASSES)].sum(axis=1), 1, atol=0.005)

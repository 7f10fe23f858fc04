import json

import numpy as np
import pandas as pd
import pytest

from hbac_utils.data import preprocessing as signals
from hbac_utils.data.readers import read_eeg, read_spectrogram
from hbac_utils.labels import VOTE_COLUMNS
from hbac_utils.recipe import Data
from hbac_utils.utils.errors import InputError


def test_a_stored_window_is_the_recordings_own(competition, store, tiny_recipe):
    table = competition.train.reset_index(drop=True)
    for position in (0, len(table) // 2, len(table) - 1):
        row, window = table.iloc[position], store.windows.iloc[position]
        eeg = read_eeg(competition.eeg_path("train", row["eeg_id"]))
        whole, _ = signals.clean_eeg(eeg, tiny_recipe.data.band, tiny_recipe.data.clip)
        first = int(row["eeg_label_offset_seconds"] * 200)
        stored = store.eeg[window["eeg_start"] : window["eeg_start"] + 10_000]
        np.testing.assert_array_equal(stored, whole[first : first + 10_000])
        assert window["eeg_last"] - window["eeg_first"] == len(whole)

        path = competition.spectrogram_path("train", row["spectrogram_id"])
        log = signals.log_power(read_spectrogram(path))
        first = int(row["spectrogram_label_offset_seconds"] // 2)
        start = window["spectrogram_start"]
        np.testing.assert_array_equal(
            store.spectrogram[start : start + 300], log[first : first + 300]
        )
        missing = np.isnan(log[first : first + 300]).mean()
        assert window["spectrogram_missing"] == pytest.approx(missing)


def test_the_table_keeps_all_rows_and_groups_vote_vectors(competition, store):
    pd.testing.assert_frame_equal(
        store.windows[list(competition.train.columns)],
        competition.train.reset_index(drop=True),
        check_dtype=False,
    )
    keys = ["eeg_id", *VOTE_COLUMNS]
    assert (store.windows.groupby("group")[keys].nunique() == 1).all().all()
    assert store.windows["group"].nunique() == len(store.windows.drop_duplicates(keys))


def test_one_middle_window_of_each_group_is_scored(store):
    chosen = store.windows.iloc[store.evaluation_windows()]
    assert chosen["group"].is_unique
    assert len(chosen) == store.windows["group"].nunique()
    for _, window in chosen.iterrows():
        group = store.windows[store.windows["group"] == window["group"]]
        offsets = sorted(group["eeg_label_offset_seconds"])
        assert window["eeg_label_offset_seconds"] == offsets[(len(offsets) - 1) // 2]


@pytest.mark.parametrize(
    ("data", "reason"), [({"band": (1, 30)}, "band"), ({"clip": 500}, "clip 1024")]
)
def test_a_store_for_other_signals_is_refused(store, data, reason):
    with pytest.raises(InputError, match=f"{reason}.*pack again"):
        store.check(Data(**data))


def test_the_store_says_what_it_was_built_from(store, competition):
    description = json.loads((store.path / "store.json").read_text())
    assert description["windows"] == len(competition.train)
    assert description["patients"] == 16
    assert description["key"]["band"] == [0.5, 40.0]

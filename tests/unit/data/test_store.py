import json

import numpy as np
import pandas as pd
import pytest
from scipy.signal import butter, sosfiltfilt

from hbac_utils.data import preprocessing as signals
from hbac_utils.data.readers import read_eeg, read_spectrogram
from hbac_utils.data.splits import patient_folds, split_balance
from hbac_utils.labels import CLASSES, VOTE_COLUMNS
from hbac_utils.recipe import Data
from hbac_utils.utils.errors import InputError


def sine(frequency, seconds=20, amplitude=100.0):
    times = np.arange(seconds * 200) / 200
    return (amplitude * np.sin(2 * np.pi * frequency * times))[:, None].astype(np.float32)


def test_the_band_passes_and_the_rest_does_not():
    inside = slice(1000, -1000)  # away from the edges
    for frequency, gain in ((0.05, 0.0), (5, 1.0), (20, 1.0), (60, 0.0), (90, 0.0)):
        filtered = signals.bandpass(sine(frequency) + 80, (0.5, 40))[inside]
        amplitude = np.sqrt(2) * filtered.std()
        assert amplitude / 100 == pytest.approx(gain, abs=0.01), frequency


def test_the_filter_does_not_shift_a_spike():
    spike = np.zeros((4000, 1), np.float32)
    spike[2000] = 500
    filtered = signals.bandpass(spike, (0.5, 40))[:, 0]
    assert np.argmax(filtered) == 2000
    np.testing.assert_allclose(filtered[1900:2000], filtered[2100:2000:-1], atol=0.5)


@pytest.mark.parametrize("band", [(0.5, 40), (0.1, 70), (1, 20), (8, 13)])
@pytest.mark.parametrize("n_times", [1, 2, 500, 601, 10_000, 33_333])
def test_the_filter_is_scipys(band, n_times):
    rng = np.random.default_rng(n_times)
    eeg = rng.normal(0, 60, (n_times, 3)) + rng.normal(0, 40, (n_times, 3)).cumsum(axis=0)
    sections = butter(signals.FILTER_ORDER, band, btype="bandpass", fs=200, output="sos")
    exact = sosfiltfilt(sections, eeg - eeg.mean(axis=0), axis=0, padlen=min(600, n_times - 1))
    filtered = signals.bandpass(eeg.astype(np.float32), band)
    assert filtered.shape == eeg.shape
    assert np.abs(filtered - exact).max() < 2e-6 * np.abs(eeg - eeg.mean(axis=0)).max() + 1e-5


def test_gaps_are_bridged_and_counted():
    eeg = np.tile(np.arange(10, dtype=np.float32)[:, None], (1, 3))
    eeg[3:6, 0] = np.nan
    eeg[:, 1] = np.nan
    filled, missing = signals.fill_gaps(eeg)
    np.testing.assert_array_equal(filled[:, 0], np.arange(10))
    np.testing.assert_array_equal(filled[:, 1], 0)
    assert missing.sum(axis=0).tolist() == [3, 10, 0]
    assert np.isnan(eeg[3, 0]), "the caller's array stays as it is"


def test_infinities_are_gaps_too():
    eeg = sine(5)
    eeg[100] = np.inf
    cleaned, missing = signals.clean_eeg(eeg, (0.5, 40), 1024)
    assert np.isfinite(cleaned).all()
    assert missing.sum() == 1


def test_amplitudes_are_clipped():
    cleaned, _ = signals.clean_eeg(sine(5, amplitude=1e6), (0.5, 40), 1024)
    assert cleaned.dtype == np.float16
    assert np.abs(cleaned).max() == 1024


def test_log_power_keeps_gaps_and_floors_zeros():
    log = signals.log_power(np.array([0, 1, np.e, 2e5, np.nan, np.inf], np.float32))
    np.testing.assert_allclose(log[:4], [np.log(1e-6), 0, 1, np.log(2e5)], rtol=1e-3)
    assert np.isnan(log[4:]).all()


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


def test_too_few_patients_are_refused(store):
    with pytest.raises(InputError, match="17 folds need at least 17 patients, the data has 16"):
        patient_folds(store.windows, 17, 0)


def test_the_balance_adds_up(store):
    fold = patient_folds(store.windows, 2, 0)
    balance = split_balance(store.windows, fold)
    assert balance["windows"].sum() == len(store.windows)
    assert balance["patients"].sum() == 16
    np.testing.assert_allclose(balance[list(CLASSES)].sum(axis=1), 1, atol=0.005)

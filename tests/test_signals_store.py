import json

import numpy as np
import pandas as pd
import pytest

from hbac_utils.data import signals
from hbac_utils.data.competition import open_competition, read_eeg, read_spectrogram
from hbac_utils.data.splits import patient_folds, split_balance
from hbac_utils.data.store import open_or_pack, open_store, pack
from hbac_utils.errors import InputError
from hbac_utils.labels import CLASSES, VOTE_COLUMNS
from hbac_utils.recipe import Data, override


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


def test_packing_without_spectrograms_and_refusing_to_use_them(own_competition, tmp_path):
    for path in (own_competition.path / "train_spectrograms").iterdir():
        path.unlink()
    (own_competition.path / "train_spectrograms").rmdir()
    store = pack(own_competition, tmp_path / "store", Data(), jobs=1, progress=False)
    store.check(Data())
    with pytest.raises(InputError, match="needs spectrograms"):
        store.check(Data(), ("spectrogram",))


@pytest.mark.parametrize(
    ("data", "reason"), [({"band": (1, 30)}, "band"), ({"clip": 500}, "clip 1024")]
)
def test_a_store_for_other_signals_is_refused(store, data, reason):
    with pytest.raises(InputError, match=f"{reason}.*pack again"):
        store.check(Data(**data))


def test_a_truncated_store_is_refused(competition, tmp_path):
    packed = pack(competition, tmp_path / "store", Data(), jobs=1, progress=False)
    path = packed.path / "eeg.npy"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"eeg\.npy: damaged.*pack again"):
        open_store(packed.path)
    with pytest.raises(InputError, match="no store"):
        open_store(tmp_path)


def test_a_missing_or_short_recording_stops_the_packing(own_competition, tmp_path):
    row = own_competition.train.iloc[-1]
    path = own_competition.eeg_path("train", row["eeg_id"])
    table = pd.read_parquet(path)
    table.iloc[:-200].to_parquet(path)
    with pytest.raises(InputError, match="but a window of train.csv ends at row"):
        pack(own_competition, tmp_path / "store", Data(), jobs=1, progress=False)
    path.unlink()
    with pytest.raises(InputError, match=f"{row['eeg_id']}.parquet: no such file"):
        pack(own_competition, tmp_path / "store", Data(), jobs=1, progress=False)
    assert not list(tmp_path.glob("*store*")), "nothing half done stays"


def test_what_exists_is_opened_not_packed_again(store, competition, tiny_recipe):
    before = (store.path / "store.json").stat().st_mtime_ns
    open_or_pack(store.path, competition, tiny_recipe)
    assert (store.path / "store.json").stat().st_mtime_ns == before
    narrow = override(tiny_recipe, {"data.band": [1, 20]})
    with pytest.raises(InputError, match="pack again"):
        open_or_pack(store.path, competition, narrow)
    with pytest.raises(InputError, match="exists"):
        pack(competition, store.path, Data())


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


def test_a_store_can_be_packed_from_kaggles_read_only_input(competition, tmp_path):
    # the competition's folder is not written to
    before = {path: path.stat().st_mtime_ns for path in competition.path.rglob("*")}
    pack(open_competition(competition.path), tmp_path / "store", Data(), jobs=1, progress=False)
    assert before == {path: path.stat().st_mtime_ns for path in competition.path.rglob("*")}

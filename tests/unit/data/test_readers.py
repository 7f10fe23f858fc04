"""Strict and lenient reading of recordings: every kind of malformed file, without a model."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import spoiled

from hbac_utils.data.competition import Competition, open_competition
from hbac_utils.data.layout import SPECTROGRAM_COLUMNS
from hbac_utils.data.packing import pack
from hbac_utils.data.preprocessing import find_unit
from hbac_utils.data.readers import (
    count_rows,
    read_eeg,
    read_eeg_lenient,
    read_spectrogram,
    read_spectrogram_lenient,
)
from hbac_utils.data.store import open_store
from hbac_utils.montage import CHANNELS, ELECTRODES
from hbac_utils.recipe import Data
from hbac_utils.utils.errors import InputError

LENIENT = {"eeg": read_eeg_lenient, "spectrogram": read_spectrogram_lenient}
kinds = pytest.mark.parametrize("kind", spoiled.FILES, ids=lambda kind: kind.name)


@pytest.fixture
def file(kind, competition, tmp_path) -> Path:
    """A good test recording of the kind, to be spoiled."""
    folder = spoiled.hidden_set(competition, tmp_path, 1) / f"test_{kind.recording}s"
    return next(folder.iterdir())


@kinds
def test_a_lenient_reader_reads_what_it_can_and_notes_what_was_wrong(kind, file):
    before, _ = LENIENT[kind.recording](file)
    kind.spoil(file)
    if kind.lost:
        with pytest.raises(InputError, match=re.escape(kind.lost)):
            LENIENT[kind.recording](file)
        return
    values, notes = LENIENT[kind.recording](file)
    assert kind.repaired in ", ".join(notes)
    assert bool(notes) == bool(kind.repaired)
    assert not np.isposinf(values).any() or kind.recording == "spectrogram"
    if kind.same:
        known = np.isfinite(values)
        assert known.mean() > 0.9 * np.isfinite(before).mean()
        np.testing.assert_allclose(values[known], before[known], rtol=1e-5, atol=1e-3)


@kinds
def test_training_refuses_a_bad_recording_and_packs_an_unusual_one(kind, competition, tmp_path):
    folder = training_folder(competition, tmp_path / "competition")
    path = next((folder / f"train_{kind.recording}s").iterdir())
    kind.spoil(path)
    arguments = open_competition(folder), tmp_path / "store", Data()
    if kind.refused:
        with pytest.raises(InputError, match=re.escape(kind.refused)) as caught:
            pack(*arguments, jobs=1, progress=False)
        assert str(path) in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1
        out = tmp_path / "store"
        assert not out.exists() or kind.recording not in open_store(out).inputs
    else:
        store = pack(*arguments, jobs=1, progress=False)
        assert np.isfinite(store.eeg).all()
        assert not np.isinf(store.spectrogram).any()


def training_folder(competition: Competition, folder: Path) -> Path:
    """One window, and its recordings cut to its length: packing them takes a hundredth."""
    row = competition.train.iloc[[0]].assign(
        eeg_label_offset_seconds=0, spectrogram_label_offset_seconds=0
    )
    for kind, length in (("eeg", 10_000), ("spectrogram", 300)):
        (folder / f"train_{kind}s").mkdir(parents=True)
        name = f"train_{kind}s/{row[f'{kind}_id'].item()}.parquet"
        pd.read_parquet(competition.path / name).head(length).to_parquet(folder / name)
    row.to_csv(folder / "train.csv", index=False)
    return folder


def write(path: Path, names, values) -> Path:
    pq.write_table(pa.table(list(values), list(names)), path)
    return path


def test_columns_are_read_by_name_and_rows_counted(competition, tmp_path):
    values = [np.arange(i, i + 4, dtype=np.float32) for i in range(len(CHANNELS))]
    path = write(tmp_path / "1.parquet", reversed(CHANNELS), reversed(values))
    np.testing.assert_array_equal(read_eeg(path).T, values[:19])
    newer = [f"EEG {spoiled.NEWER.get(name, name).upper()}-REF" for name in CHANNELS]
    path = write(tmp_path / "2.parquet", newer, values)
    np.testing.assert_array_equal(read_eeg(path).T, values[:19])
    row = competition.test.iloc[0]
    path = competition.spectrogram_path("test", row["spectrogram_id"])
    assert read_spectrogram(path).shape == (count_rows(path, SPECTROGRAM_COLUMNS), 400)


def test_wrong_columns_are_named(tmp_path):
    zeros = np.zeros(4, np.float32)
    path = write(tmp_path / "1.parquet", [*ELECTRODES[:-1], "A1"], [zeros] * 19)
    with pytest.raises(InputError, match="missing column O2; it has A1 instead; rename"):
        read_eeg(path)
    path = write(tmp_path / "2.parquet", [*ELECTRODES, "Cz"], [zeros] * 20)
    with pytest.raises(InputError, match="column Cz occurs twice"):
        count_rows(path, ELECTRODES)
    path = write(tmp_path / "3.parquet", ELECTRODES, [*[zeros] * 18, ["a", "b", "c", "d"]])
    with pytest.raises(InputError, match=f"column {ELECTRODES[-1]} is string"):
        read_eeg(path)


def tone(rate: int, seconds: float = 50, amplitude: float = 50) -> np.ndarray:
    """A 7-Hz tone on an offset, float32."""
    times = np.arange(round(seconds * rate)) / rate
    return (80 + amplitude * np.sin(2 * np.pi * 7 * times)).astype(np.float32)


def test_of_a_long_file_the_middle_is_read(tmp_path):
    path = write(tmp_path / "1.parquet", ELECTRODES, [tone(200, 60)] * 19)
    values, notes = read_eeg_lenient(path)
    np.testing.assert_allclose(values[:, 3], tone(200, 60)[1000:11_000], rtol=1e-5)
    assert notes == ["12000 rows instead of 10000"]


@pytest.mark.parametrize("rate", [100, 250, 256, 500, 512, 2048])
def test_another_recorders_rate_is_known_by_the_length_and_converted(tmp_path, rate):
    eeg = np.tile(tone(rate), (19, 1))
    eeg[5, rate : 2 * rate] = np.nan
    path = write(tmp_path / "1.parquet", ELECTRODES, eeg)
    values, notes = read_eeg_lenient(path)
    assert notes == [f"taken for {rate} Hz"]
    np.testing.assert_allclose(values[200:-200, 3], tone(200)[200:-200], atol=0.5)
    assert np.isfinite(values).all()


@pytest.mark.parametrize(
    ("amplitude", "unit"),
    [(5, ""), (50, ""), (400, ""), (5e-3, "millivolts"), (0.2, "millivolts"), (5e-6, "volts"),
     (2e-4, "volts"), (50e6, "millionths of a microvolt"), (5000, ""), (0, "")],
)  # fmt: skip
def test_units_are_told_apart_by_the_amplitude(amplitude, unit):
    eeg = np.tile(amplitude * (tone(200, amplitude=1) - 80)[:, None], (1, 19))
    mains = 3 * amplitude * np.sin(2 * np.pi * 60 * np.arange(len(eeg)) / 200)[:, None]
    drift = np.linspace(0, 100 * amplitude, len(eeg))[:, None]
    assert find_unit(eeg)[1] == unit
    assert find_unit(eeg + mains + drift)[1] == unit
    eeg[::3] = np.nan
    assert find_unit(eeg)[1] == unit


def test_the_real_recordings_are_read_without_a_note(real_eeg):
    for eeg_id in real_eeg.test["eeg_id"]:
        path = real_eeg.eeg_path("test", eeg_id)
        assert read_eeg(path).shape == (10_000, 19)
        assert read_eeg_lenient(path).notes == []

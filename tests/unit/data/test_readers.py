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
from hbac_utils.data.readers import (
    count_rows,
    read_eeg,
    read_eeg_lenient,
    read_spectrogram,
    read_spectrogram_lenient,
)
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
        assert not (tmp_path / "store").exists()
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
    values = [np.full(4, i, np.float32) for i in range(len(CHANNELS))]
    path = write(tmp_path / "1.parquet", reversed(CHANNELS), reversed(values))
    np.testing.assert_array_equal(read_eeg(path), np.tile(np.arange(19), (4, 1)))
    row = competition.test.iloc[0]
    path = competition.spectrogram_path("test", row["spectrogram_id"])
    assert read_spectrogram(path).shape == (count_rows(path, SPECTROGRAM_COLUMNS), 400)


def test_wrong_columns_are_named(tmp_path):
    zeros = np.zeros(4, np.float32)
    path = write(tmp_path / "1.parquet", ELECTRODES[:-1], [zeros] * 18)
    with pytest.raises(InputError, match=f"missing column {ELECTRODES[-1]}; download"):
        read_eeg(path)
    path = write(tmp_path / "2.parquet", [*ELECTRODES, "Cz"], [zeros] * 20)
    with pytest.raises(InputError, match="column Cz occurs twice"):
        count_rows(path, ELECTRODES)
    path = write(tmp_path / "3.parquet", ELECTRODES, [*[zeros] * 18, ["a", "b", "c", "d"]])
    with pytest.raises(InputError, match=f"column {ELECTRODES[-1]} is string"):
        read_eeg(path)


def test_of_a_long_file_the_middle_is_read(tmp_path):
    samples = np.sin(np.arange(12_000) / 7) * 50 + np.arange(12_000) / 100
    path = write(tmp_path / "1.parquet", ELECTRODES, [samples.astype(np.float32)] * 19)
    values, notes = read_eeg_lenient(path)
    np.testing.assert_allclose(values[:, 3], samples[1000:11_000], rtol=1e-5)
    assert notes == ["12000 rows instead of 10000"]


def test_the_real_recordings_are_read_without_a_note(real_eeg):
    for eeg_id in real_eeg.test["eeg_id"]:
        path = real_eeg.eeg_path("test", eeg_id)
        assert read_eeg(path).shape == (10_000, 19)
        assert read_eeg_lenient(path).notes == []

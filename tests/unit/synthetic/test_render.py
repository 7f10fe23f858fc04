"""Files of a simulated competition."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from hbac_utils.data.layout import SPECTROGRAM_COLUMNS
from hbac_utils.data.readers import read_eeg, read_spectrogram
from hbac_utils.montage import CHANNELS
from hbac_utils.synthetic.render import spectrogram, synthesize
from hbac_utils.synthetic.sessions import PlacedEpisode
from hbac_utils.synthetic.signals import decimate
from hbac_utils.utils.errors import InputError


@pytest.mark.parametrize("split", ["train", "test"])
def test_files_have_the_real_lengths_and_types(competition, split):
    table = competition.train if split == "train" else competition.test
    for kind, path_of, base, rate in (
        ("eeg", competition.eeg_path, 50, 200),
        ("spectrogram", competition.spectrogram_path, 600, 0.5),
    ):
        for key, rows in table.groupby(f"{kind}_id"):
            offset = rows[f"{kind}_label_offset_seconds"].max() if split == "train" else 0
            file = pq.ParquetFile(path_of(split, key))
            assert file.metadata.num_rows == rate * (base + offset)
            types = {field.name: str(field.type) for field in file.schema_arrow}
            if kind == "spectrogram":
                assert types.pop("time") == ("int64" if split == "train" else "int16")
            assert tuple(types) == (CHANNELS if kind == "eeg" else SPECTROGRAM_COLUMNS)
            assert set(types.values()) == {"float"}
    assert file.read(["time"])["time"].to_pylist()[:3] == [1, 3, 5]


def test_spectrogram_and_amplitudes_belong_to_the_eeg(competition):
    correlations, stds = [], []
    for row in competition.train.drop_duplicates("eeg_id").itertuples():
        power = read_spectrogram(competition.spectrogram_path("train", row.spectrogram_id))
        eeg = read_eeg(competition.eeg_path("train", row.eeg_id))[: 50 * 200]
        # the EEG begins 275 s after the spectrogram; its rows lie one second later
        inside = power[int(row.spectrogram_label_offset_seconds) // 2 + 138 :][:22]
        if np.isnan(eeg).any() or not (inside > 0).all():
            continue  # bad channel or lost rows
        again = spectrogram(decimate((eeg - eeg.mean(axis=0)).T))
        ours, theirs = np.log(again[2:20]).mean(axis=0), np.log(inside[2:20]).mean(axis=0)
        correlations.append(np.corrcoef(ours, theirs)[0, 1])
        stds.append(np.median(eeg.std(axis=0)))
    assert len(correlations) > 20
    assert np.median(correlations) > 0.97
    assert 5 < np.median(stds) < 200  # µV, as in intensive care


def test_same_seed_gives_the_same_bytes_with_any_number_of_jobs(tmp_path):
    def files(name, jobs):
        folder = tmp_path / name / "hms"
        synthesize(folder, eegs=3, test_eegs=1, seed=1, jobs=jobs, progress=False)
        paths = sorted(path for path in folder.parent.rglob("*") if path.is_file())
        return {str(path.relative_to(folder.parent)): path.read_bytes() for path in paths}

    first = files("a", jobs=1)
    assert first == files("b", jobs=2)
    tables = {"hms/train.csv", "hms/test.csv", "hms/sample_submission.csv"}
    assert tables | {"hms_truth/solution.csv", "hms_truth/truth.parquet"} < set(first)
    truth = pd.read_parquet(tmp_path / "a" / "hms_truth" / "truth.parquet")
    assert {"seizure_vote", "frequency", "laterality", "background_alpha"} <= set(truth)


def test_without_spectrograms_the_tables_are_the_same_and_the_signal_alike(tmp_path):
    settings = {"eegs": 6, "patients": 2, "test_eegs": 2, "seed": 9, "progress": False}
    whole = synthesize(tmp_path / "whole", **settings)
    alone = synthesize(tmp_path / "alone", eeg_only=True, **settings)
    pd.testing.assert_frame_equal(alone.train, whole.train)
    assert not alone.has_spectrograms("train")
    assert not alone.has_spectrograms("test")
    ratios = []
    for split, key in [("test", i) for i in alone.test["eeg_id"]] + [
        ("train", i) for i in alone.train["eeg_id"].unique()
    ]:
        signals = [read_eeg(c.eeg_path(split, key), CHANNELS) for c in (whole, alone)]
        assert signals[0].shape == signals[1].shape
        ratios.append(np.divide(*(np.nanmedian(np.nanstd(s[:, :19], axis=0)) for s in signals)))
    assert 0.5 < np.median(ratios) < 2


def test_an_episode_is_cut_to_the_signal():
    placed = PlacedEpisode(None, 10, 900, (300, 310), 960)
    assert placed.cut(275, 325) == PlacedEpisode(None, -2, 52, (25, 35), 685)
    assert placed.cut(0, 2000) == placed


@pytest.mark.parametrize(
    ("name", "value"),
    [("eegs", 0), ("patients", 0), ("patients", 6), ("test_eegs", 0), ("seed", -1), ("jobs", 0),
     ("evidence", 0), ("evidence", float("nan")), ("evidence", float("inf"))],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(tmp_path, name, value):
    with pytest.raises(InputError, match=f"{name} is {value}"):
        synthesize(tmp_path / "new", progress=False, **{"eegs": 5, name: value})
    assert not list(tmp_path.iterdir())


def test_a_folder_with_files_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="not empty"):
        synthesize(tmp_path, eegs=2, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_killed_simulation_continues_with_the_same_bytes(tmp_path):
    settings = {"eegs": 6, "patients": 3, "test_eegs": 2, "seed": 1, "progress": False}
    whole = synthesize(tmp_path / "whole", jobs=1, **settings).path
    code = (
        f"import hbac_utils; hbac_utils.synthesize({str(tmp_path / 'cut')!r}, jobs=1, **{settings})"
    )
    child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    written = tmp_path / ".cut.partial"
    while not list(written.glob("*/competition/train_spectrograms/[0-9]*.parquet")):
        assert child.poll() is None
        time.sleep(0.01)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    (first,) = list(written.glob("*/competition/train_spectrograms/[0-9]*.parquet"))[:1]
    before = first.stat().st_mtime_ns
    cut = synthesize(tmp_path / "cut", jobs=1, **settings).path
    assert (cut / "train_spectrograms" / first.name).stat().st_mtime_ns == before
    assert not written.exists()
    names = sorted(str(path.relative_to(whole)) for path in whole.rglob("*"))
    assert sorted(str(path.relative_to(cut)) for path in cut.rglob("*")) == names
    for name in names:
        assert (cut / name).is_dir() or (cut / name).read_bytes() == (whole / name).read_bytes()
    assert (tmp_path / "cut_truth" / "truth.parquet").is_file()

"""Files of a simulated competition."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from hbac_utils.data.layout import SPECTROGRAM_COLUMNS, TEST_COLUMNS, TRAIN_COLUMNS
from hbac_utils.data.readers import read_eeg, read_spectrogram
from hbac_utils.labels import VOTE_COLUMNS
from hbac_utils.metric import score
from hbac_utils.montage import CHANNELS
from hbac_utils.synthetic.render import render_session, spectrogram, synthesize, truth_folder
from hbac_utils.synthetic.sessions import make_plan
from hbac_utils.synthetic.signal import decimate
from hbac_utils.utils.errors import InputError

VOTES = list(VOTE_COLUMNS)


def test_layout_is_the_real_one(competition):
    folders = ["test_eegs", "test_spectrograms", "train_eegs", "train_spectrograms"]
    tables = ["sample_submission.csv", "test.csv", "train.csv"]
    assert sorted(path.name for path in competition.path.iterdir()) == sorted(folders + tables)
    assert list(pd.read_csv(competition.path / "train.csv")) == list(TRAIN_COLUMNS)
    assert list(pd.read_csv(competition.path / "test.csv")) == list(TEST_COLUMNS)
    sample = pd.read_csv(competition.path / "sample_submission.csv")
    assert list(sample) == ["eeg_id", *VOTES]
    np.testing.assert_allclose(sample[VOTES], 1 / 6)


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


def test_spectrogram_file_is_computed_from_the_same_signal(competition):
    correlations = []
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
    assert len(correlations) > 20
    assert np.median(correlations) > 0.97


def test_amplitudes_are_those_of_intensive_care(competition):
    eegs = [read_eeg(path) for path in sorted((competition.path / "train_eegs").iterdir())]
    stds = [np.nanmedian(eeg.std(axis=0)) for eeg in eegs]
    offsets = [np.nanmedian(np.abs(eeg.mean(axis=0))) for eeg in eegs]
    assert 5 < np.median(stds) < 200  # µV
    assert 2 < max(offsets) < 130


def test_truth_folder(competition):
    folder = truth_folder(competition.path)
    assert folder == competition.path.parent / "competition_truth"
    truth = pd.read_parquet(folder / "truth.parquet")
    train = truth[truth["split"] == "train"]
    assert set(train["label_id"]) == set(competition.train["label_id"])
    assert {"frequency", "laterality", "periodicity", "contrast", "background_alpha"} <= set(truth)
    solution = pd.read_csv(folder / "solution.csv")
    assert score(solution, truth[truth["split"] == "test"][["eeg_id", *VOTES]]) < 2


def test_same_seed_gives_the_same_bytes_with_any_number_of_jobs(tmp_path):
    def files(name, jobs):
        folder = tmp_path / name / "hms"
        synthesize(folder, eegs=3, test_eegs=1, seed=1, jobs=jobs, progress=False)
        paths = sorted(path for path in folder.parent.rglob("*") if path.is_file())
        return {str(path.relative_to(folder.parent)): path.read_bytes() for path in paths}

    first = files("a", jobs=1)
    assert first == files("b", jobs=2)
    assert {name.split("/")[0] for name in first} == {"hms", "hms_truth"}


def test_contrast_and_muscle_of_an_episode():
    plan = make_plan(12, 12, 1, seed=0)
    session = next(s for s in plan.sessions if len(s.episodes) == 1)

    def derivative_power(**changes):
        episode = replace(session.episodes[0].episode, **{"contrast": 10.0, "tension": 0} | changes)
        placed = replace(session.episodes[0], episode=episode)
        changed = replace(session, episodes=(placed,))
        eegs, _ = render_session(changed, np.random.default_rng(4))
        return np.square(np.diff(np.nan_to_num(eegs[0][:19]), 2)).mean()

    assert derivative_power(tension=300.0) > 5 * derivative_power()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eegs": 0}, "eegs is 0"),
        ({"eegs": 5, "patients": 0}, "patients is 0"),
        ({"eegs": 5, "patients": 6}, "patients is 6"),
        ({"eegs": 5, "test_eegs": 0}, "test_eegs is 0"),
        ({"eegs": 5, "seed": -1}, "seed is -1"),
        ({"eegs": 5, "jobs": 0}, "jobs is 0"),
        ({"eegs": 5, "evidence": 0}, "evidence is 0"),
    ],
)
def test_numbers_out_of_range_are_refused(tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        synthesize(tmp_path / "new", progress=False, **arguments)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_files_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="not empty"):
        synthesize(tmp_path, eegs=2, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]

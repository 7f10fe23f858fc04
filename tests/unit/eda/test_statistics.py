"""Statistics of the hand-made competition against counts by hand and scipy."""

import shutil

import numpy as np
import pytest
from figures import texts
from scipy.special import rel_entr

from hbac_utils import plots
from hbac_utils.data.competition import open_competition
from hbac_utils.eda import statistics
from hbac_utils.eda.browser import browse
from hbac_utils.eda.examples import (
    agreement_examples,
    class_examples,
    read_windows,
    recorded_windows,
    sample_windows,
)
from hbac_utils.labels import CLASSES
from hbac_utils.montage import ELECTRODES
from hbac_utils.utils.errors import InputError


def test_overview(handmade):
    counts = statistics.overview(handmade.train)["count"]
    assert counts.to_dict() == {
        "labelled windows": 5, "windows with ≥ 10 votes": 2, "(EEG, vote vector) groups": 4,
        "EEGs": 3, "spectrograms": 2, "patients": 2, "hours of EEG": 0, "hours of spectrogram": 0,
    }  # fmt: skip
    year = handmade.train.assign(eeg_label_offset_seconds=3600.0 * 1000 - 50)
    assert statistics.overview(year)["count"]["hours of EEG"] == 3_000


def test_counts_per_recording_and_changes_of_its_label(handmade):
    counts = statistics.recording_counts(handmade.train)
    assert {name: sorted(values) for name, values in counts.items()} == {
        "Windows per EEG": [1, 1, 3], "EEGs per patient": [1, 2],
    }  # fmt: skip
    table = statistics.label_changes(handmade.train)
    assert table.index.tolist() == [1, 2]
    assert table["EEGs"].tolist() == [2, 1]
    assert table["share"].tolist() == pytest.approx([2 / 3, 1 / 3], abs=1e-3)
    assert table["EEGs with several classes"].tolist() == [0, 1]


def test_agreement_table_counts_each_vote_vector_once(handmade):
    table = statistics.agreement_table(handmade.train)
    assert table.shape == (6, 4)
    assert table.to_numpy().sum() == 4
    assert table.loc["GPD", "proto"] == table.loc["LPD", "edge"] == 1


def test_constant_scores_against_scipy(handmade):
    fractions = np.array(
        [[1, 0, 0, 0, 0, 0], [1 / 3, 2 / 3, 0, 0, 0, 0], [0, 0, 0.5, 0, 0, 0.5], [0, 0, 0, 1, 0, 0]]
    )

    def prior_score(rows):
        return rel_entr(rows, np.broadcast_to(rows.mean(axis=0), rows.shape)).sum(axis=1).mean()

    scores = statistics.constant_scores(handmade.train)
    assert scores["prior"]["kl_all"] == pytest.approx(prior_score(fractions))
    assert scores["prior"]["kl_reliable"] == pytest.approx(prior_score(fractions[2:]))
    assert scores["uniform"]["kl_reliable"] == pytest.approx((np.log(3) + np.log(6)) / 2)
    table = statistics.overlap(handmade)
    assert table.loc["eeg_id"].tolist() == [3, 2, 1]
    assert table.loc["patient_id"].tolist() == [2, 2, 0]


def test_missing_values_are_counted_by_file_and_in_all(handmade):
    table = statistics.missing_data(handmade)
    assert table.loc["EEG"].tolist()[:4] == [3, 1, 1, 1]
    share = (10_000 + 18 * 50) / (19 * 32_000)
    assert table.loc["EEG", "share missing"] == pytest.approx(share, abs=1e-4)
    assert table.loc["spectrogram"].tolist()[:4] == [2, 1, 0, 1]


def test_mean_spectrograms_average_known_values(handmade):
    means = statistics.mean_spectrograms(handmade)
    assert means.shape == (6, 4, 300, 100)
    seizure, lrda = CLASSES.index("Seizure"), CLASSES.index("LRDA")
    assert means[seizure, :, 5:] == pytest.approx(np.ones((4, 295, 100)), abs=2e-3)  # ln e
    assert np.isnan(means[seizure, :, :5]).all()
    assert means[lrda] == pytest.approx(np.full((4, 300, 100), 1 + np.log(10)), abs=2e-3)
    assert np.isnan(means[CLASSES.index("GRDA")]).all()


def test_band_power_of_a_sine(handmade):
    eeg = np.zeros((10_000, 19))
    eeg[:, ELECTRODES.index("O2")] = 40 * np.sin(2 * np.pi * 10 * np.arange(10_000) / 200)
    power = statistics.band_power(eeg)
    # O2 is in 2 of 18 derivations; a sine of amplitude 40 has power 800
    assert power["alpha 8–13 Hz"] == pytest.approx(10 * np.log10(800 * 2 / 18), abs=0.05)
    assert power["delta 0.5–4 Hz"] < -20
    assert power["asymmetry"] > 60  # right
    table = statistics.band_powers(handmade, per_class=1)
    assert table["consensus"].tolist() == ["Seizure", "LPD", "GPD", "LRDA"]
    assert table["alpha 8–13 Hz"].iloc[0] == pytest.approx(power["alpha 8–13 Hz"], abs=0.1)


def test_a_part_of_a_competition_is_shown_as_far_as_it_is_there(handmade, tmp_path, capsys):
    """Of three EEGs two are there, one of them in part; one of two spectrograms, no test set."""
    shutil.copytree(handmade.path, tmp_path, dirs_exist_ok=True)
    part = open_competition(tmp_path)
    part.eeg_path("train", 3).unlink()
    part.spectrogram_path("train", 11).unlink()
    (tmp_path / "test.csv").unlink()
    rows = recorded_windows(part)
    assert capsys.readouterr().out == (
        "The folder holds 2 of 3 EEGs, 1 of 2 spectrograms, no test.csv: what is there is shown.\n"
    )
    assert rows["eeg_id"].unique().tolist() == [1, 2]
    interrupted = part.eeg_path("train", 2)
    interrupted.write_bytes(interrupted.read_bytes()[:5_000])
    assert [window.spectrogram is None for window in read_windows(part, rows)] == [True] * 3
    assert "left out: " in (printed := capsys.readouterr().out)
    assert "2.parquet: not a readable parquet file" in printed
    assert statistics.missing_data(part)["files"].tolist() == [1, 1]
    assert np.isfinite(statistics.mean_spectrograms(part)).any(axis=(1, 2, 3)).sum() == 1
    assert statistics.band_powers(part)["consensus"].tolist() == ["Seizure", "LPD"]
    assert statistics.overlap(part).loc["eeg_id"].tolist() == [3, 0, 0]
    assert browse(part) is None  # its first window is of the file that was read in part


def test_a_table_without_recordings_has_its_statistics(handmade, tmp_path):
    (tmp_path / "train.csv").write_text((handmade.path / "train.csv").read_text())
    tables = open_competition(tmp_path)
    rows = recorded_windows(tables)
    assert rows.empty
    assert class_examples(rows).empty
    assert agreement_examples(rows).empty
    assert statistics.missing_data(tables)["files"].tolist() == [0, 0]
    assert np.isnan(statistics.mean_spectrograms(tables)).all()
    assert "no EEGs" in texts(plots.band_power(statistics.band_powers(tables)))
    assert browse(tables) is None


@pytest.mark.parametrize("number", [-1, 1.5, float("nan"), 2**32])
def test_parameters_of_the_notebook_are_whole_numbers(handmade, number):
    for call in (class_examples, sample_windows):
        with pytest.raises(InputError, match="give a whole number from 0 up"):
            call(handmade.train, number)
    with pytest.raises(InputError, match=r"^files is .*; give a whole number"):
        statistics.missing_data(handmade, number)

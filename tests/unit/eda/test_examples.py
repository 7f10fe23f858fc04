"""Selecting example windows and reading them for display."""

import numpy as np
import pandas as pd
import pytest

from hbac_utils.data.packing import pack
from hbac_utils.eda.examples import (
    agreement_examples,
    class_examples,
    one_per_vote_vector,
    read_stored_windows,
    read_test_windows,
    read_window,
    read_windows,
)
from hbac_utils.labels import VOTE_COLUMNS, consensus
from hbac_utils.montage import ELECTRODES
from hbac_utils.recipe import Data
from hbac_utils.utils.errors import InputError


def votes_table(votes) -> pd.DataFrame:
    table = pd.DataFrame(votes, columns=list(VOTE_COLUMNS))
    return table.assign(eeg_id=range(len(table)), expert_consensus=consensus(table.to_numpy()))


def test_class_examples_prefer_the_kind_of_agreement_then_many_votes(handmade):
    chosen = class_examples(handmade.train)
    assert chosen["expert_consensus"].tolist() == ["Seizure", "GPD", "LRDA"]
    edges = class_examples(handmade.train, kind="edge")
    assert edges["expert_consensus"].tolist() == ["LPD", "GPD", "LRDA"]  # EEG 1 once: its edge
    assert edges["label_id"].iloc[0] == 3
    assert one_per_vote_vector(handmade.train)["label_id"].tolist() == [1, 3, 4, 5]
    many = class_examples(votes_table([[3, 0, 0, 0, 0, 0], [14, 0, 0, 0, 0, 0]]))
    assert many["eeg_id"].tolist() == [1]


def test_agreement_examples_are_the_purest_of_each_kind():
    chosen = agreement_examples(
        votes_table(
            [
                [0, 3, 0, 0, 0, 0],
                [0, 13, 0, 0, 0, 1],  # about as pure as the first, with more votes
                [0, 0, 1, 0, 0, 1],
                [0, 0, 7, 0, 0, 8],
                [0, 0, 9, 0, 0, 4],  # also proto, less pure
                [0, 6, 0, 6, 0, 0],
                [1, 1, 1, 0, 0, 1],  # few votes, but the only one
                [0, 0, 0, 0, 0, 20],
            ]
        )
    )
    assert chosen["eeg_id"].tolist() == [1, 3, 5, 6]
    assert chosen["title"].tolist() == [
        "idealized: 13 LPD, 1 Other",
        "proto: 8 Other, 7 GPD",
        "edge: 6 LPD, 6 LRDA",
        "scattered: 1 Seizure, 1 LPD, 1 GPD, 1 Other",
    ]
    chosen = agreement_examples(votes_table([[0, 0, 0, 0, 5, 0], [0, 0, 0, 0, 0, 4]]))
    titles = ["idealized: 5 GRDA", "no proto window; idealized: 4 Other"]
    assert chosen["title"].tolist() == titles


def test_read_window_cuts_filters_and_keeps_gaps(handmade):
    window = read_window(handmade, handmade.train.iloc[3])
    assert (window.eeg.shape, window.spectrogram.shape) == ((10_000, 19), (300, 400))
    assert window.votes.tolist() == [0, 0, 6, 0, 0, 6]
    assert window.title == "GPD · EEG 2"
    assert np.isnan(window.eeg[:, ELECTRODES.index("F3")]).all()
    assert np.isnan(window.eeg[100:150]).all()
    o2 = window.eeg[2_000:8_000, ELECTRODES.index("O2")]
    assert np.abs(o2).max() == pytest.approx(40, rel=0.02)  # 10 Hz passes
    assert np.nanmax(window.spectrogram) == pytest.approx(1, abs=1e-3)  # ln e
    assert np.isnan(window.spectrogram).sum() == 0  # the gap ends 60 s earlier
    (early,) = read_windows(handmade, handmade.train.head(4).iloc[[0, 2]], "Seizure")
    assert np.isnan(early.spectrogram).all(axis=1).sum() == 5


def test_read_window_rejects_a_file_that_is_too_short(handmade):
    row = handmade.train.iloc[2].copy()
    row["eeg_label_offset_seconds"] = 20.0
    with pytest.raises(InputError, match=r"1\.parquet: 12000 rows, but a window .* row 14000"):
        read_window(handmade, row)


def test_stored_windows_equal_those_of_the_competition(competition, store):
    (stored,) = read_stored_windows(store, store.windows.iloc[[3]].assign(title="one"))
    read = read_window(competition, competition.train.iloc[3])
    assert (stored.title, stored.votes.tolist()) == ("one", read.votes.tolist())
    present = np.isfinite(read.eeg).all(axis=0)
    for trace, other in zip(stored.eeg.T[present], read.eeg.T[present], strict=True):
        assert np.corrcoef(trace[400:-400], other[400:-400])[0, 1] > 0.99
    np.testing.assert_allclose(stored.spectrogram, read.spectrogram, atol=1e-6)


def test_an_eeg_that_is_not_packed_is_read_from_the_competition(competition, tmp_path):
    store = pack(competition, tmp_path / "s", Data(), ("spectrogram",), limit=1, progress=False)
    row = store.windows.head(1)
    (alone,), (read,) = read_stored_windows(store, row), read_windows(competition, row)
    assert np.isnan(alone.eeg).all()
    (stored,) = read_stored_windows(store, row, competition)
    np.testing.assert_array_equal(stored.eeg, read.eeg)
    np.testing.assert_allclose(stored.spectrogram, read.spectrogram, atol=1e-6)


def test_unreadable_test_recordings_are_blank_with_the_reason(handmade):
    good, bad = read_test_windows(handmade, 5)
    assert good.votes is None
    assert good.spectrogram is None
    assert np.isfinite(good.eeg).all()
    assert np.isnan(bad.eeg).all()
    assert "102.parquet: no such file" in bad.title

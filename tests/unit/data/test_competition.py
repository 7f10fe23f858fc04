"""The competition folder, and what is refused or accepted in its tables."""

import numpy as np
import pandas as pd
import pytest
import spoiled

from hbac_utils.data import competition as layout
from hbac_utils.data.competition import open_competition, whole_number
from hbac_utils.data.layout import SPECTROGRAM_COLUMNS
from hbac_utils.labels import VOTE_COLUMNS
from hbac_utils.utils.errors import InputError


def test_spectrogram_columns_are_named_as_kaggle_rounds():
    assert len(SPECTROGRAM_COLUMNS) == 400
    assert SPECTROGRAM_COLUMNS[:3] == ("LL_0.59", "LL_0.78", "LL_0.98")
    assert SPECTROGRAM_COLUMNS[18] == "LL_4.1"
    assert SPECTROGRAM_COLUMNS[-1] == "RP_19.92"
    assert [name[:2] for name in SPECTROGRAM_COLUMNS[::100]] == ["LL", "RL", "LP", "RP"]


def changed(competition, change):
    path = competition.path / "train.csv"
    change(pd.read_csv(path)).to_csv(path, index=False)
    return open_competition(competition.path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t.drop(columns="patient_id"), "missing column patient_id"),
        (lambda t: t.assign(spindle_vote=0), "unknown vote column spindle_vote"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "label_id .* occurs twice"),
        (lambda t: t.assign(**dict.fromkeys(VOTE_COLUMNS, 0)), "has zero votes"),
        (lambda t: t.assign(lpd_vote=-1), "lpd_vote -1 is not a whole number ≥ 0"),
        (lambda t: t.assign(lpd_vote="many"), "lpd_vote many is not a whole number"),
        (lambda t: t.assign(lpd_vote=0.5), "lpd_vote 0.5 is not a whole number"),
        (lambda t: t.assign(lpd_vote=float("inf")), "lpd_vote inf is not a whole number"),
        (lambda t: t.assign(eeg_id=2.0**60), "eeg_id 1.15.*e.18 is not a whole number"),
        (lambda t: t.assign(eeg_id=-t.eeg_id), "eeg_id -.* is not a whole number ≥ 0"),
        (lambda t: t.assign(patient_id=range(len(t))), "patient_id 1 differs from"),
        (lambda t: t.assign(eeg_label_offset_seconds="late"), "eeg_label_offset_seconds late"),
        (lambda t: t.assign(eeg_label_offset_seconds=1e300), "eeg_label_offset_seconds 1e.300"),
        (lambda t: t.assign(eeg_label_offset_seconds=-2.0), "eeg_label_offset_seconds -2"),
        (lambda t: t.assign(expert_consensus="Spindle"), "expert_consensus Spindle is none of"),
        (lambda t: t.assign(seizure_vote=t.seizure_vote + 100), "class with the most votes"),
        (lambda t: t.iloc[:0], "no rows"),
    ],
)
def test_a_wrong_train_table_is_refused_in_one_line(own_competition, change, reason):
    with pytest.raises(InputError, match=reason) as caught:
        _ = changed(own_competition, change).train
    assert "train.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_message_names_the_line(own_competition):
    def change(table):
        table.loc[3, "lpd_vote"] = -7
        return table

    with pytest.raises(InputError, match="line 5: lpd_vote -7"):
        _ = changed(own_competition, change).train


def test_a_folder_that_is_no_competition_is_refused(tmp_path):
    with pytest.raises(InputError, match="neither train.csv nor test.csv"):
        open_competition(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        open_competition(tmp_path / "nowhere")


@pytest.mark.parametrize("mount", ["competitions/" + layout.SLUG, layout.SLUG])
def test_both_of_kaggles_mount_points_are_found(tmp_path, monkeypatch, mount):
    monkeypatch.setattr(layout, "KAGGLE_INPUT", tmp_path)
    with pytest.raises(InputError, match="attach"):
        open_competition()
    folder = tmp_path / mount
    folder.mkdir(parents=True)
    (folder / "test.csv").write_text("eeg_id\n1\n")
    assert open_competition().path == folder


def test_whole_numbers_written_as_floats_are_accepted(own_competition):
    train = changed(own_competition, lambda t: t.astype({"eeg_id": float, "lpd_vote": float})).train
    assert train[["eeg_id", "lpd_vote"]].dtypes.tolist() == [np.int64, np.int64]


@pytest.mark.parametrize("raw", [b"", np.random.default_rng(0).bytes(1000)])
def test_a_training_table_that_is_not_csv_is_refused(raw, own_competition):
    (own_competition.path / "train.csv").write_bytes(raw)
    with pytest.raises(InputError, match=r"train\.csv: "):
        _ = open_competition(own_competition.path).train


@pytest.mark.parametrize("spoil", spoiled.TABLES, ids=lambda spoil: spoil.__name__)
def test_a_bad_test_table_keeps_all_ids_and_finds_their_files(spoil, competition, tmp_path):
    folder = spoiled.hidden_set(competition, tmp_path / "hidden")
    expected = spoil(folder)
    hidden = open_competition(folder)
    ids = hidden.test["eeg_id"].drop_duplicates().tolist()
    assert ids == expected.ids
    for eeg_id in ids:
        if eeg_id in expected.lost:
            with pytest.raises(InputError):
                hidden.find_test_recording("eeg", eeg_id)
        else:
            path = hidden.find_test_recording("eeg", eeg_id)
            name = path.stem
            assert name == str(eeg_id) or whole_number(name) == whole_number(eeg_id)


def test_a_test_table_without_ids_is_refused(tmp_path):
    (tmp_path / "test.csv").write_text("patient_id\n1\n")
    with pytest.raises(InputError, match="missing column eeg_id"):
        _ = open_competition(tmp_path).test

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hbac_utils.data import competition as layout
from hbac_utils.data.competition import open_competition
from hbac_utils.data.layout import SPECTROGRAM_COLUMNS
from hbac_utils.data.readers import read_eeg, read_footer, read_spectrogram
from hbac_utils.labels import VOTE_COLUMNS
from hbac_utils.montage import CHANNELS, ELECTRODES
from hbac_utils.utils.errors import InputError


def test_spectrogram_columns_are_named_as_kaggle_rounds():
    assert len(SPECTROGRAM_COLUMNS) == 400
    assert SPECTROGRAM_COLUMNS[:3] == ("LL_0.59", "LL_0.78", "LL_0.98")
    assert SPECTROGRAM_COLUMNS[18] == "LL_4.1"
    assert SPECTROGRAM_COLUMNS[-1] == "RP_19.92"
    assert [name[:2] for name in SPECTROGRAM_COLUMNS[::100]] == ["LL", "RL", "LP", "RP"]


def test_the_small_competition_reads(competition):
    train = competition.train
    assert train["eeg_id"].nunique() == 40
    eeg = read_eeg(competition.eeg_path("train", train["eeg_id"].iloc[0]))
    assert eeg.shape[1] == 19
    assert eeg.dtype == np.float32
    spectrogram = read_spectrogram(
        competition.spectrogram_path("train", train["spectrogram_id"].iloc[0])
    )
    assert spectrogram.shape[1] == 400


def spoiled(competition, change):
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
        (lambda t: t.assign(lpd_vote=-1), "lpd_vote -1 is negative"),
        (lambda t: t.assign(lpd_vote="many"), "lpd_vote many is not a number"),
        (lambda t: t.assign(lpd_vote=0.5), "lpd_vote 0.5 is no whole number"),
        (lambda t: t.assign(lpd_vote=float("inf")), "lpd_vote inf is no whole number"),
        (lambda t: t.assign(eeg_id=2.0**60), "eeg_id 1.15.*e.18 is too large"),
        (lambda t: t.assign(eeg_id=-t.eeg_id), "eeg_id -.* is no whole number from 0 up"),
        (lambda t: t.assign(patient_id=range(len(t))), "patient_id 1 is another one"),
        (lambda t: pd.concat([t, t[["eeg_id"]]], axis=1), "column eeg_id occurs twice"),
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
        _ = spoiled(own_competition, change).train
    assert "train.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_message_names_the_line(own_competition):
    def change(table):
        table.loc[3, "lpd_vote"] = -7
        return table

    with pytest.raises(InputError, match="line 5: lpd_vote -7"):
        _ = spoiled(own_competition, change).train


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


def write(path, columns):
    pq.write_table(pa.table(columns), path)
    return path


def test_what_is_no_parquet_is_refused(tmp_path):
    path = tmp_path / "1.parquet"
    with pytest.raises(InputError, match="no such file"):
        read_eeg(path)
    path.write_text("not parquet")
    for read in (read_eeg, read_spectrogram, read_footer):
        with pytest.raises(InputError, match=r"1\.parquet: not a .*parquet file"):
            read(path)


def test_columns_are_read_by_name_not_by_place(tmp_path):
    columns = {name: np.full(4, i, np.float32) for i, name in enumerate(CHANNELS)}
    path = write(tmp_path / "1.parquet", dict(reversed(columns.items())))
    np.testing.assert_array_equal(read_eeg(path)[0], np.arange(19))


def test_a_missing_channel_is_named(tmp_path):
    columns = {name: np.zeros(4, np.float32) for name in ELECTRODES if name != "Cz"}
    with pytest.raises(InputError, match="missing column Cz"):
        read_eeg(write(tmp_path / "1.parquet", columns))


def test_a_column_of_text_is_refused(tmp_path):
    columns = {name: np.zeros(2, np.float32) for name in ELECTRODES} | {"Pz": ["a", "b"]}
    with pytest.raises(InputError, match="column Pz is string"):
        read_eeg(write(tmp_path / "1.parquet", columns))


def test_the_real_recordings_read(real_eeg):
    for eeg_id in real_eeg.test["eeg_id"]:
        assert read_eeg(real_eeg.eeg_path("test", eeg_id)).shape == (10_000, 19)


def test_a_doubled_channel_is_named(tmp_path):
    names = [*ELECTRODES, "Cz"]
    pq.write_table(pa.table([pa.array([0.0])] * 20, names), tmp_path / "1.parquet")
    with pytest.raises(InputError, match="column Cz occurs twice"):
        read_eeg(tmp_path / "1.parquet")


def test_whole_numbers_written_as_floats_are_whole_numbers(own_competition):
    train = spoiled(own_competition, lambda t: t.astype({"eeg_id": float, "lpd_vote": float})).train
    assert train[["eeg_id", "lpd_vote"]].dtypes.tolist() == [np.int64, np.int64]


def test_a_name_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "1.parquet"
    columns = dict.fromkeys(ELECTRODES, np.zeros(4, np.float32))
    pq.write_table(pa.table(columns), path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"Cz", b"\xd9z"))
    with pytest.raises(InputError, match="not a readable parquet file"):
        read_eeg(path)

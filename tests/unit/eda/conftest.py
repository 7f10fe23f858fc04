"""A hand-made competition of three EEGs, whose statistics can be counted by hand."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hbac_utils.data.competition import Competition, open_competition
from hbac_utils.data.layout import SPECTROGRAM_COLUMNS, TRAIN_COLUMNS
from hbac_utils.labels import VOTE_COLUMNS, consensus
from hbac_utils.montage import CHANNELS, ELECTRODES


def write_parquet(path, values, columns):
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(dict(zip(columns, values.astype(np.float32).T, strict=True))), path)


def train_table() -> pd.DataFrame:
    """Five windows: EEG 1 has two vote vectors, EEG 3 has a patient of its own."""
    votes = np.array(
        [
            [3, 0, 0, 0, 0, 0],
            [3, 0, 0, 0, 0, 0],
            [1, 2, 0, 0, 0, 0],
            [0, 0, 6, 0, 0, 6],
            [0, 0, 0, 12, 0, 0],
        ]
    )
    columns = {
        "eeg_id": [1, 1, 1, 2, 3],
        "eeg_sub_id": [0, 1, 2, 0, 0],
        "eeg_label_offset_seconds": [0.0, 4.0, 10.0, 0.0, 0.0],
        "spectrogram_id": [11, 11, 11, 11, 13],
        "spectrogram_sub_id": [0, 1, 2, 3, 0],
        "spectrogram_label_offset_seconds": [0.0, 4.0, 10.0, 60.0, 0.0],
        "label_id": [1, 2, 3, 4, 5],
        "patient_id": [7, 7, 7, 7, 8],
        "expert_consensus": consensus(votes),
        **dict(zip(VOTE_COLUMNS, votes.T, strict=True)),
    }
    return pd.DataFrame(columns)[list(TRAIN_COLUMNS)]


@pytest.fixture(scope="session")
def handmade(tmp_path_factory) -> Competition:
    """EEG: 10 Hz, 40 µV on O2. EEG 2 lacks F3 and 0.25 s; EEG 102 of the test set is missing."""
    path = tmp_path_factory.mktemp("handmade")
    train_table().to_csv(path / "train.csv", index=False)
    test = pd.DataFrame({"spectrogram_id": [21, 22], "eeg_id": [3, 102], "patient_id": [90, 91]})
    test.to_csv(path / "test.csv", index=False)
    eeg = np.zeros((60 * 200, 20))
    eeg[:, ELECTRODES.index("O2")] = 40 * np.sin(2 * np.pi * 10 * np.arange(60 * 200) / 200)
    gaps = eeg[:10_000].copy()
    gaps[100:150] = np.nan
    gaps[:, ELECTRODES.index("F3")] = np.nan
    write_parquet(path / "train_eegs" / "1.parquet", eeg, CHANNELS)
    write_parquet(path / "train_eegs" / "2.parquet", gaps, CHANNELS)
    write_parquet(path / "train_eegs" / "3.parquet", eeg[:10_000], CHANNELS)
    everywhere = np.tile(eeg[:10_000, [ELECTRODES.index("O2")]], 20)
    write_parquet(path / "test_eegs" / "3.parquet", everywhere, CHANNELS)
    power = np.full((330, 400), np.e)
    power[:5] = np.nan
    write_parquet(path / "train_spectrograms" / "11.parquet", power, SPECTROGRAM_COLUMNS)
    write_parquet(path / "train_spectrograms" / "13.parquet", power[30:] * 10, SPECTROGRAM_COLUMNS)
    return open_competition(path)

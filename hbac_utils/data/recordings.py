"""The two types of recordings, EEG and spectrogram, and how one is converted into its array."""

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from hbac_utils.data import preprocessing
from hbac_utils.data.competition import Competition
from hbac_utils.data.layout import (
    SPECTROGRAM_COLUMNS,
    SPECTROGRAM_ROWS,
    WINDOW_SAMPLES,
    eeg_row,
    spectrogram_row,
)
from hbac_utils.data.readers import (
    count_eeg_rows,
    count_spectrogram_rows,
    read_eeg,
    read_spectrogram,
)
from hbac_utils.data.store import THREADS
from hbac_utils.montage import ELECTRODES
from hbac_utils.recipe import Data
from hbac_utils.utils.errors import InputError


@dataclass(frozen=True)
class RecordingType:
    """What distinguishes EEGs from spectrograms.

    ``convert`` reads a file and returns what is stored, float16, shape (rows, width), and a mask
    of what is missing in it.
    """

    name: str  # as in the columns of train.csv and the names of the arrays
    label: str  # of progress bars
    window: int  # rows of a window
    width: int  # columns of the array
    first_row: Callable[[pd.Series], np.ndarray]  # of label offsets in seconds
    path: Callable[[Competition, str, int], Path]
    count_rows: Callable[[Path], int]  # from the footer, which is checked
    convert: Callable[[Path, Data], tuple[np.ndarray, np.ndarray]]

    def first_rows(self, table: pd.DataFrame) -> np.ndarray:
        """Each window's first row in its recording, int64."""
        return self.first_row(table[f"{self.name}_label_offset_seconds"])


def _clean_eeg(path: Path, data: Data) -> tuple[np.ndarray, np.ndarray]:
    return preprocessing.clean_eeg(read_eeg(path), data.band, data.clip)


def _log_power(path: Path, _: Data) -> tuple[np.ndarray, np.ndarray]:
    log = preprocessing.log_power(read_spectrogram(path))
    return log, np.isnan(log)


EEG = RecordingType(
    "eeg", "EEGs", WINDOW_SAMPLES, len(ELECTRODES), eeg_row,
    Competition.eeg_path, count_eeg_rows, _clean_eeg,
)  # fmt: skip
SPECTROGRAM = RecordingType(
    "spectrogram", "spectrograms", SPECTROGRAM_ROWS, len(SPECTROGRAM_COLUMNS), spectrogram_row,
    Competition.spectrogram_path, count_spectrogram_rows, _log_power,
)  # fmt: skip


def list_recordings(
    kind: RecordingType, competition: Competition, table: pd.DataFrame
) -> pd.DataFrame:
    """List the recordings of a table's windows, and refuse missing, short and wrong files.

    Only footers are read, so that packing stops before any long work.

    Returns
    -------
    DataFrame
        Indexed by id, ascending: ``path``, ``rows``, ``start`` (first row in the array).
    """
    needed = pd.Series(kind.first_rows(table) + kind.window).groupby(table[f"{kind.name}_id"]).max()
    paths = [kind.path(competition, "train", i) for i in needed.index]
    recordings = pd.DataFrame({"path": paths}, index=needed.index)
    with ThreadPoolExecutor(THREADS) as threads:
        recordings["rows"] = list(threads.map(kind.count_rows, paths))
    short = recordings.index[recordings["rows"] < needed]
    if len(short):
        path, rows = recordings.loc[short[0], ["path", "rows"]]
        raise InputError(
            f"{path}: {rows} rows, but a window of train.csv ends at row {needed[short[0]]}"
        )
    recordings["start"] = recordings["rows"].cumsum() - recordings["rows"]
    return recordings


def window_positions(
    kind: RecordingType, recordings: pd.DataFrame, table: pd.DataFrame
) -> pd.DataFrame:
    """Columns ``<kind>_start``, ``<kind>_first`` and ``<kind>_last`` of `Store.windows`."""
    own = recordings.loc[table[f"{kind.name}_id"]]
    first = own["start"].to_numpy()
    return pd.DataFrame(
        {
            f"{kind.name}_start": first + kind.first_rows(table),
            f"{kind.name}_first": first,
            f"{kind.name}_last": first + own["rows"].to_numpy(),
        }
    )


def store_recording(
    kind: str, source: Path, rows: int, target: Path, position: int, windows: list[int], data: Data
) -> list[float]:
    """Convert a recording and write it into its array, in a worker.

    Parameters
    ----------
    kind : {"eeg", "spectrogram"}
    source, target : Path
        The recording's file and the array's.
    rows : int
        Length of the recording when the array was laid out.
    position : int
        Byte of ``target`` at which the recording begins.
    windows : list of int
        First row in the recording of each of its windows. Not an array: joblib's Dask backend
        would scatter it, and it would be lost with the worker that holds it.

    Returns
    -------
    list of float
        For each window, the share of its values that the file does not have.
    """
    _keep_memory()
    recording_type = {"eeg": EEG, "spectrogram": SPECTROGRAM}[kind]
    values, missing = recording_type.convert(source, data)
    if len(values) != rows:
        raise InputError(f"{source}: its length changed while packing; pack again")
    # written, not mapped: an error of the disk is then an exception, not the process's death
    with target.open("r+b") as file:
        file.seek(position)
        file.write(np.ascontiguousarray(values).data)
    if not missing.any():
        return [0.0] * len(windows)
    return [float(missing[row : row + recording_type.window].mean()) for row in windows]


@cache
def _keep_memory() -> None:
    """Let glibc keep a worker's freed memory: a third of the time is page faults otherwise."""
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-1, 64 << 20)  # M_TRIM_THRESHOLD
        libc.mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD

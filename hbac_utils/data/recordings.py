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
    SAMPLING_RATE,
    SPECTROGRAM_COLUMNS,
    SPECTROGRAM_ROWS,
    WINDOW_SAMPLES,
    WINDOW_SECONDS,
    eeg_row,
    spectrogram_row,
)
from hbac_utils.data.preprocessing import other_rate
from hbac_utils.data.readers import count_rows, read_eeg, read_spectrogram
from hbac_utils.data.store import THREADS
from hbac_utils.montage import ELECTRODES
from hbac_utils.recipe import Data
from hbac_utils.utils.errors import InputError


@dataclass(frozen=True)
class RecordingType:
    """Properties that differ between EEGs and spectrograms.

    ``convert`` reads a file and returns what is stored, float16, shape (rows, width), and a mask
    of what is missing in it.
    """

    name: str  # as in the columns of train.csv and the names of the arrays
    label: str  # of progress bars
    window: int  # rows of a window
    columns: tuple[str, ...]
    first_row: Callable[[pd.Series], np.ndarray]  # of label offsets in seconds
    convert: Callable[[Path, Data], tuple[np.ndarray, np.ndarray]]
    without: str = ""  # how to do without these recordings

    @property
    def width(self) -> int:
        """Columns of the array."""
        return len(self.columns)

    def first_rows(self, table: pd.DataFrame) -> np.ndarray:
        """Each window's first row in its recording, int64."""
        return self.first_row(table[f"{self.name}_label_offset_seconds"])


def _clean_eeg(path: Path, data: Data) -> tuple[np.ndarray, np.ndarray]:
    return preprocessing.clean_eeg(read_eeg(path), data.band, data.clip)


def _log_power(path: Path, _: Data) -> tuple[np.ndarray, np.ndarray]:
    log = preprocessing.log_power(read_spectrogram(path))
    return log, np.isnan(log)


EEG = RecordingType("eeg", "EEGs", WINDOW_SAMPLES, ELECTRODES, eeg_row, _clean_eeg)
SPECTROGRAM = RecordingType(
    "spectrogram", "spectrograms", SPECTROGRAM_ROWS, SPECTROGRAM_COLUMNS, spectrogram_row,
    _log_power, ", choose a recipe with an EEG view",
)  # fmt: skip
RECORDING_TYPES = {kind.name: kind for kind in (EEG, SPECTROGRAM)}


def list_recordings(
    kind: RecordingType, competition: Competition, table: pd.DataFrame
) -> pd.DataFrame:
    """List the recordings of a table's windows, and refuse missing, short and wrong files.

    Only footers are read, so that packing stops before any long work. Returns ``name`` (path in
    the folder), ``rows`` and ``start`` (first row in the array), indexed by id, ascending.
    """
    key = f"{kind.name}_id"
    needed = pd.Series(kind.first_rows(table) + kind.window).groupby(table[key]).max()
    recordings = pd.DataFrame(index=needed.index)
    recordings["name"] = [f"train_{kind.name}s/{i}.parquet" for i in needed.index]
    paths = [competition.path / name for name in recordings["name"]]
    present = needed.index.isin(competition.present("train", kind.name))
    if not present.all():
        raise InputError(
            f"{paths[present.argmin()]}: no such file; {(~present).sum():,} of {len(paths):,} "
            f"{kind.label} that train.csv names are missing: download them{kind.without}, or pack "
            "only the windows whose recordings are there (make pack AVAILABLE=1)"
        )
    with ThreadPoolExecutor(THREADS) as threads:
        recordings["rows"] = list(threads.map(lambda path: count_rows(path, kind.columns), paths))
    # a file ends with its last window
    seconds = competition.train.groupby(key)["eeg_label_offset_seconds"].max() + WINDOW_SECONDS
    for i, name, rows in recordings.itertuples():
        path, rate = competition.path / name, other_rate(rows, seconds[i])
        if kind is EEG and rate:
            raise InputError(
                f"{path}: {rows} rows are {seconds[i]:g} s at {rate} Hz, not at {SAMPLING_RATE} "
                f"Hz; resample the EEGs to {SAMPLING_RATE} Hz"
            )
        if rows < needed[i]:
            raise InputError(
                f"{path}: {rows} rows, but a window of train.csv ends at row {needed[i]}"
            )
    recordings["start"] = recordings["rows"].cumsum() - recordings["rows"]
    return recordings


def store_recording(
    recording: int, kind: str, source: Path, rows: int, target: Path, position: int,
    windows: list[int], data: Data,
) -> tuple[int, list[float]]:  # fmt: skip
    """Convert a recording and write it into its array, in a worker.

    ``rows`` is its length when the array was laid out, ``position`` the byte of ``target`` at
    which it begins. Returns its id and, for each window, the share of values that the file does
    not have. ``windows``, their first rows, are a list because joblib's Dask backend would scatter
    an array, which would be lost with the worker that holds it.
    """
    _keep_memory()
    recording_type = RECORDING_TYPES[kind]
    values, missing = recording_type.convert(source, data)
    if len(values) != rows:
        raise InputError(f"{source}: its length changed while packing; pack again")
    # written, not mapped: an error of the disk is then an exception, not the process's death
    with target.open("r+b") as file:
        file.seek(position)
        file.write(np.ascontiguousarray(values).data)
    if not missing.any():
        return recording, [0.0] * len(windows)
    length = recording_type.window
    return recording, [float(missing[row : row + length].mean()) for row in windows]


@cache
def _keep_memory() -> None:
    """Let glibc keep a worker's freed memory: a third of the time is page faults otherwise."""
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-1, 64 << 20)  # M_TRIM_THRESHOLD
        libc.mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD

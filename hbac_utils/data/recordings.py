"""The recordings behind a table of windows: how long they are, and how one gets into its array."""

import ctypes
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import ThreadpoolController

from hbac_utils.data import preprocessing
from hbac_utils.data.competition import Competition
from hbac_utils.data.layout import (
    SAMPLING_RATE,
    SPECTROGRAM_COLUMNS,
    SPECTROGRAM_ROWS,
    SPECTROGRAM_STEP,
    WINDOW_SAMPLES,
)
from hbac_utils.data.readers import (
    check_eeg_footer,
    check_range,
    check_spectrogram_footer,
    read_eeg,
    read_spectrogram,
)
from hbac_utils.data.store import THREADS
from hbac_utils.montage import ELECTRODES
from hbac_utils.recipe import Data
from hbac_utils.utils.errors import InputError


@dataclass(frozen=True)
class Kind:
    """What tells EEGs from spectrograms.

    Parameters
    ----------
    name : str
        As in the columns of ``train.csv`` and in the names of the arrays.
    label : str
        What progress bars call them.
    rate : float
        Rows a second.
    window : int
        Rows of a window.
    columns : tuple of str
        Of a recording, as they stand in the array.
    locate : callable
        From competition and id to the file.
    check : callable
        From the file and the columns to its rows; refuses what its footer shows to be wrong.
    convert : callable
        From the file and the recipe's section to what is stored, float16, shape (rows, width),
        and a mask of what is missing in it.
    """

    name: str
    label: str
    rate: float
    window: int
    columns: tuple[str, ...]
    locate: Callable[[Competition, int], Path]
    check: Callable[[Path, tuple[str, ...]], int]
    convert: Callable[[Path, Data], tuple[np.ndarray, np.ndarray]]

    @property
    def width(self) -> int:
        """Columns of a recording."""
        return len(self.columns)

    def first_rows(self, table: pd.DataFrame) -> np.ndarray:
        """Tell each window's first row in its recording, int64."""
        seconds = table[f"{self.name}_label_offset_seconds"]
        return (seconds * self.rate).astype(np.int64).to_numpy()


def _locate_eeg(competition: Competition, eeg_id: int) -> Path:
    return competition.eeg_path("train", eeg_id)


def _locate_spectrogram(competition: Competition, spectrogram_id: int) -> Path:
    return competition.spectrogram_path("train", spectrogram_id)


def _clean_eeg(path: Path, data: Data) -> tuple[np.ndarray, np.ndarray]:
    eeg = read_eeg(path)
    # fmin and fmax pass over NaN
    check_range(path, ELECTRODES, np.fmin.reduce(eeg, axis=0), np.fmax.reduce(eeg, axis=0))
    return preprocessing.clean_eeg(eeg, data.band, data.clip)


def _log_power(path: Path, _: Data) -> tuple[np.ndarray, np.ndarray]:
    power = read_spectrogram(path)
    if np.isinf(power).any():
        column = SPECTROGRAM_COLUMNS[np.isinf(power).any(axis=0).argmax()]
        raise InputError(
            f"{path}: column {column} has infinite values; write NaN where there is no power"
        )
    log = preprocessing.log_power(power)
    return log, np.isnan(log)


EEG = Kind(
    "eeg", "EEGs", SAMPLING_RATE, WINDOW_SAMPLES, ELECTRODES, _locate_eeg, check_eeg_footer,
    _clean_eeg,
)  # fmt: skip
SPECTROGRAM = Kind(
    "spectrogram", "spectrograms", 1 / SPECTROGRAM_STEP, SPECTROGRAM_ROWS,
    SPECTROGRAM_COLUMNS, _locate_spectrogram, check_spectrogram_footer, _log_power,
)  # fmt: skip


def list_recordings(kind: Kind, competition: Competition, table: pd.DataFrame) -> pd.DataFrame:
    """List the recordings of a kind, one after the other as they stand in the array.

    Lengths, columns and ranges come from the files' footers, so that a missing, short or wrong
    file stops the packing before any long work.

    Returns
    -------
    DataFrame
        Indexed by id, ascending: ``path``, ``rows``, ``start`` (first row in the array).

    Raises
    ------
    InputError
        If a file is missing, is not parquet, ends before a window, or is wrong otherwise: see
        `footers`.
    """
    needed = pd.Series(kind.first_rows(table) + kind.window).groupby(table[f"{kind.name}_id"]).max()
    paths = [kind.locate(competition, i) for i in needed.index]
    recordings = pd.DataFrame({"path": paths}, index=needed.index)
    with ThreadPoolExecutor(THREADS) as threads:
        recordings["rows"] = list(threads.map(lambda path: kind.check(path, kind.columns), paths))
    short = recordings.index[recordings["rows"] < needed]
    if len(short):
        path, rows = recordings.loc[short[0], ["path", "rows"]]
        raise InputError(
            f"{path}: {rows} rows, but a window of train.csv ends at row {needed[short[0]]}"
        )
    recordings["start"] = recordings["rows"].cumsum() - recordings["rows"]
    return recordings


def window_places(kind: Kind, recordings: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Place the windows in the array.

    Returns
    -------
    DataFrame
        A row per window: ``<kind>_start``, its first row; ``<kind>_first`` and ``<kind>_last``,
        its recording's first and one past its last.
    """
    own = recordings.loc[table[f"{kind.name}_id"]]
    first = own["start"].to_numpy()
    return pd.DataFrame(
        {
            f"{kind.name}_start": first + kind.first_rows(table),
            f"{kind.name}_first": first,
            f"{kind.name}_last": first + own["rows"].to_numpy(),
        }
    )


@dataclass(frozen=True)
class Task:
    """One recording's way into its array; what a worker is sent.

    Parameters
    ----------
    kind : Kind
    recording : int
        Its id.
    source : Path
    rows : int
        So many it had when the arrays were laid out.
    target : Path
        The array's file.
    position : int
        The byte in it where this recording begins.
    windows : list of int
        First row in the recording of each of its windows. No array: those joblib's Dask backend
        scatters, and they are lost with the worker that holds them.
    data : Data
    """

    kind: Kind
    recording: int
    source: Path
    rows: int
    target: Path
    position: int
    windows: list[int]
    data: Data

    def __call__(self) -> tuple[int, list[float]]:
        """Convert and write the recording.

        Returns
        -------
        recording : int
        missing : list of float
            For each window, the share of its values that the file did not have.

        Raises
        ------
        InputError
            If the file cannot be read or has changed its length.
        """
        _keep_memory()
        with _blas().limit(limits=1):
            values, missing = self.kind.convert(self.source, self.data)
        if len(values) != self.rows:
            raise InputError(
                f"{self.source}: {len(values)} rows, a moment ago it had {self.rows}; "
                "let it rest and pack again"
            )
        # written, not mapped: a disk that fails is an error then, not the process's death
        with self.target.open("r+b") as file:
            file.seek(self.position)
            file.write(np.ascontiguousarray(values).data)
        return self.recording, self._missing_shares(missing)

    def _missing_shares(self, missing: np.ndarray) -> list[float]:
        if not missing.any():
            return [0.0] * len(self.windows)
        window = self.kind.window
        return [float(missing[row : row + window].mean()) for row in self.windows]


def tasks(
    kind: Kind,
    recordings: pd.DataFrame,
    table: pd.DataFrame,
    target: Path,
    offset: int,
    data: Data,
) -> Iterator[Task]:
    """Yield the tasks for ``recordings``; ``target``'s first value stands at byte ``offset``."""
    first = kind.first_rows(table)
    positions = window_positions(kind, table)
    for recording, path, rows, start in recordings[["path", "rows", "start"]].itertuples():
        windows = first[positions[recording]].tolist()
        position = offset + 2 * int(start) * kind.width
        yield Task(kind, int(recording), path, int(rows), target, position, windows, data)


def window_positions(kind: Kind, table: pd.DataFrame) -> dict[int, np.ndarray]:
    """Tell each recording's windows, as positions in the table, ascending."""
    return table.groupby(f"{kind.name}_id").indices


@cache
def _keep_memory() -> None:
    """Ask glibc, in this process, to keep the few megabytes that every recording needs anew.

    Left alone it gives them back to the kernel after each file and faults them in again for the
    next. Larger pieces still go back at once.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-1, 64 << 20)  # M_TRIM_THRESHOLD
        libc.mallopt(-3, 32 << 20)  # M_MMAP_THRESHOLD, at its upper bound


@cache
def _blas() -> ThreadpoolController:
    # one thread a worker, also of a cluster: they do not crowd each other, and the bytes do not
    # depend on their number
    return ThreadpoolController()

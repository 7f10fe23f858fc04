"""Test recordings in batches, read in a thread of its own while models predict the one before."""

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hbac_utils.data import signals
from hbac_utils.data.competition import (
    SPECTROGRAM_ROWS,
    WINDOW_SAMPLES,
    Competition,
    read_eeg,
    read_spectrogram,
)
from hbac_utils.errors import InputError
from hbac_utils.recipe import Data

SIZE = 32
AHEAD = 2  # batches that wait to be predicted


@dataclass(frozen=True)
class Batch:
    """Recordings of a test table, read or not.

    Attributes
    ----------
    rows : range
        Positions in the table.
    signals : dict of str to list
        By input, for each row its signal or, if that could not be read, the reason.
    """

    rows: range
    signals: dict[str, list[np.ndarray | str]]

    def of(
        self, inputs: tuple[str, ...]
    ) -> tuple[list[int], dict[str, np.ndarray], dict[int, str]]:
        """Take what a model needs.

        Returns
        -------
        rows : list of int
            Those of which all inputs could be read.
        signals : dict of str to array, shape (SIZE, ...)
            Filled up to the full size, so that each model is traced only once; empty if there
            are no rows.
        lost : dict of int to str
            The other rows, and why.
        """
        read, lost = [], {}
        for place, row in enumerate(self.rows):
            reasons = [s for s in (self.signals[i][place] for i in inputs) if isinstance(s, str)]
            if reasons:
                lost[row] = reasons[0]
            else:
                read.append(place)
        filled = read + read[:1] * (SIZE - len(read))
        arrays = {i: np.stack([self.signals[i][p] for p in filled]) for i in inputs if read}
        return [self.rows[place] for place in read], arrays, lost


def read_batches(
    competition: Competition, test: pd.DataFrame, data: Data, inputs: tuple[str, ...]
) -> Iterator[Batch]:
    """Read test recordings as the store would have treated them.

    Parameters
    ----------
    competition : Competition
    test : DataFrame
        With ``eeg_id``, and ``spectrogram_id`` if that is asked for.
    data : Data
        The treatment.
    inputs : tuple of str
        ``"eeg"``, ``"spectrogram"`` or both.
    """
    for start in range(0, len(test), SIZE):
        rows = range(start, min(start + SIZE, len(test)))
        read = {
            name: [_read_or_reason(competition, test.iloc[row], name, data) for row in rows]
            for name in inputs
        }
        yield Batch(rows, read)


def _read_or_reason(
    competition: Competition, row: pd.Series, name: str, data: Data
) -> np.ndarray | str:
    try:
        return read_input(competition, row, name, data)
    except Exception as error:  # whatever is wrong with one file, the others go on
        return str(error) or type(error).__name__


def read_input(competition: Competition, row: pd.Series, name: str, data: Data) -> np.ndarray:
    """Read one test recording as a model's input.

    Returns
    -------
    array of float16
        ``eeg``: shape (10000, 19), microvolts; ``spectrogram``: shape (300, 400), ln power.

    Raises
    ------
    InputError
        If the file is missing, unreadable, of the wrong length, or holds no finite value.
    """
    if name == "eeg":
        path = competition.eeg_path("test", int(row["eeg_id"]))
        eeg = _usable(read_eeg(path), WINDOW_SAMPLES, path)
        return signals.clean_eeg(eeg, data.band, data.clip)[0]
    path = competition.spectrogram_path("test", int(row["spectrogram_id"]))
    return _usable(signals.log_power(read_spectrogram(path)), SPECTROGRAM_ROWS, path)


def _usable(array: np.ndarray, length: int, path: Path) -> np.ndarray:
    if len(array) != length:
        raise InputError(f"{path}: {len(array)} rows instead of {length}")
    if not np.isfinite(array).any():
        raise InputError(f"{path}: no finite value in it")
    return array


def read_ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Let a thread make batches while the one before is used; no more than `AHEAD` wait."""
    made: queue.Queue = queue.Queue(AHEAD)
    left = threading.Event()

    def put(item) -> bool:
        while not left.is_set():
            try:
                made.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for batch in batches:
                if not put((batch, None)):
                    return
            put((None, None))
        except BaseException as error:
            put((None, error))

    threading.Thread(target=work, daemon=True, name="reading").start()
    try:
        while True:
            batch, error = made.get()
            if error is not None:
                raise error
            if batch is None:
                return
            yield batch
    finally:
        left.set()

"""Test recordings in batches, read in a thread of its own while models predict the one before."""

import queue
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hbac_utils.data import preprocessing
from hbac_utils.data.competition import Competition
from hbac_utils.data.layout import SPECTROGRAM_ROWS, WINDOW_SAMPLES
from hbac_utils.data.readers import centred, locate, salvage_eeg, salvage_spectrogram
from hbac_utils.recipe import Data
from hbac_utils.utils.errors import InputError

SIZE = 32
AHEAD = 2  # batches that wait to be predicted


class Signal(NamedTuple):
    """A test recording as a model reads it."""

    array: np.ndarray
    """float16; ``eeg``: shape (10000, 19), microvolts; ``spectrogram``: (300, 400), ln power."""

    notes: list[str]
    """What was not as it should be, and was mended."""


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
    signals: dict[str, list[Signal | str]]

    def of(
        self, inputs: tuple[str, ...]
    ) -> tuple[list[int], dict[str, np.ndarray], dict[int, str]]:
        """Take what a model needs.

        Returns
        -------
        rows : list of int
            Those of which all inputs could be read.
        signals : dict of str to array, shape (len(rows), ...)
            Empty if there are no rows.
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
        arrays = {i: np.stack([self.signals[i][p].array for p in read]) for i in inputs if read}
        return [self.rows[place] for place in read], arrays, lost

    def notes(self, inputs: tuple[str, ...]) -> dict[int, str]:
        """Tell by row what of these inputs had to be mended."""
        said: dict[int, list[str]] = {}
        for name in inputs:
            for row, signal in zip(self.rows, self.signals[name], strict=True):
                if not isinstance(signal, str) and signal.notes:
                    said.setdefault(row, []).append(f"{name}: {', '.join(signal.notes)}")
        return {row: "; ".join(notes) for row, notes in said.items()}


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
        # as dicts: in a row that is a series ids become float beside a column of floats
        records = test.iloc[rows.start : rows.stop].to_dict("records")
        read = {
            name: [_read_or_reason(competition, record, name, data) for record in records]
            for name in inputs
        }
        yield Batch(rows, read)


def _read_or_reason(
    competition: Competition, row: Mapping[str, Any], name: str, data: Data
) -> Signal | str:
    try:
        return read_input(competition, row, name, data)
    except Exception as error:  # whatever is wrong with one file, the others go on
        return str(error) or type(error).__name__


def read_input(competition: Competition, row: Mapping[str, Any], name: str, data: Data) -> Signal:
    """Read one test recording as a model's input, mended where it can be.

    A recording that is too short stands in the middle: an EEG between zeros, as in training where
    a window reaches beyond its recording, a spectrogram between gaps.

    Raises
    ------
    InputError
        If the file is missing or nothing can be made of it: see `salvage`.
    """
    if name == "eeg":
        eeg, notes = salvage_eeg(recording_file(competition, row, name))
        cleaned = preprocessing.clean_eeg(eeg, data.band, data.clip)[0]
        return Signal(centred(cleaned, WINDOW_SAMPLES, 0), notes)
    power, notes = salvage_spectrogram(recording_file(competition, row, name))
    return Signal(centred(preprocessing.log_power(power), SPECTROGRAM_ROWS, np.nan), notes)


def recording_file(competition: Competition, row: Mapping[str, Any], name: str) -> Path:
    """Find the file of a row of the test table.

    Raises
    ------
    InputError
        If there is none, or the table does not name it.
    """
    column = f"{name}_id"
    if column not in row:
        raise InputError(f"{competition.path / 'test.csv'}: no column {column}")
    return locate(competition.path / f"test_{name}s", row[column])


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

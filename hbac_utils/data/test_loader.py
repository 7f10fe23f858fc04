"""Test recordings in batches, read ahead in a thread while models predict the batch before."""

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from hbac_utils.data import preprocessing
from hbac_utils.data.competition import Competition
from hbac_utils.data.layout import SPECTROGRAM_ROWS, WINDOW_SAMPLES
from hbac_utils.data.readers import (
    LenientRecording,
    centred,
    read_eeg_lenient,
    read_spectrogram_lenient,
)
from hbac_utils.recipe import Data
from hbac_utils.utils.errors import InputError

BATCH_SIZE = 32
AHEAD = 2  # batches read before they are asked for


@dataclass(frozen=True)
class Batch:
    """Rows of a test table with their recordings."""

    rows: range  # positions in the table
    # by input: for each row its recording or, if that could not be read, the reason
    recordings: dict[str, list[LenientRecording | str]]

    def select(
        self, inputs: tuple[str, ...]
    ) -> tuple[list[int], dict[str, np.ndarray], dict[int, str]]:
        """Take the inputs of a model.

        Returns the rows whose inputs could all be read, these inputs (by name, shape (len(rows),
        ...); empty if there are no rows), and by row why the others could not be read.
        """
        read, lost = [], {}
        for place, row in enumerate(self.rows):
            reasons = [r for i in inputs if isinstance(r := self.recordings[i][place], str)]
            if reasons:
                lost[row] = reasons[0]
            else:
                read.append(place)
        arrays = {i: np.stack([self.recordings[i][p][0] for p in read]) for i in inputs if read}
        return [self.rows[place] for place in read], arrays, lost

    def notes(self, inputs: tuple[str, ...]) -> dict[int, str]:
        """Describe by row what was wrong with these inputs, though they could be read."""
        notes: dict[int, list[str]] = {}
        for name in inputs:
            for row, recording in zip(self.rows, self.recordings[name], strict=True):
                if not isinstance(recording, str) and recording.notes:
                    notes.setdefault(row, []).append(f"{name}: {', '.join(recording.notes)}")
        return {row: "; ".join(lines) for row, lines in notes.items()}


def read_batches(
    competition: Competition, test: pd.DataFrame, data: Data, inputs: tuple[str, ...]
) -> Iterator[Batch]:
    """Read test recordings with the store's preprocessing, a few batches ahead."""

    def read(start: int) -> Batch:
        rows = range(start, min(start + BATCH_SIZE, len(test)))
        # as dicts: in a row that is a Series ids become float beside a column of floats
        records = test.iloc[rows.start : rows.stop].to_dict("records")
        found = {i: [_read_or_reason(competition, r, i, data) for r in records] for i in inputs}
        return Batch(rows, found)

    starts = range(0, len(test), BATCH_SIZE)
    with ThreadPoolExecutor(1) as thread:
        waiting = deque(thread.submit(read, start) for start in starts[: AHEAD + 1])
        try:
            for start in (*starts[AHEAD + 1 :], *[None] * len(waiting)):
                batch = waiting.popleft().result()
                if start is not None:
                    waiting.append(thread.submit(read, start))
                yield batch
        finally:
            thread.shutdown(wait=False, cancel_futures=True)


def _read_or_reason(
    competition: Competition, row: Mapping[str, Any], name: str, data: Data
) -> LenientRecording | str:
    try:
        return read_test_recording(competition, row, name, data)
    except Exception as error:  # whatever is wrong with one file, the others are read
        return str(error) or type(error).__name__


def read_test_recording(
    competition: Competition, row: Mapping[str, Any], name: str, data: Data
) -> LenientRecording:
    """Read one test recording as a model's input.

    A short recording is centred: an EEG between zeros, as in training where a window exceeds its
    recording, a spectrogram between gaps. Returns float16, for "eeg" shape (10000, 19) in
    microvolts, for "spectrogram" (300, 400) of log power. Raises InputError if the file is
    missing or too little of it can be read.
    """
    if f"{name}_id" not in row:
        raise InputError(f"{competition.path / 'test.csv'}: no column {name}_id")
    path = competition.find_test_recording(name, row[f"{name}_id"])
    if name == "eeg":
        eeg, notes = read_eeg_lenient(path)
        cleaned, _ = preprocessing.clean_eeg(eeg, data.band, data.clip)
        return LenientRecording(centred(cleaned, WINDOW_SAMPLES, 0), notes)
    power, notes = read_spectrogram_lenient(path)
    log = preprocessing.log_power(power)
    return LenientRecording(centred(log, SPECTROGRAM_ROWS, np.nan), notes)

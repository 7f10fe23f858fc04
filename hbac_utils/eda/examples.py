"""Windows to look at: chosen from the table, read for display."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hbac_utils.data import preprocessing
from hbac_utils.data.competition import Competition
from hbac_utils.data.layout import SAMPLING_RATE, SPECTROGRAM_ROWS, SPECTROGRAM_STEP, WINDOW_SAMPLES
from hbac_utils.data.readers import (
    centred,
    read_eeg,
    read_spectrogram,
    salvage_eeg,
    salvage_spectrogram,
)
from hbac_utils.data.splits import KINDS, agreement, shares
from hbac_utils.data.store import Store
from hbac_utils.data.test_loader import recording_file
from hbac_utils.labels import CLASSES, RELIABLE_VOTES, VOTE_COLUMNS
from hbac_utils.montage import ELECTRODES
from hbac_utils.utils.errors import InputError

DISPLAY_BAND = (0.5, 40.0)  # Hz, of the EEG that is shown

CORNERS = {
    "idealized": (1, 0, 0),
    "proto": (1 / 2, 1 / 2, 0),
    "edge": (1 / 2, 0, 1 / 2),
    "scattered": (1 / 3, 1 / 3, 1 / 3),
}
"""Where in the triangle of `agreement.shares` each kind of agreement is purest."""

NEAR = 0.2  # of the triangle: so far a window with many votes goes before one with few


class Window(NamedTuple):
    """One labelled window, ready to be drawn by `plots.window_page`."""

    eeg: np.ndarray
    """float32, shape (10000, 19), microvolts, band-passed; NaN where the file has it."""

    spectrogram: np.ndarray | None
    """float32, shape (300, 400), natural logarithm of power; None where the folder has none."""

    votes: np.ndarray | None
    """int64, shape (6,); None where the table has none, as in the test set."""

    title: str


def one_per_vote_vector(train: pd.DataFrame) -> pd.DataFrame:
    """Keep the first window of each (EEG, vote vector), so that long recordings count once."""
    return train.drop_duplicates(["eeg_id", *VOTE_COLUMNS])


def votes_of(table: pd.DataFrame) -> np.ndarray:
    """Take the votes out of a table, shape (n, 6)."""
    return table[list(VOTE_COLUMNS)].to_numpy()


def example_windows(
    competition: Competition, per_class: int = 1, *, kind: str = "idealized", seed: int = 0
) -> pd.DataFrame:
    """Choose windows that show what each class looks like.

    At random, but those of the wanted kind of agreement come before others, and among these
    the ones with ≥ 10 votes; a class without such windows gives what it has. No EEG is chosen
    twice.

    Parameters
    ----------
    competition : Competition
    per_class : int
    kind : str
        One of `agreement.KINDS`.
    seed : int

    Returns
    -------
    DataFrame
        Rows of ``train.csv`` in the classes' order, at most ``per_class`` of each class.
    """
    rows = one_per_vote_vector(competition.train).sample(frac=1, random_state=seed)
    votes = votes_of(rows)
    # lexsort is stable and its last key comes first; False sorts before True
    order = np.lexsort([votes.sum(axis=1) < RELIABLE_VOTES, agreement(votes) != kind])
    return _per_class(rows.iloc[order].drop_duplicates("eeg_id"), per_class)


def sample_windows(competition: Competition, per_class: int, seed: int = 0) -> pd.DataFrame:
    """Draw windows of each class, one per (EEG, vote vector).

    Returns
    -------
    DataFrame
        Rows of ``train.csv`` in the classes' order, at most ``per_class`` of each class.
    """
    rows = one_per_vote_vector(competition.train).sample(frac=1, random_state=seed)
    return _per_class(rows, per_class)


def corner_windows(train: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Choose a window of each kind of agreement, as near to its corner of `CORNERS` as there is.

    Of about equally near windows one with ≥ 10 votes is taken. No EEG is chosen twice.

    Returns
    -------
    DataFrame
        Rows of ``train`` in the order of `agreement.KINDS`, fewer if there are too few EEGs, with
        a ``title`` that says what each one is, whatever was looked for.
    """
    rows = one_per_vote_vector(train).sample(frac=1, random_state=seed)
    chosen = []
    for kind in KINDS:
        votes = votes_of(rows)
        if not len(rows):
            break
        distance = np.abs(shares(votes) - CORNERS[kind]).sum(axis=1)
        few = votes.sum(axis=1) < RELIABLE_VOTES
        best = np.lexsort([distance, few, distance // NEAR])[0]
        found = agreement(votes[[best]])[0]
        name = found if found == kind else f"no {kind} window; {found}"
        title = f"{name}: {vote_text(votes[best])}"
        chosen.append(rows.iloc[[best]].assign(title=title))
        rows = rows[rows["eeg_id"] != rows["eeg_id"].iloc[best]]
    return pd.concat(chosen, ignore_index=True)


def vote_text(votes: np.ndarray) -> str:
    """Write a vote vector as one says it.

    Examples
    --------
    >>> vote_text(np.array([0, 7, 0, 2, 0, 4]))
    '7 LPD, 4 Other, 2 LRDA'
    """
    order = np.argsort(-np.asarray(votes), kind="stable")
    return ", ".join(f"{votes[i]:g} {CLASSES[i]}" for i in order if votes[i])


def of_class(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Keep the rows whose experts agree on one class."""
    return rows[rows["expert_consensus"] == name]


def _per_class(rows: pd.DataFrame, per_class: int) -> pd.DataFrame:
    chosen = rows.groupby("expert_consensus").head(per_class)
    place = chosen["expert_consensus"].map(CLASSES.index)
    return chosen.loc[place.sort_values(kind="stable").index].reset_index(drop=True)


def read_window(competition: Competition, row: pd.Series) -> Window:
    """Read one window's EEG and spectrogram for display.

    Parameters
    ----------
    competition : Competition
    row : Series
        A row of ``train.csv``; offsets that it lacks are zero.

    Returns
    -------
    Window

    Raises
    ------
    InputError
        If a file is missing, unreadable, or ends before the window does.
    """
    spectrogram = None
    if competition.has_spectrograms("train") and "spectrogram_id" in row:
        spectrogram = read_window_spectrogram(competition, row)
    known = all(column in row for column in VOTE_COLUMNS)
    votes = row[list(VOTE_COLUMNS)].to_numpy(dtype=np.int64) if known else None
    eeg = read_window_eeg(competition, row)
    return Window(eeg, spectrogram, votes, _title(row))


def read_windows(competition: Competition, rows: pd.DataFrame) -> list[Window]:
    """Read several windows of the training set; see `read_window`."""
    return [read_window(competition, row) for _, row in rows.iterrows()]


def read_stored_windows(store: Store, rows: pd.DataFrame) -> list[Window]:
    """Read windows out of a store: as it holds them, gaps filled.

    Parameters
    ----------
    store : Store
    rows : DataFrame
        Rows of ``store.windows``; a column ``title`` gives their titles.
    """
    return [_stored_window(store, row) for _, row in rows.iterrows()]


def _stored_window(store: Store, row: pd.Series) -> Window:
    begin = row["eeg_start"]
    eeg = store.eeg[begin : begin + WINDOW_SAMPLES].astype(np.float32)
    spectrogram = None
    if store.spectrogram is not None:
        begin = row["spectrogram_start"]
        spectrogram = store.spectrogram[begin : begin + SPECTROGRAM_ROWS].astype(np.float32)
    votes = row[list(VOTE_COLUMNS)].to_numpy(dtype=np.int64)
    return Window(eeg, spectrogram, votes, _title(row))


def read_test_windows(competition: Competition, most: int) -> list[Window]:
    """Read the first recordings of the test set as they are predicted, and never fail over one.

    Returns
    -------
    list of Window
        In the order of ``test.csv``; a recording that cannot be read is all NaN, and its title
        says why.
    """
    test = competition.test.drop_duplicates("eeg_id").head(most)
    return [_read_or_blank(competition, row) for row in test.to_dict("records")]


def _read_or_blank(competition: Competition, row: Mapping[str, Any]) -> Window:
    try:
        eeg, notes = salvage_eeg(recording_file(competition, row, "eeg"))
        eeg = centred(_for_display(eeg), WINDOW_SAMPLES, np.nan)
        title = ", ".join([_title(row), *notes])
        return Window(eeg, _test_spectrogram(competition, row), None, title)
    except Exception as error:  # what is only looked at must not cost a submission
        blank = np.full((WINDOW_SAMPLES, len(ELECTRODES)), np.nan, dtype=np.float32)
        return Window(blank, None, None, f"{_title(row)}: {error}")


def _test_spectrogram(competition: Competition, row: Mapping[str, Any]) -> np.ndarray | None:
    try:
        power, _ = salvage_spectrogram(recording_file(competition, row, "spectrogram"))
    except InputError:  # the EEG stands alone then
        return None
    return centred(preprocessing.log_power(power).astype(np.float32), SPECTROGRAM_ROWS, np.nan)


def read_window_eeg(competition: Competition, row: pd.Series) -> np.ndarray:
    """Read a window's 50 s of EEG, band-passed for display.

    Returns
    -------
    array of float32, shape (10000, 19), microvolts
        NaN where the file has it.
    """
    path = competition.eeg_path("train", int(row["eeg_id"]))
    start = int(row.get("eeg_label_offset_seconds", 0) * SAMPLING_RATE)
    return _cut(_for_display(read_eeg(path)), start, WINDOW_SAMPLES, path)


def _for_display(eeg: np.ndarray) -> np.ndarray:
    """Band-pass, and leave the gaps gaps."""
    filled, missing = preprocessing.fill_gaps(eeg)
    shown = preprocessing.bandpass(filled, DISPLAY_BAND)
    shown[missing] = np.nan
    return shown


def read_window_spectrogram(competition: Competition, row: pd.Series) -> np.ndarray:
    """Read a window's ten minutes of spectrogram.

    Returns
    -------
    array of float32, shape (300, 400), natural logarithm of power
        NaN where the file has it.
    """
    path = competition.spectrogram_path("train", int(row["spectrogram_id"]))
    start = int(row.get("spectrogram_label_offset_seconds", 0) // SPECTROGRAM_STEP)
    power = _cut(read_spectrogram(path), start, SPECTROGRAM_ROWS, path)
    return preprocessing.log_power(power).astype(np.float32)


def _cut(recording: np.ndarray, start: int, length: int, path: Path) -> np.ndarray:
    window = recording[start : start + length]
    if len(window) < length:
        raise InputError(
            f"{path}: {len(recording)} rows, but a window of the table ends at row {start + length}"
        )
    return window


def _title(row: Mapping[str, Any]) -> str:
    if "title" in row:
        return row["title"]
    name = row.get("expert_consensus", "")
    return f"{name} · EEG {row['eeg_id']}" if name else f"EEG {row['eeg_id']}"

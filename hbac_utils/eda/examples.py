"""Select example windows from the tables and read them for display."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hbac_utils.data import preprocessing
from hbac_utils.data.competition import Competition
from hbac_utils.data.layout import SPECTROGRAM_ROWS, WINDOW_SAMPLES, eeg_row, spectrogram_row
from hbac_utils.data.readers import (
    centred,
    read_eeg,
    read_eeg_lenient,
    read_spectrogram,
    read_spectrogram_lenient,
)
from hbac_utils.data.splits import KINDS, agreement, shares
from hbac_utils.data.store import Store
from hbac_utils.labels import CLASSES, RELIABLE_VOTES, VOTE_COLUMNS
from hbac_utils.montage import ELECTRODES
from hbac_utils.utils.errors import InputError

DISPLAY_BAND = (0.5, 40.0)  # Hz

PROTOTYPES = {
    "idealized": (1, 0, 0),
    "proto": (1 / 2, 1 / 2, 0),
    "edge": (1 / 2, 0, 1 / 2),
    "scattered": (1 / 3, 1 / 3, 1 / 3),
}
"""Purest value of `splits.shares` for each kind of agreement."""

TOLERANCE = 0.2  # windows that differ by less from a prototype are compared by their votes


class Window(NamedTuple):
    """A labelled window, as `plots.window_page` draws it."""

    eeg: np.ndarray  # float32, (10000, 19), microvolts, band-passed; NaN where missing
    spectrogram: np.ndarray | None  # float32, (300, 400), ln power; None without spectrograms
    votes: np.ndarray | None  # int64, (6,); None in the test set
    title: str


def one_per_vote_vector(train: pd.DataFrame) -> pd.DataFrame:
    """Keep the first window of each (EEG, vote vector) group."""
    return train.drop_duplicates(["eeg_id", *VOTE_COLUMNS])


def votes_of(table: pd.DataFrame) -> np.ndarray:
    """Return the votes of a table, shape (n, 6)."""
    return table[list(VOTE_COLUMNS)].to_numpy()


def vote_text(votes: np.ndarray) -> str:
    """Format a vote vector, largest count first: ``"7 LPD, 4 Other, 2 LRDA"``."""
    order = np.argsort(-np.asarray(votes), kind="stable")
    return ", ".join(f"{votes[i]:g} {CLASSES[i]}" for i in order if votes[i])


def class_examples(
    train: pd.DataFrame, per_class: int = 1, *, kind: str = "idealized", seed: int = 0
) -> pd.DataFrame:
    """Select typical windows of each class, at most one per EEG.

    Windows of the given kind of agreement are preferred, then windows with ≥ 10 votes; the
    choice between equal windows is random.

    Parameters
    ----------
    per_class : int
        Largest number of windows per class.
    kind : str
        One of `splits.KINDS`.

    Returns
    -------
    DataFrame
        Rows of ``train``, sorted by class.
    """
    rows = one_per_vote_vector(train).sample(frac=1, random_state=seed)
    votes = votes_of(rows)
    # the last key of lexsort has priority; False sorts before True
    order = np.lexsort([votes.sum(axis=1) < RELIABLE_VOTES, agreement(votes) != kind])
    return _first_per_class(rows.iloc[order].drop_duplicates("eeg_id"), per_class)


def sample_windows(train: pd.DataFrame, per_class: int, seed: int = 0) -> pd.DataFrame:
    """Draw at most ``per_class`` random (EEG, vote vector) groups of each class."""
    rows = one_per_vote_vector(train).sample(frac=1, random_state=seed)
    return _first_per_class(rows, per_class)


def _first_per_class(rows: pd.DataFrame, per_class: int) -> pd.DataFrame:
    chosen = rows.groupby("expert_consensus").head(per_class)
    by_class = {"by": "expert_consensus", "key": lambda names: names.map(CLASSES.index)}
    return chosen.sort_values(**by_class, kind="stable", ignore_index=True)


def agreement_examples(train: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Select the window nearest to the prototype of each kind of agreement, one per EEG.

    Among about equally near windows, those with ≥ 10 votes are preferred.

    Returns
    -------
    DataFrame
        Rows of ``train`` in the order of `splits.KINDS`, fewer if there are too few EEGs, with
        a ``title`` that gives the kind that was found and the votes.
    """
    rows = one_per_vote_vector(train).sample(frac=1, random_state=seed)
    chosen = []
    for kind in KINDS[: rows["eeg_id"].nunique()]:
        votes = votes_of(rows)
        distance = np.abs(shares(votes) - PROTOTYPES[kind]).sum(axis=1)
        few = votes.sum(axis=1) < RELIABLE_VOTES
        best = np.lexsort([distance, few, distance // TOLERANCE])[0]
        found = agreement(votes[[best]])[0]
        name = found if found == kind else f"no {kind} window; {found}"
        chosen.append(rows.iloc[[best]].assign(title=f"{name}: {vote_text(votes[best])}"))
        rows = rows[rows["eeg_id"] != rows["eeg_id"].iloc[best]]
    return pd.concat(chosen, ignore_index=True)


def read_windows(
    competition: Competition, rows: pd.DataFrame, consensus: str | None = None
) -> list[Window]:
    """Read windows of the training set, optionally of one class only; see `read_window`."""
    if consensus is not None:
        rows = rows[rows["expert_consensus"] == consensus]
    return [read_window(competition, row) for _, row in rows.iterrows()]


def read_window(competition: Competition, row: pd.Series) -> Window:
    """Read one window's EEG and spectrogram for display.

    Parameters
    ----------
    row : Series
        A row of ``train.csv``, optionally with a ``title``.

    Raises
    ------
    InputError
        If a file is missing or unreadable, or ends before the window does.
    """
    spectrogram = None
    if competition.has_spectrograms("train"):
        spectrogram = read_window_spectrogram(competition, row)
    return Window(read_window_eeg(competition, row), spectrogram, _votes(row), _title(row))


def read_window_eeg(competition: Competition, row: pd.Series) -> np.ndarray:
    """Read a window's EEG, band-passed for display, as of `Window.eeg`."""
    path = competition.eeg_path("train", int(row["eeg_id"]))
    start = int(eeg_row(row["eeg_label_offset_seconds"]))
    return _cut(_for_display(read_eeg(path)), start, WINDOW_SAMPLES, path)


def read_window_spectrogram(competition: Competition, row: pd.Series) -> np.ndarray:
    """Read a window's spectrogram, as of `Window.spectrogram`."""
    path = competition.spectrogram_path("train", int(row["spectrogram_id"]))
    start = int(spectrogram_row(row["spectrogram_label_offset_seconds"]))
    power = _cut(read_spectrogram(path), start, SPECTROGRAM_ROWS, path)
    return preprocessing.log_power(power).astype(np.float32)


def read_stored_windows(store: Store, rows: pd.DataFrame) -> list[Window]:
    """Read rows of ``store.windows``, optionally with a ``title``; gaps are filled there."""
    windows = []
    for _, row in rows.iterrows():
        begin = row["eeg_start"]
        eeg = store.eeg[begin : begin + WINDOW_SAMPLES].astype(np.float32)
        spectrogram = None
        if store.spectrogram is not None:
            begin = row["spectrogram_start"]
            spectrogram = store.spectrogram[begin : begin + SPECTROGRAM_ROWS].astype(np.float32)
        windows.append(Window(eeg, spectrogram, _votes(row), _title(row)))
    return windows


def read_test_windows(competition: Competition, n: int) -> list[Window]:
    """Read the first ``n`` recordings of the test set as inference does.

    A recording that cannot be read is all NaN, with the reason in its title.
    """
    test = competition.test.drop_duplicates("eeg_id").head(n)
    return [_read_or_blank(competition, row) for row in test.to_dict("records")]


def _read_or_blank(competition: Competition, row: Mapping[str, Any]) -> Window:
    title = f"EEG {row['eeg_id']}"
    try:
        eeg, notes = read_eeg_lenient(competition.find_test_recording("eeg", row["eeg_id"]))
        eeg = centred(_for_display(eeg), WINDOW_SAMPLES, np.nan)
        spectrogram = _test_spectrogram(competition, row)
        return Window(eeg, spectrogram, None, ", ".join([title, *notes]))
    except Exception as error:  # a figure must not fail the submission
        blank = np.full((WINDOW_SAMPLES, len(ELECTRODES)), np.nan, dtype=np.float32)
        return Window(blank, None, None, f"{title}: {error}")


def _test_spectrogram(competition: Competition, row: Mapping[str, Any]) -> np.ndarray | None:
    try:
        power, _ = read_spectrogram_lenient(
            competition.find_test_recording("spectrogram", row["spectrogram_id"])
        )
    except (InputError, KeyError):  # the table may have no column spectrogram_id
        return None
    return centred(preprocessing.log_power(power).astype(np.float32), SPECTROGRAM_ROWS, np.nan)


def _for_display(eeg: np.ndarray) -> np.ndarray:
    """Apply the display band-pass; keep missing values missing."""
    filled, missing = preprocessing.fill_gaps(eeg)
    shown = preprocessing.bandpass(filled, DISPLAY_BAND)
    shown[missing] = np.nan
    return shown


def _cut(recording: np.ndarray, start: int, length: int, path: Path) -> np.ndarray:
    window = recording[start : start + length]
    if len(window) < length:
        raise InputError(
            f"{path}: {len(recording)} rows, but a window of the table ends at row {start + length}"
        )
    return window


def _votes(row: pd.Series) -> np.ndarray:
    return row[list(VOTE_COLUMNS)].to_numpy(dtype=np.int64)


def _title(row: pd.Series) -> str:
    return row["title"] if "title" in row else f"{row['expert_consensus']} · EEG {row['eeg_id']}"

"""Select example windows from the tables and read them for display."""

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

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
from hbac_utils.utils.errors import InputError, check_counts

PROTOTYPES = {
    "idealized": (1, 0, 0),
    "proto": (1 / 2, 1 / 2, 0),
    "edge": (1 / 2, 0, 1 / 2),
    "scattered": (1 / 3, 1 / 3, 1 / 3),
}
"""Purest value of `splits.shares` for each kind of agreement."""


class Window(NamedTuple):
    """A labelled window, as `plots.window_page` draws it.

    Attributes
    ----------
    eeg : array of float32, shape (10000, 19), microvolts
        Band-passed from 0.5 to 40 Hz; NaN where values are missing.
    spectrogram : array of float32, shape (300, 400), natural logarithm of power, or None
    votes : array of int64, shape (6,), or None in the test set
    """

    eeg: np.ndarray
    spectrogram: np.ndarray | None
    votes: np.ndarray | None
    title: str


def recorded_windows(competition: Competition) -> pd.DataFrame:
    """Select the rows of ``train.csv`` whose EEG is in the folder; print what is missing."""
    train = competition.train
    rows = with_recording(competition, "eeg")
    counts = {
        "EEGs": (rows["eeg_id"].nunique(), train["eeg_id"].nunique()),
        "spectrograms": (
            with_recording(competition, "spectrogram")["spectrogram_id"].nunique(),
            train["spectrogram_id"].nunique(),
        ),
    }
    missing = [f"{n:,} of {total:,} {kind}" for kind, (n, total) in counts.items() if n < total]
    if test_table(competition) is None:
        missing.append("no test.csv")
    if missing:
        print(f"The folder holds {', '.join(missing)}: what is there is shown.")
    return rows


def with_recording(competition: Competition, kind: str) -> pd.DataFrame:
    """Select the rows of ``train.csv`` whose "eeg" or "spectrogram" is in the folder."""
    train = competition.train
    return train[train[f"{kind}_id"].isin(competition.present("train", kind))]


def test_table(competition: Competition) -> pd.DataFrame | None:
    """Read ``test.csv``, or ``sample_submission.csv``; None if there is neither."""
    try:
        return competition.test
    except InputError:
        return None


def one_per_vote_vector(train: pd.DataFrame) -> pd.DataFrame:
    """Keep the first window of each (EEG, vote vector) group."""
    return train.drop_duplicates(["eeg_id", *VOTE_COLUMNS])


def votes_of(table: pd.DataFrame) -> np.ndarray:
    """Return the votes of a table, shape (n, 6)."""
    return table[list(VOTE_COLUMNS)].to_numpy()


def vote_text(votes: np.ndarray) -> str:
    """Format a vote vector, largest count first.

    Examples
    --------
    >>> vote_text(np.array([0, 7, 0, 2, 0, 4]))
    '7 LPD, 4 Other, 2 LRDA'
    """
    order = np.argsort(-votes, kind="stable")
    return ", ".join(f"{votes[i]:g} {CLASSES[i]}" for i in order if votes[i])


def class_examples(
    train: pd.DataFrame, per_class: int = 1, *, kind: str = "idealized", seed: int = 0
) -> pd.DataFrame:
    """Select up to ``per_class`` typical windows of each class, at most one per EEG.

    Windows of the given kind of agreement (`splits.KINDS`) are preferred, then windows with
    ≥ 10 votes; the choice between equal windows is random. Returns rows of ``train``, sorted
    by class.
    """
    check_counts(examples=per_class, seed=seed)
    rows = one_per_vote_vector(train).sample(frac=1, random_state=seed)
    votes = votes_of(rows)
    # the last key of lexsort has priority; False sorts before True
    order = np.lexsort([votes.sum(axis=1) < RELIABLE_VOTES, agreement(votes) != kind])
    return _first_per_class(rows.iloc[order].drop_duplicates("eeg_id"), per_class)


def sample_windows(train: pd.DataFrame, per_class: int, seed: int = 0) -> pd.DataFrame:
    """Draw at most ``per_class`` random (EEG, vote vector) groups of each class."""
    check_counts(sampled=per_class, seed=seed)
    rows = one_per_vote_vector(train).sample(frac=1, random_state=seed)
    return _first_per_class(rows, per_class)


def _first_per_class(rows: pd.DataFrame, per_class: int) -> pd.DataFrame:
    chosen = rows.groupby("expert_consensus").head(per_class)
    by_class = {"by": "expert_consensus", "key": lambda names: names.map(CLASSES.index)}
    return chosen.sort_values(**by_class, kind="stable", ignore_index=True)


def agreement_examples(train: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Select the window nearest to the prototype of each kind of agreement, one per EEG.

    Among about equally near windows, those with ≥ 10 votes are preferred. Returns rows of
    ``train`` in the order of `splits.KINDS`, fewer if there are too few EEGs, with a ``title``
    that gives the kind that was found and the votes.
    """
    rows = one_per_vote_vector(train).sample(frac=1, random_state=seed)
    chosen = []
    for kind in KINDS[: rows["eeg_id"].nunique()]:
        votes = votes_of(rows)
        distance = np.abs(shares(votes) - PROTOTYPES[kind]).sum(axis=1)
        few = votes.sum(axis=1) < RELIABLE_VOTES
        best = np.lexsort([distance, few, distance // 0.2])[0]
        found = agreement(votes[[best]])[0]
        name = found if found == kind else f"no {kind} window; {found}"
        chosen.append(rows.iloc[[best]].assign(title=f"{name}: {vote_text(votes[best])}"))
        rows = rows[rows["eeg_id"] != rows["eeg_id"].iloc[best]]
    return pd.concat(chosen, ignore_index=True) if chosen else rows.assign(title="")


def read_windows(
    competition: Competition, rows: pd.DataFrame, consensus: str | None = None
) -> list[Window]:
    """Read windows of the training set, optionally of one class only; see `read_window`.

    What cannot be read, such as a file whose download was interrupted, is named and left out.
    """
    if consensus is not None:
        rows = rows[rows["expert_consensus"] == consensus]
    windows = []
    for _, row in rows.iterrows():
        try:
            windows.append(read_window(competition, row))
        except InputError as error:
            print(f"left out: {error}")
    return windows


def read_window(competition: Competition, row: pd.Series) -> Window:
    """Read the EEG and, if it is there, the spectrogram of a row of ``train.csv``.

    The row may have a ``title``. Raises InputError if the EEG is missing, or a file is unreadable
    or ends before the window does.
    """
    spectrogram = None
    if competition.spectrogram_path("train", int(row["spectrogram_id"])).is_file():
        spectrogram = read_window_spectrogram(competition, row)
    return _window(read_window_eeg(competition, row), spectrogram, row)


def read_window_eeg(competition: Competition, row: pd.Series) -> np.ndarray:
    """Read the EEG of a `Window`."""
    path = competition.eeg_path("train", int(row["eeg_id"]))
    start = int(eeg_row(row["eeg_label_offset_seconds"]))
    return _cut(_for_display(read_eeg(path)), start, WINDOW_SAMPLES, path)


def read_window_spectrogram(competition: Competition, row: pd.Series) -> np.ndarray:
    """Read the spectrogram of a `Window`."""
    path = competition.spectrogram_path("train", int(row["spectrogram_id"]))
    start = int(spectrogram_row(row["spectrogram_label_offset_seconds"]))
    return _log_power(_cut(read_spectrogram(path), start, SPECTROGRAM_ROWS, path))


def read_stored_windows(
    store: Store, rows: pd.DataFrame, competition: Competition | None = None
) -> list[Window]:
    """Read windows of a store, where gaps are filled; ``rows`` as of ``store.windows``.

    An EEG that is not packed is read from the competition; if it cannot be, it is all NaN.
    """
    windows = []
    for _, row in rows.iterrows():
        eeg, spectrogram = np.full((WINDOW_SAMPLES, len(ELECTRODES)), np.nan, np.float32), None
        if store.eeg is not None:
            begin = row["eeg_start"]
            eeg = store.eeg[begin : begin + WINDOW_SAMPLES].astype(np.float32)
        elif competition is not None:
            with suppress(InputError):
                eeg = read_window_eeg(competition, row)
        if store.spectrogram is not None:
            begin = row["spectrogram_start"]
            spectrogram = store.spectrogram[begin : begin + SPECTROGRAM_ROWS].astype(np.float32)
        windows.append(_window(eeg, spectrogram, row))
    return windows


def read_test_windows(competition: Competition, n: int) -> list[Window]:
    """Read the first ``n`` recordings of the test set as inference does.

    A recording that cannot be read is all NaN, with the reason in its title.
    """
    windows = []
    for row in competition.test.drop_duplicates("eeg_id").head(n).to_dict("records"):
        eeg = np.full((WINDOW_SAMPLES, len(ELECTRODES)), np.nan, dtype=np.float32)
        spectrogram, title = None, f"EEG {row['eeg_id']}"
        try:
            read, notes = read_eeg_lenient(competition.find_test_recording("eeg", row["eeg_id"]))
            eeg = centred(_for_display(read), WINDOW_SAMPLES, np.nan)
            title = ", ".join([title, *notes])
            if competition.has_spectrograms("test") and "spectrogram_id" in row:
                path = competition.find_test_recording("spectrogram", row["spectrogram_id"])
                power = _log_power(read_spectrogram_lenient(path).values)
                spectrogram = centred(power, SPECTROGRAM_ROWS, np.nan)
        except Exception as error:  # a figure must not fail the submission
            title = f"{title}: {error}"
        windows.append(Window(eeg, spectrogram, None, title))
    return windows


def _for_display(eeg: np.ndarray) -> np.ndarray:
    """Band-pass from 0.5 to 40 Hz; keep missing values missing."""
    filled, missing = preprocessing.fill_gaps(eeg)
    shown = preprocessing.bandpass(filled, (0.5, 40.0))
    shown[missing] = np.nan
    return shown


def _log_power(power: np.ndarray) -> np.ndarray:
    return preprocessing.log_power(power).astype(np.float32)


def _cut(recording: np.ndarray, start: int, length: int, path: Path) -> np.ndarray:
    end = start + length
    if len(recording) < end:
        raise InputError(
            f"{path}: {len(recording)} rows, but a window of the table ends at row {end}"
        )
    return recording[start:end]


def _window(eeg: np.ndarray, spectrogram: np.ndarray | None, row: pd.Series) -> Window:
    title = row.get("title", f"{row['expert_consensus']} · EEG {row['eeg_id']}")
    return Window(eeg, spectrogram, row[list(VOTE_COLUMNS)].to_numpy(dtype=np.int64), title)

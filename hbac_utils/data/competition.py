"""A competition folder in Kaggle's layout: where its files are and what its tables say.

The layout's numbers (rates, lengths, grids, column names) have their home here. Reading is
strict: the first thing that is wrong is an `InputError` that names file, column and value.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from hbac_utils.data.layout import (
    IDS,
    KAGGLE_INPUT,
    LONGEST_SECONDS,
    MOST_VOTES,
    OFFSETS,
    SLUG,
    TEST_COLUMNS,
    TRAIN_COLUMNS,
)
from hbac_utils.data.readers import read_test_table
from hbac_utils.labels import CLASSES, VOTE_COLUMNS, consensus
from hbac_utils.utils.errors import InputError


@dataclass(frozen=True)
class Competition:
    """A folder with ``train.csv`` or ``test.csv`` and the recordings that they name.

    Parameters
    ----------
    path : Path
        See `open_competition`, which checks that it is one.
    """

    path: Path

    @cached_property
    def train(self) -> pd.DataFrame:
        """``train.csv``, validated; one row per labelled window.

        Raises
        ------
        InputError
            If the file or a column is missing or doubled, a vote column is unknown, a
            ``label_id`` occurs twice, an EEG has two patients, a row has no votes, or a value has
            the wrong type or range.
        """
        path = self.path / "train.csv"
        table = read_table(path)
        return _checked_train(table, path)

    @cached_property
    def test(self) -> pd.DataFrame:
        """``test.csv``, forgivingly: only ``eeg_id`` is required, a submission needs no more.

        See `read_test_table`, which also tells what becomes of odd ids.

        Raises
        ------
        InputError
            If neither it nor ``sample_submission.csv`` has a column ``eeg_id``.
        """
        return read_test_table(self.path, TEST_COLUMNS)

    def eeg_path(self, split: str, eeg_id: int) -> Path:
        """Where the recording ``eeg_id`` of ``split`` ("train" or "test") lies."""
        return self.path / f"{split}_eegs" / f"{eeg_id}.parquet"

    def spectrogram_path(self, split: str, spectrogram_id: int) -> Path:
        """Where the spectrogram ``spectrogram_id`` of ``split`` lies."""
        return self.path / f"{split}_spectrograms" / f"{spectrogram_id}.parquet"

    def has_spectrograms(self, split: str) -> bool:
        """Whether the folder holds spectrograms for ``split`` at all."""
        return (self.path / f"{split}_spectrograms").is_dir()


def open_competition(path: str | Path = "") -> Competition:
    """Open a competition folder; an empty path looks under ``/kaggle/input``.

    Raises
    ------
    InputError
        If the folder does not exist, or holds neither ``train.csv`` nor ``test.csv``.
    """
    if not str(path):
        candidates = [KAGGLE_INPUT / "competitions" / SLUG, KAGGLE_INPUT / SLUG]
        found = [candidate for candidate in candidates if candidate.is_dir()]
        if not found:
            raise InputError(
                f"no competition under {KAGGLE_INPUT}: attach {SLUG} to the notebook, "
                "or name a folder (DATA=…)"
            )
        path = found[0]
    path = Path(path)
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; name a competition folder (DATA=…)")
    if not any((path / name).is_file() for name in ("train.csv", "test.csv")):
        raise InputError(f"{path}: no competition folder (neither train.csv nor test.csv in it)")
    return Competition(path)


def read_table(path: Path) -> pd.DataFrame:
    """Read a csv file.

    Raises
    ------
    InputError
        If it is missing or is not csv.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        return pd.read_csv(path, low_memory=False)
    except (ValueError, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise InputError(f"{path}: not a readable csv file ({error})") from None


def _require_columns(table: pd.DataFrame, columns: tuple[str, ...], path: Path) -> None:
    missing = [column for column in columns if column not in table]
    if missing:
        raise InputError(f"{path}: missing column {', '.join(missing)}; it has {list(table)}")


def _checked_train(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Refuse a table that is wrong; return the known columns, whole numbers as int64."""
    _require_columns(table, TRAIN_COLUMNS, path)
    _check_names(table, path)
    if table.empty:
        raise InputError(f"{path}: no rows")
    table = table[list(TRAIN_COLUMNS)].copy()
    for column in OFFSETS:
        seconds = _numbers(table, column)
        bad = ~seconds.between(0, LONGEST_SECONDS) | (seconds % 1 != 0)
        _refuse(table, path, bad, column, "is not a whole number of seconds ≥ 0")
        table[column] = seconds
    for column in VOTE_COLUMNS:
        negative = _numbers(table, column) < 0
        _refuse(table, path, negative, column, "is negative; votes are counts")
        table[column] = _whole(table, path, column, MOST_VOTES)
    for column in IDS:
        table[column] = _whole(table, path, column, 2**63 - 1)
    _check_labels(table, path)
    return table


def _check_names(table: pd.DataFrame, path: Path) -> None:
    unknown = [c for c in table if str(c).endswith("_vote") and c not in VOTE_COLUMNS]
    if unknown:
        raise InputError(
            f"{path}: unknown vote column {', '.join(unknown)}; known are {', '.join(VOTE_COLUMNS)}"
        )
    # pandas calls the second of two columns name.1
    doubled = [column for column in TRAIN_COLUMNS if f"{column}.1" in table]
    if doubled:
        raise InputError(f"{path}: column {doubled[0]} occurs twice; keep one")


def _check_labels(table: pd.DataFrame, path: Path) -> None:
    _refuse(table, path, table["label_id"].duplicated(), "label_id", "occurs twice; remove one")
    # else an EEG could be trained on and held out
    patients = table.groupby("eeg_id")["patient_id"].transform("first")
    _refuse(
        table, path, patients != table["patient_id"], "patient_id",
        "is another one than in an earlier row of the same eeg_id",
    )  # fmt: skip
    votes = table[list(VOTE_COLUMNS)].to_numpy()
    _refuse(table, path, votes.sum(axis=1) == 0, "label_id", "has zero votes; remove the row")
    unnamed = ~table["expert_consensus"].isin(CLASSES)
    _refuse(table, path, unnamed, "expert_consensus", f"is none of {', '.join(CLASSES)}")
    differs = table["expert_consensus"].to_numpy() != consensus(votes)
    _refuse(table, path, differs, "expert_consensus", "is not the class with the most votes")


def _numbers(table: pd.DataFrame, column: str) -> pd.Series:
    """Take a column as float64; what is no number is NaN."""
    if pd.api.types.is_bool_dtype(table[column]):
        return pd.Series(np.nan, table.index)
    return pd.to_numeric(table[column], errors="coerce").astype(np.float64)


def _whole(table: pd.DataFrame, path: Path, column: str, most: int) -> pd.Series:
    """Take a column of whole numbers from zero up as int64; refuse another value."""
    values = _numbers(table, column)
    exact = pd.api.types.is_integer_dtype(table[column])
    _refuse(table, path, values.isna(), column, "is not a number")
    _refuse(table, path, (values < 0) | (values % 1 != 0), column, "is no whole number from 0 up")
    # beyond 2^53 a float is not what stood there
    _refuse(table, path, values > (most if exact else min(most, 2**53)), column, "is too large")
    return (table[column] if exact else values).astype(np.int64)


def _refuse(table: pd.DataFrame, path: Path, bad, column: str, reason: str) -> None:
    rows = np.flatnonzero(np.asarray(bad))
    if len(rows):
        value = table[column].iloc[rows[0]]
        more = f" ({len(rows)} such rows)" if len(rows) > 1 else ""
        # line 1 of the file is the header
        raise InputError(f"{path}, line {rows[0] + 2}: {column} {value} {reason}{more}")

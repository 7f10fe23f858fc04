"""The competition folder: paths of its files, and its tables read and validated.

Reading is strict: the first thing that is wrong is an `InputError` with file, line and value.
"""

from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from hbac_utils.data.layout import IDS, KAGGLE_INPUT, OFFSETS, SLUG, TEST_COLUMNS, TRAIN_COLUMNS
from hbac_utils.labels import CLASSES, VOTE_COLUMNS, consensus
from hbac_utils.utils.errors import InputError, one_line

MAX_SECONDS = 1e8  # of an offset: three years
MAX_ID = 2**63 - 1


@dataclass(frozen=True)
class Competition:
    """A folder with ``train.csv`` or ``test.csv`` and their recordings; see `open_competition`."""

    path: Path

    @cached_property
    def train(self) -> pd.DataFrame:
        """``train.csv``, validated; one row per labelled window."""
        path = self.path / "train.csv"
        return _validate(read_table(path), path)

    @cached_property
    def test(self) -> pd.DataFrame:
        """``test.csv``, or the ids of ``sample_submission.csv`` if it has none; see `read_ids`."""
        try:
            return read_ids(self.path / "test.csv")
        except InputError:
            with suppress(InputError):
                return read_ids(self.path / "sample_submission.csv")
            raise

    def eeg_path(self, split: str, eeg_id: int) -> Path:
        """Path of an EEG of ``split``, "train" or "test"."""
        return self.path / f"{split}_eegs" / f"{eeg_id}.parquet"

    def spectrogram_path(self, split: str, spectrogram_id: int) -> Path:
        """Path of a spectrogram of ``split``."""
        return self.path / f"{split}_spectrograms" / f"{spectrogram_id}.parquet"

    def find_test_recording(self, kind: str, recording: object) -> Path:
        """Find an "eeg" or "spectrogram" by its id as written, or by the number that it means."""
        folder, number = self.path / f"test_{kind}s", whole_number(recording)
        paths = [folder / f"{name}.parquet" for name in (recording, number) if name is not None]
        if paths[0].parent != folder:
            raise InputError(f"{recording!r}: not a file name")
        found = [path for path in paths if path.is_file()]
        if not found:
            raise InputError(f"{paths[0]}: no such file")
        return found[0]

    def present(self, split: str, kind: str) -> set[int]:
        """Ids of the recordings of a ``kind``, "eeg" or "spectrogram", whose files are there."""
        names = (path.stem for path in (self.path / f"{split}_{kind}s").glob("*.parquet"))
        return {int(name) for name in names if name.isdecimal()}

    def has_spectrograms(self, split: str) -> bool:
        """Whether the folder holds spectrograms of ``split``."""
        return (self.path / f"{split}_spectrograms").is_dir()


def open_competition(path: str | Path = "") -> Competition:
    """Open a competition folder; an empty path searches ``/kaggle/input``."""
    if not str(path):
        candidates = [KAGGLE_INPUT / "competitions" / SLUG, KAGGLE_INPUT / SLUG]
        path = next((folder for folder in candidates if folder.is_dir()), "")
        if not path:
            raise InputError(
                f"no competition under {KAGGLE_INPUT}: attach {SLUG} to the notebook, "
                "or name a folder (DATA=…)"
            )
    path = Path(path)
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; name a competition folder (DATA=…)")
    if not any((path / name).is_file() for name in ("train.csv", "test.csv")):
        raise InputError(f"{path}: no competition folder (neither train.csv nor test.csv in it)")
    return Competition(path)


def read_table(path: Path) -> pd.DataFrame:
    """Read a csv file; failures are an `InputError` that names it."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        return pd.read_csv(path, low_memory=False)
    except (ValueError, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise InputError(f"{path}: not a readable csv file ({one_line(error)})") from None


def _validate(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    _check_columns(table, path)
    table = table[list(TRAIN_COLUMNS)].copy()
    for column in OFFSETS:
        seconds = pd.to_numeric(table[column], errors="coerce").astype(np.float64)
        wrong = ~seconds.between(0, MAX_SECONDS) | (seconds % 1 != 0)
        _refuse(table, path, wrong, column, "is not a whole number of seconds ≥ 0")
        table[column] = seconds
    for column in (*VOTE_COLUMNS, *IDS):
        table[column] = _whole_numbers(table, path, column)
    _check_labels(table, path)
    return table


def _check_columns(table: pd.DataFrame, path: Path) -> None:
    missing = [column for column in TRAIN_COLUMNS if column not in table]
    if missing:
        raise InputError(f"{path}: missing column {', '.join(missing)}; it has {list(table)}")
    unknown = [c for c in table if str(c).endswith("_vote") and c not in VOTE_COLUMNS]
    if unknown:
        raise InputError(
            f"{path}: unknown vote column {', '.join(unknown)}; known are {', '.join(VOTE_COLUMNS)}"
        )
    if table.empty:
        raise InputError(f"{path}: no rows")


def _check_labels(table: pd.DataFrame, path: Path) -> None:
    _refuse(table, path, table["label_id"].duplicated(), "label_id", "occurs twice; remove one")
    # else an EEG could be in a training fold and in the validation fold
    patients = table.groupby("eeg_id")["patient_id"].transform("first")
    _refuse(
        table, path, patients != table["patient_id"], "patient_id",
        "differs from an earlier row of the same eeg_id",
    )  # fmt: skip
    votes = table[list(VOTE_COLUMNS)].to_numpy()
    _refuse(table, path, votes.sum(axis=1) == 0, "label_id", "has zero votes; remove the row")
    unknown = ~table["expert_consensus"].isin(CLASSES)
    _refuse(table, path, unknown, "expert_consensus", f"is none of {', '.join(CLASSES)}")
    differs = table["expert_consensus"].to_numpy() != consensus(votes)
    _refuse(table, path, differs, "expert_consensus", "is not the class with the most votes")


def _whole_numbers(table: pd.DataFrame, path: Path, column: str) -> pd.Series:
    exact = pd.api.types.is_integer_dtype(table[column])
    values = pd.to_numeric(table[column], errors="coerce").astype(np.float64)
    wrong = ~values.between(0, MAX_ID if exact else 2**53) | (values % 1 != 0)
    _refuse(table, path, wrong, column, "is not a whole number ≥ 0")
    return (table[column] if exact else values).astype(np.int64)


def _refuse(table: pd.DataFrame, path: Path, wrong, column: str, reason: str) -> None:
    rows = np.flatnonzero(np.asarray(wrong))
    if len(rows):
        value = table[column].iloc[rows[0]]
        more = f" ({len(rows)} such rows)" if len(rows) > 1 else ""
        # line 1 of the file is the header
        raise InputError(f"{path}, line {rows[0] + 2}: {column} {value} {reason}{more}")


def read_ids(path: Path) -> pd.DataFrame:
    """Read a test table or a submission without losing or changing an id.

    Column names are recognised in any case; of two equal columns the first counts. A column of
    ids is int64 if all its cells are plain whole numbers, else text as written: 1.0e9 stays
    ``"1.0e9"``, an empty cell ``""``. Raises InputError if there is no column ``eeg_id``.
    """
    try:
        table = pd.read_csv(
            path, dtype=str, keep_default_na=False, index_col=False, encoding="utf-8-sig",
            encoding_errors="replace",
        )  # fmt: skip
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise InputError(f"{path}: not a readable csv file ({one_line(error)})") from None
    folded = {name: name.strip().casefold() for name in table}
    table = table.rename(columns={k: v for k, v in folded.items() if v in TEST_COLUMNS})
    table = table.loc[:, ~table.columns.duplicated()].fillna("")
    if "eeg_id" not in table:
        raise InputError(f"{path}: missing column eeg_id; it has {list(table)}")
    blank = table.apply(lambda column: column.str.strip() == "").all(axis=1)
    table = table[~blank].reset_index(drop=True)
    for name in TEST_COLUMNS:
        if name in table and len(table) and table[name].map(_is_plain_id).all():
            table[name] = table[name].astype(np.int64)
    return table


def whole_number(text: object) -> int | None:
    """Parse a whole number in any notation, such as 1.0e9 or 007; None if it is not one."""
    try:
        number = Decimal(str(text).strip())
    except InvalidOperation:
        return None
    if not number.is_finite() or abs(number.adjusted()) > 40:  # 1e999999999 would fill the memory
        return None
    return int(number) if number == number.to_integral_value() else None


def _is_plain_id(text: str) -> bool:
    number = whole_number(text)
    return number is not None and str(number) == text and abs(number) <= MAX_ID

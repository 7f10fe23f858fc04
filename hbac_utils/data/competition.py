"""A competition folder in Kaggle's layout: where its files are and what its tables say.

The layout's numbers (rates, lengths, grids, column names) have their home here. Reading is
strict: the first thing that is wrong is an `InputError` that names file, column and value.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hbac_utils.data.testset import read_test_table
from hbac_utils.errors import InputError
from hbac_utils.labels import CLASSES, VOTE_COLUMNS, consensus
from hbac_utils.montage import CHAINS, ELECTRODES

SLUG = "hms-harmful-brain-activity-classification"
KAGGLE_INPUT = Path("/kaggle/input")

SAMPLING_RATE = 200  # Hz
WINDOW_SECONDS = 50  # of EEG around the label
SEGMENT_SECONDS = 10  # the labelled centre of a window
WINDOW_SAMPLES = SAMPLING_RATE * WINDOW_SECONDS
SPECTROGRAM_SECONDS = 600  # of spectrogram around the label
SPECTROGRAM_STEP = 2  # seconds between two rows
SPECTROGRAM_ROWS = SPECTROGRAM_SECONDS // SPECTROGRAM_STEP

FREQUENCIES = 0.5859375 + 0.1953125 * np.arange(100)  # Hz, exact in binary

TRAIN_COLUMNS = (
    "eeg_id", "eeg_sub_id", "eeg_label_offset_seconds",
    "spectrogram_id", "spectrogram_sub_id", "spectrogram_label_offset_seconds",
    "label_id", "patient_id", "expert_consensus", *VOTE_COLUMNS,
)  # fmt: skip
TEST_COLUMNS = ("spectrogram_id", "eeg_id", "patient_id")

DAMAGE = (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError)
"""What pyarrow raises over files that are not as they should be."""


def _frequency_name(frequency: float) -> str:
    # Kaggle rounds half up; Python's round() would take 19.921875 and 4.1015625 half to even
    rounded = Decimal(frequency).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)
    return f"{rounded.normalize():f}"


SPECTROGRAM_COLUMNS = tuple(
    f"{chain}_{_frequency_name(frequency)}" for chain in CHAINS for frequency in FREQUENCIES
)
"""The 400 power columns: chains LL, RL, LP, RP × 100 frequencies (``LL_0.59`` … ``RP_19.92``)."""


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
            If the file or a column is missing, a vote column is unknown, a ``label_id``
            occurs twice, a row has no votes, or a value has the wrong type or range.
        """
        path = self.path / "train.csv"
        table = read_table(path)
        _check_train(table, path)
        return table[list(TRAIN_COLUMNS)]

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
        return pd.read_csv(path)
    except (ValueError, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise InputError(f"{path}: not a readable csv file ({error})") from None


def _require_columns(table: pd.DataFrame, columns: tuple[str, ...], path: Path) -> None:
    missing = [column for column in columns if column not in table]
    if missing:
        raise InputError(f"{path}: missing column {', '.join(missing)}; it has {list(table)}")


def _check_train(table: pd.DataFrame, path: Path) -> None:
    _require_columns(table, TRAIN_COLUMNS, path)
    unknown = [c for c in table if str(c).endswith("_vote") and c not in VOTE_COLUMNS]
    if unknown:
        raise InputError(
            f"{path}: unknown vote column {', '.join(unknown)}; known are {', '.join(VOTE_COLUMNS)}"
        )
    if table.empty:
        raise InputError(f"{path}: no rows")
    for column in TRAIN_COLUMNS:
        if column == "expert_consensus":
            continue
        if not pd.api.types.is_numeric_dtype(table[column]) or table[column].isna().any():
            raise InputError(f"{path}: column {column} holds something that is not a number")
    _refuse(table, path, table["label_id"].duplicated(), "label_id", "occurs twice; remove one")
    for column in VOTE_COLUMNS:
        _refuse(table, path, table[column] < 0, column, "is negative; votes are counts")
    votes = table[list(VOTE_COLUMNS)].to_numpy()
    _refuse(table, path, votes.sum(axis=1) == 0, "label_id", "has zero votes; remove the row")
    for column in ("eeg_label_offset_seconds", "spectrogram_label_offset_seconds"):
        bad = (table[column] < 0) | (table[column] % 1 != 0)
        _refuse(table, path, bad, column, "is not a whole number of seconds ≥ 0")
    unnamed = ~table["expert_consensus"].isin(CLASSES)
    _refuse(table, path, unnamed, "expert_consensus", f"is none of {', '.join(CLASSES)}")
    differs = table["expert_consensus"].to_numpy() != consensus(votes)
    _refuse(table, path, differs, "expert_consensus", "is not the class with the most votes")


def _refuse(table: pd.DataFrame, path: Path, bad, column: str, reason: str) -> None:
    rows = np.flatnonzero(np.asarray(bad))
    if len(rows):
        value = table[column].iloc[rows[0]]
        more = f" ({len(rows)} such rows)" if len(rows) > 1 else ""
        # line 1 of the file is the header
        raise InputError(f"{path}, line {rows[0] + 2}: {column} {value} {reason}{more}")


def read_eeg(path: Path, channels: tuple[str, ...] = ELECTRODES) -> np.ndarray:
    """Read one EEG recording.

    Parameters
    ----------
    path : Path
        A parquet file.
    channels : tuple of str
        Which columns, in which order.

    Returns
    -------
    array of float32, shape (n_times, n_channels), microvolts, 200 Hz
        NaN where the file has it.

    Raises
    ------
    InputError
        If the file is missing, is not parquet, or lacks a channel.
    """
    return _read_parquet(path, channels)


def read_spectrogram(path: Path) -> np.ndarray:
    """Read one spectrogram.

    Returns
    -------
    array of float32, shape (n_rows, 400), linear power, a row every 2 s
        Columns in the order of `SPECTROGRAM_COLUMNS`; NaN where the file has it.

    Raises
    ------
    InputError
        If the file is missing, is not parquet, or lacks a column.
    """
    return _read_parquet(path, SPECTROGRAM_COLUMNS)


def count_rows(path: Path) -> int:
    """Count a parquet file's rows from its footer alone.

    Raises
    ------
    InputError
        If the file is missing or is not parquet.
    """
    try:
        return pq.read_metadata(path).num_rows
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except DAMAGE as error:
        raise InputError(f"{path}: not a parquet file ({one_line(error)})") from None


@contextmanager
def open_parquet(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a parquet file; what goes wrong with it is an `InputError` that names it.

    Raises
    ------
    InputError
        If the file is missing, is not parquet, or what is asked of it cannot be read.
    """
    try:
        # from memory, because pyarrow fetches each column by itself
        with pq.ParquetFile(pa.BufferReader(path.read_bytes())) as file:
            yield file
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except DAMAGE as error:
        raise InputError(f"{path}: not a readable parquet file ({one_line(error)})") from None


def _read_parquet(path: Path, columns: tuple[str, ...]) -> np.ndarray:
    with open_parquet(path) as file:
        # one thread: the callers read many files at once
        table = file.read(columns=list(columns), use_threads=False)
    # by place: looking 400 columns up by name takes longer than decoding them
    place = {name: i for i, name in enumerate(table.column_names)}
    check_columns(path, table.column_names, columns)
    # a column after the other, as in the file and as the filter wants them
    array = np.empty((len(columns), table.num_rows), dtype=np.float32)
    for i, column in enumerate(columns):
        values = table.column(place[column])
        if not is_number(values.type):
            raise InputError(f"{path}: column {column} is {values.type}, not numbers")
        copy_values(values, array[i])
    return array.T


def check_columns(path: Path, names: list[str], wanted: tuple[str, ...]) -> None:
    """Refuse a file in which a column is missing or stands twice.

    Raises
    ------
    InputError
        Naming the first five missing columns, or the first doubled one.
    """
    missing = [column for column in wanted if column not in set(names)]
    if missing:
        listed = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
        raise InputError(f"{path}: missing column {listed}; fetch the file again")
    counts = Counter(names)
    doubled = [column for column in wanted if counts[column] > 1]
    if doubled:
        raise InputError(f"{path}: column {doubled[0]} occurs twice; keep one")


def is_number(kind: pa.DataType) -> bool:
    """Tell whether a column of this type holds numbers as a recording has them."""
    return pa.types.is_floating(kind) or pa.types.is_integer(kind)


def copy_values(values: pa.ChunkedArray, target: np.ndarray) -> None:
    """Copy a column of numbers into an array of float32; what is beyond its range is infinite."""
    begin = 0
    with np.errstate(over="ignore"):
        for chunk in values.chunks:
            target[begin : begin + len(chunk)] = chunk.to_numpy(zero_copy_only=False)
            begin += len(chunk)


def one_line(error: Exception) -> str:
    """Say in one line what an error of somebody else's says first."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__

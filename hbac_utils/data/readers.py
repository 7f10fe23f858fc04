"""Read EEGs and spectrograms from parquet: strictly for training, leniently for the test set.

A strict reader refuses a malformed file in one line. A lenient one reads what it can, notes what
was wrong, and raises an `InputError` only if too little is left to predict from.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hbac_utils.data.layout import (
    SAMPLING_RATE,
    SEGMENT_SECONDS,
    SPECTROGRAM_COLUMNS,
    SPECTROGRAM_ROWS,
    SPECTROGRAM_STEP,
    WINDOW_SAMPLES,
)
from hbac_utils.montage import ELECTRODES
from hbac_utils.utils.errors import InputError, one_line

PARQUET_ERRORS = (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError)

# microvolts between the extremes of the median channel: from an amplifier's noise to a volt
MIN_SPAN, MAX_SPAN = 0.1, 1e6

MAX_AMPLITUDE = 1e9  # microvolts; a larger sample would make the filter's output infinite


@contextmanager
def _open(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        # from memory, because pyarrow fetches each column by itself
        with pq.ParquetFile(pa.BufferReader(path.read_bytes())) as file:
            yield file
    except InputError:
        raise
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(f"{path}: no such file") from None
    except PARQUET_ERRORS as error:
        raise InputError(f"{path}: not a readable parquet file ({one_line(error)})") from None


# -- strict ----------------------------------------------------------------------------


def read_columns(path: Path, columns: tuple[str, ...]) -> np.ndarray:
    """Read columns of numbers: float32, shape (n_rows, n_columns), NaN for null.

    Raises InputError for an unreadable file and a missing, doubled or not numeric column.
    """
    with _open(path) as file:
        # one thread: the callers read many files at once
        table = file.read(columns=list(columns), use_threads=False)
    _check_names(path, table.column_names, columns)
    # by place: looking up 400 columns by name takes longer than decoding them
    places = {name: i for i, name in enumerate(table.column_names)}
    values = np.empty((len(columns), table.num_rows), dtype=np.float32)
    for target, column in zip(values, columns, strict=True):
        source = table.column(places[column])
        if not _is_number(source.type):
            raise InputError(f"{path}: column {column} is {source.type}, not numbers")
        _copy(source, target)
    return values.T


def read_eeg(path: Path, channels: tuple[str, ...] = ELECTRODES) -> np.ndarray:
    """Read an EEG strictly: float32, shape (n_times, n_channels), microvolts; see `read_columns`.

    Values out of an EEG's range are refused too.
    """
    eeg = read_columns(path, channels)
    # fmin and fmax ignore NaN
    low, high = np.fmin.reduce(eeg, axis=0), np.fmax.reduce(eeg, axis=0)
    if np.isnan(low).all():
        raise InputError(f"{path}: holds no value; remove its rows from train.csv")
    _check_range(path, channels, low, high)
    return eeg


def read_spectrogram(path: Path) -> np.ndarray:
    """Read a spectrogram strictly: float32, shape (n_rows, 400), linear power, see `read_columns`.

    Columns are in the order of `SPECTROGRAM_COLUMNS`; infinite values are refused.
    """
    power = read_columns(path, SPECTROGRAM_COLUMNS)
    infinite = np.isinf(power).any(axis=0)
    if infinite.any():
        column = SPECTROGRAM_COLUMNS[infinite.argmax()]
        raise InputError(
            f"{path}: column {column} has infinite values; write NaN where there is no power"
        )
    return power


def count_rows(path: Path, columns: tuple[str, ...]) -> int:
    """Read a recording's length from its footer; check that it has the columns."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        footer = pq.read_metadata(path)
        names = footer.schema.names
    except PARQUET_ERRORS as error:
        raise InputError(f"{path}: not a parquet file ({one_line(error)})") from None
    _check_names(path, names, columns)
    return footer.num_rows


def _check_names(path: Path, names: Sequence[str], wanted: tuple[str, ...]) -> None:
    present = set(names)
    missing = [column for column in wanted if column not in present]
    if missing:
        raise InputError(f"{path}: missing column {_listed(missing)}; download the file again")
    if len(present) < len(names):
        doubled = [column for column in wanted if names.count(column) > 1]
        if doubled:
            raise InputError(f"{path}: column {doubled[0]} occurs twice; keep one")


def _check_range(path: Path, columns: tuple[str, ...], low: np.ndarray, high: np.ndarray) -> None:
    """Refuse an EEG with infinite or giant values or in another unit."""
    for name, largest in zip(columns, np.fmax(np.abs(low), np.abs(high)), strict=True):
        if largest > MAX_AMPLITUDE:
            finite = largest <= np.finfo(np.float32).max
            what = f"reaches {largest:.3g} microvolts" if finite else "has infinite values"
            raise InputError(f"{path}: column {name} {what}; write NaN where there is no signal")
    span = high - low
    span = span[span > 0]
    median = np.median(span) if len(span) else np.nan
    if median < MIN_SPAN or median > MAX_SPAN:
        remedy = "multiply by" if median < MIN_SPAN else "divide by"
        raise InputError(
            f"{path}: the median channel spans {median:.3g}, no EEG in microvolts does; "
            f"{remedy} 1e6 if the unit is another one"
        )


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind)


def _copy(values: pa.ChunkedArray, target: np.ndarray) -> None:
    """Copy a numeric column into a float32 array; out of range becomes infinite."""
    begin = 0
    with np.errstate(over="ignore"):
        for chunk in values.chunks:
            target[begin : begin + len(chunk)] = chunk.to_numpy(zero_copy_only=False)
            begin += len(chunk)


# -- lenient ---------------------------------------------------------------------------

MAX_WINDOWS = 100  # lengths of a test file that is still decoded
MIN_CHANNELS = 10  # with a signal; with fewer most bipolar derivations show no difference
FLAT = 1e-7  # range of a channel, in the file's unit, that counts as no signal
# microvolts of standard deviation of the median channel (24 real recordings: 10 to 3,600)
PLAUSIBLE = (0.5, 1e4)
# mistaken for microvolts, and the factor to them; plausible ranges do not overlap
UNITS = {"volts": 1e6, "millionths of a microvolt": 1e-6}
GAP_BEYOND = 1e6  # microvolts; a sample at one volt is a gap


class LenientRecording(NamedTuple):
    """A test recording and what was wrong with it."""

    values: np.ndarray
    notes: list[str]


def read_eeg_lenient(path: Path) -> LenientRecording:
    """Read a test EEG: float32, shape (n_times, 19), microvolts, NaN for gaps.

    Of a long file the middle 10,000 samples are read. Raises InputError if the file is
    unreadable, shorter than 10 s, or too few channels have a signal.
    """
    eeg, notes = _read_lenient(path, ELECTRODES, WINDOW_SAMPLES, SEGMENT_SECONDS * SAMPLING_RATE)
    eeg[~np.isfinite(eeg)] = np.nan
    factor, unit = _unit(eeg[:, _span(eeg) > FLAT])
    if unit:
        with np.errstate(over="ignore"):
            eeg *= factor
        notes.append(f"taken for {unit}")
    beyond = np.abs(eeg) > GAP_BEYOND
    if beyond.any():
        eeg[beyond] = np.nan
        notes.append(f"{beyond.sum():,} samples beyond 1 V left out")
    if np.isnan(eeg).all():
        raise InputError(f"{path}: no finite value in it")
    channels = int((_span(eeg) > FLAT * factor).sum())
    if channels < MIN_CHANNELS:
        raise InputError(
            f"{path}: {channels} of {len(ELECTRODES)} channels have a signal, "
            f"{MIN_CHANNELS} are needed"
        )
    return LenientRecording(eeg, notes)


def read_spectrogram_lenient(path: Path) -> LenientRecording:
    """Read a test spectrogram: float32, shape (n_rows, 400), linear power, NaN for gaps."""
    shortest = SEGMENT_SECONDS // SPECTROGRAM_STEP
    power, notes = _read_lenient(path, SPECTROGRAM_COLUMNS, SPECTROGRAM_ROWS, shortest)
    if not np.isfinite(power).any():
        raise InputError(f"{path}: no finite value in it")
    return LenientRecording(power, notes)


def centred(values: np.ndarray, length: int, fill: float) -> np.ndarray:
    """Place a short recording in the middle of ``length`` rows; ``fill`` the others."""
    if len(values) == length:
        return values
    begin = (length - len(values)) // 2
    full = np.full((length, *values.shape[1:]), fill, values.dtype)
    full[begin : begin + len(values)] = values
    return full


def _span(eeg: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.fmax.reduce(eeg, axis=0) - np.fmin.reduce(eeg, axis=0)  # they ignore NaN


def _unit(eeg: np.ndarray) -> tuple[float, str]:
    """Find the factor to microvolts, and the unit's name if it is not 1."""
    some = eeg[::10].astype(np.float64)  # enough to tell millions apart
    some = some[:, np.isfinite(some).any(axis=0)]
    if not some.size:
        return 1.0, ""
    # medians, which a few wild samples do not move
    deviation = np.nanmedian(np.abs(some - np.nanmedian(some, axis=0)), axis=0)
    spread = 1.4826 * np.median(deviation)  # the standard deviation of a Gaussian
    for unit, factor in UNITS.items():
        if PLAUSIBLE[0] <= spread * factor <= PLAUSIBLE[1]:
            return factor, unit
    return 1.0, ""


def _read_lenient(path: Path, wanted: tuple[str, ...], length: int, shortest: int):
    with _open(path) as file:
        rows, names = file.metadata.num_rows, file.schema_arrow.names
        if not shortest <= rows <= MAX_WINDOWS * length:
            raise InputError(f"{path}: {rows} rows instead of {length}")
        # the exact name comes first, then one in other case; of doubled columns the first
        folded = {name.strip().casefold(): name for name in reversed(names)}
        chosen = [name if name in names else folded.get(name.casefold()) for name in wanted]
        columns = _decode(file, [name for name in chosen if name is not None])
    values = np.full((len(wanted), rows), np.nan, np.float32)
    lost = [
        name
        for name, place, target in zip(wanted, chosen, values, strict=True)
        if place is None or not _fill(columns.get(place), target)
    ]
    doubled = [name for name, place in zip(wanted, chosen, strict=True) if names.count(place) > 1]
    notes = [f"{rows} rows instead of {length}"] if rows != length else []
    notes += [f"without {_listed(lost)}"] if lost else []
    notes += [f"the first of two columns {_listed(doubled)}"] if doubled else []
    begin = max(0, (rows - length) // 2)
    return LenientRecording(values.T[begin : begin + length], notes)


def _decode(file: pq.ParquetFile, names: list[str]) -> dict[str, pa.ChunkedArray]:
    """Decode columns together or, if that fails, each by itself, without the damaged ones."""

    def read(columns: list[str]) -> dict[str, pa.ChunkedArray]:
        table = file.read(columns=columns, use_threads=False)
        return dict(zip(reversed(table.column_names), reversed(table.columns), strict=True))

    try:
        return read(names)
    except PARQUET_ERRORS as error:
        failure = error
    found = {}
    for name in names:
        with suppress(*PARQUET_ERRORS):
            found |= read([name])
    if not found:
        raise failure
    return found


def _fill(column: pa.ChunkedArray | None, target: np.ndarray) -> bool:
    """Copy a column to its place; False if it holds no number."""
    if column is None or len(column) != len(target):
        return False
    if _is_number(column.type):
        _copy(column, target)
        return True
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return False
    target[:] = pd.to_numeric(column.to_pandas(), errors="coerce").to_numpy(np.float32)
    return bool(np.isfinite(target).any())


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")

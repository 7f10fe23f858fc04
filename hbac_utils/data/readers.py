"""Read EEGs and spectrograms from parquet: strictly for training, leniently for the test set.

A strict reader refuses a malformed file in one line. A lenient one reads what it can, notes what
was wrong, and raises an `InputError` only if too little is left to predict from.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from math import gcd
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.signal import resample_poly

from hbac_utils.data.layout import (
    SAMPLING_RATE,
    SEGMENT_SECONDS,
    SPECTROGRAM_COLUMNS,
    SPECTROGRAM_ROWS,
    SPECTROGRAM_STEP,
    WINDOW_SAMPLES,
    WINDOW_SECONDS,
)
from hbac_utils.data.preprocessing import fill_gaps, find_unit, other_rate
from hbac_utils.montage import ELECTRODES, electrode_name
from hbac_utils.utils.errors import InputError, one_line

PARQUET_ERRORS = (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError)

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
        names = _choose(path, file.metadata.schema.names, columns)
        # one thread: the callers read many files at once
        table = file.read(columns=names, use_threads=False)
    # by place: looking up 400 columns by name takes longer than decoding them
    places = {name: i for i, name in enumerate(table.column_names)}
    values = np.empty((len(columns), table.num_rows), dtype=np.float32)
    for target, name in zip(values, names, strict=True):
        source = table.column(places[name])
        if not _is_number(source.type):
            raise InputError(f"{path}: column {name} is {source.type}, not numbers")
        _copy(source, target)
    return values.T


def read_eeg(path: Path, channels: tuple[str, ...] = ELECTRODES) -> np.ndarray:
    """Read an EEG strictly: float32, shape (n_times, n_channels), microvolts; see `read_columns`.

    Channels may have another recorder's names, see `electrode_name`. An EEG without a signal, out
    of an EEG's range or in another unit is refused too.
    """
    eeg = read_columns(path, channels)
    # fmin and fmax ignore NaN
    low, high = np.fmin.reduce(eeg, axis=0), np.fmax.reduce(eeg, axis=0)
    if np.isnan(low).all():
        raise InputError(f"{path}: holds no value; remove its rows from train.csv")
    for name, largest in zip(channels, np.fmax(np.abs(low), np.abs(high)), strict=True):
        if largest > MAX_AMPLITUDE:
            finite = largest <= np.finfo(np.float32).max
            what = f"reaches {largest:.3g} microvolts" if finite else "has infinite values"
            raise InputError(f"{path}: column {name} {what}; write NaN where there is no signal")
    if not (high > low).any():
        raise InputError(
            f"{path}: no signal, all channels are constant; remove its rows from train.csv"
        )
    factor, unit = find_unit(eeg)
    if unit:
        raise InputError(
            f"{path}: amplitudes as in {unit}, not microvolts; multiply all values by {factor:g}"
        )
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
    try:
        footer = pq.read_metadata(path)
        names = footer.schema.names
    except PARQUET_ERRORS as error:
        raise InputError(
            f"{path}: not a parquet file ({one_line(error)}); download the file again"
        ) from None
    _choose(path, names, columns)
    return footer.num_rows


def _choose(path: Path, names: Sequence[str], wanted: tuple[str, ...]) -> list[str]:
    """Choose the one column of a file that means each wanted one."""
    found = _find(names, wanted)
    missing = [name for name, columns in zip(wanted, found, strict=True) if not columns]
    if missing:
        used = {name for columns in found for name in columns}
        others = [name for name in names if name not in used]
        instead = f"it has {_listed(others)} instead; " if others else ""
        raise InputError(
            f"{path}: missing column {_listed(missing)}; {instead}"
            "rename the columns or download the file again"
        )
    for name, columns in zip(wanted, found, strict=True):
        if len(columns) > 1:
            raise InputError(
                f"{path}: column {name} occurs twice ({' and '.join(columns)}); keep one"
            )
    return [columns[0] for columns in found]


# -- both ------------------------------------------------------------------------------


def _find(names: Sequence[str], wanted: tuple[str, ...]) -> list[list[str]]:
    """List for each wanted column those of a file that mean it; see `electrode_name`."""
    found: dict[str, list[str]] = {}
    for name in names:
        meaning = electrode_name(name) or name.strip()
        found.setdefault(meaning.casefold(), []).append(name)
    return [found.get(name.casefold(), []) for name in wanted]


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind)


def _copy(values: pa.ChunkedArray, target: np.ndarray) -> None:
    """Copy a numeric column into a float32 array; out of range becomes infinite."""
    begin = 0
    with np.errstate(over="ignore"):
        for chunk in values.chunks:
            target[begin : begin + len(chunk)] = chunk.to_numpy(zero_copy_only=False)
            begin += len(chunk)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


# -- lenient ---------------------------------------------------------------------------

MAX_WINDOWS = 100  # lengths of a test file that is still decoded
MIN_CHANNELS = 10  # with a signal; with fewer most bipolar derivations show no difference
FLAT = 1e-7  # range of a channel, in the file's unit, that counts as no signal
GAP_BEYOND = 1e6  # microvolts; a sample at one volt is a gap


class LenientRecording(NamedTuple):
    """A test recording and what was wrong with it."""

    values: np.ndarray
    notes: list[str]


def read_eeg_lenient(path: Path) -> LenientRecording:
    """Read a test EEG: float32, shape (n_times, 19), microvolts at 200 Hz, NaN for gaps.

    Channels may have another recorder's names; a certain other unit or sampling rate is converted.
    Of a long file the middle 10,000 samples are read. Raises InputError if the file is
    unreadable, shorter than 10 s, or too few channels have a signal.
    """
    eeg, notes = _read_lenient(path, ELECTRODES, WINDOW_SAMPLES, SEGMENT_SECONDS * SAMPLING_RATE)
    rate = other_rate(len(eeg), WINDOW_SECONDS)
    if rate is None:
        eeg = _middle(eeg, WINDOW_SAMPLES, notes)
    else:
        notes.append(f"taken for {rate} Hz")
    eeg[~np.isfinite(eeg)] = np.nan
    factor, unit = find_unit(eeg)
    if unit:
        with np.errstate(over="ignore"):
            eeg *= factor
        notes.append(f"taken for {unit}")
    beyond = np.abs(eeg) > GAP_BEYOND
    if beyond.any():
        eeg[beyond] = np.nan
        notes.append(f"{beyond.sum():,} samples beyond 1 V left out")
    if np.isnan(eeg).all():
        raise InputError(_reason(path, "no finite value in it", notes))
    with np.errstate(over="ignore"):
        span = np.fmax.reduce(eeg, axis=0) - np.fmin.reduce(eeg, axis=0)  # they ignore NaN
    channels = int((span > FLAT * factor).sum())
    if channels < MIN_CHANNELS:
        few = f"{channels} of {len(ELECTRODES)} channels have a signal, {MIN_CHANNELS} are needed"
        raise InputError(_reason(path, few, notes))
    if rate is not None:
        common = gcd(rate, SAMPLING_RATE)
        up, down = SAMPLING_RATE // common, rate // common
        eeg = resample_poly(fill_gaps(eeg)[0], up, down, axis=0, padtype="line")
    return LenientRecording(eeg, notes)


def read_spectrogram_lenient(path: Path) -> LenientRecording:
    """Read a test spectrogram: float32, shape (n_rows, 400), linear power, NaN for gaps."""
    shortest = SEGMENT_SECONDS // SPECTROGRAM_STEP
    power, notes = _read_lenient(path, SPECTROGRAM_COLUMNS, SPECTROGRAM_ROWS, shortest)
    power = _middle(power, SPECTROGRAM_ROWS, notes)
    if not np.isfinite(power).any():
        raise InputError(_reason(path, "no finite value in it", notes))
    return LenientRecording(power, notes)


def centred(values: np.ndarray, length: int, fill: float) -> np.ndarray:
    """Place a short recording in the middle of ``length`` rows; ``fill`` the others."""
    if len(values) == length:
        return values
    begin = (length - len(values)) // 2
    full = np.full((length, *values.shape[1:]), fill, values.dtype)
    full[begin : begin + len(values)] = values
    return full


def _reason(path: Path, problem: str, notes: list[str]) -> str:
    return f"{path}: {problem}" + (f" ({', '.join(notes)})" if notes else "")


def _middle(values: np.ndarray, length: int, notes: list[str]) -> np.ndarray:
    if len(values) != length:
        notes.append(f"{len(values)} rows instead of {length}")
    begin = max(0, (len(values) - length) // 2)
    return values[begin : begin + length]


def _read_lenient(path: Path, wanted: tuple[str, ...], length: int, shortest: int):
    with _open(path) as file:
        rows, names = file.metadata.num_rows, file.schema_arrow.names
        if not shortest <= rows <= MAX_WINDOWS * length:
            raise InputError(f"{path}: {rows} rows instead of {length}")
        found = dict(zip(wanted, _find(names, wanted), strict=True))
        if not any(found.values()):
            raise InputError(f"{path}: no column {_listed(wanted)}; it has {_listed(names)}")
        # of equal names the first counts; which of different ones is meant cannot be known
        chosen = {name: like[0] for name, like in found.items() if len(set(like)) == 1}
        columns = _decode(file, list(chosen.values()))
    values = np.full((len(wanted), rows), np.nan, np.float32)
    lost = [
        name
        for name, target in zip(wanted, values, strict=True)
        if len(set(found[name])) < 2 and not _fill(columns.get(chosen.get(name, "")), target)
    ]
    notes = [f"without {_listed(lost)}"] if lost else []
    doubled = [name for name in chosen if len(found[name]) > 1]
    notes += [f"the first of two columns {_listed(doubled)}"] if doubled else []
    unclear = [like for name, like in found.items() if like and name not in chosen]
    notes += [f"without {' and '.join(like)}, which mean the same" for like in unclear[:5]]
    return LenientRecording(values.T, notes)


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

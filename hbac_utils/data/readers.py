"""Parquet files read strictly: what is wrong with one is an `InputError` that names it."""

import codecs
import csv
import io
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal, InvalidOperation
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

DAMAGE = (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError)
"""What pyarrow raises over files that are not as they should be."""


def read_footer(path: Path) -> pq.FileMetaData:
    """Read a parquet file's footer: how many rows it has, which columns.

    Raises
    ------
    InputError
        If the file is missing or is not parquet.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        footer = pq.read_metadata(path)
        groups = [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]
    except DAMAGE as error:
        raise InputError(f"{path}: not a parquet file ({one_line(error)})") from None
    if sum(groups) != footer.num_rows:
        raise InputError(f"{path}: not a parquet file (its footer contradicts itself)")
    return footer


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


def read_columns(path: Path, columns: tuple[str, ...]) -> np.ndarray:
    """Read columns of numbers.

    Returns
    -------
    array of float32, shape (n_rows, n_columns)
        NaN where the file has it, or nothing.

    Raises
    ------
    InputError
        If the file is missing, is not parquet, or a column is missing, doubled or no numbers.
    """
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
    counts = Counter(names)
    missing = [column for column in wanted if not counts[column]]
    if missing:
        listed = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
        raise InputError(f"{path}: missing column {listed}; fetch the file again")
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


QUIETEST, LOUDEST = 0.1, 1e6
"""Microvolts from the least to the greatest value of a recording's median channel. Less than a
tenth is below any amplifier's noise, and what volts for microvolts look like (24 real recordings:
largest span 0.02 V); more than a volt no electrode on a scalp has. Single wild channels, flat ones
and gaps are no matter: real recordings have them."""

FURTHEST = 1e9
"""Microvolts that no sample has; the filter would make one such infinite or NaN."""


_GOOD: dict[tuple[str, ...], pq.ParquetSchema] = {}
"""Of these columns the last schema that was as it should be: the next file's is compared with it,
for 400 columns in a two-hundredth of the time that looking at each takes."""


def check_eeg_footer(path: Path, columns: tuple[str, ...]) -> int:
    """Check an EEG's columns and, where its footer tells them, their values.

    Returns
    -------
    int
        Its rows.

    Raises
    ------
    InputError
        If the file is missing, is not parquet, a column is missing, doubled or not numbers, or
        the values are not an EEG's in microvolts: see `check_range`.
    """
    footer = read_footer(path)
    _check_types(path, footer, columns)
    low, high, certain = _extremes(footer, columns)
    check_range(path, columns, low, high, certain=certain)
    return footer.num_rows


def check_spectrogram_footer(path: Path, columns: tuple[str, ...]) -> int:
    """Check a spectrogram's columns, as `check_eeg_footer`; its 400 ranges would take too long."""
    footer = read_footer(path)
    _check_types(path, footer, columns)
    return footer.num_rows


def _check_types(path: Path, footer: pq.FileMetaData, columns: tuple[str, ...]) -> None:
    if columns in _GOOD and _GOOD[columns].equals(footer.schema):
        return
    schema = footer.schema.to_arrow_schema()
    check_columns(path, schema.names, columns)
    wanted = set(columns)
    for name, kind in zip(schema.names, schema.types, strict=True):
        if name in wanted and not is_number(kind):
            raise InputError(f"{path}: column {name} is {kind}, not numbers")
    _GOOD[columns] = footer.schema


def _extremes(
    footer: pq.FileMetaData, columns: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Find each column's least and greatest value, and whether NaN means that it has none."""
    places = {name: i for i, name in enumerate(footer.schema.names)}
    low, high = np.full((2, footer.num_row_groups, len(columns)), np.nan)
    # a nested column's parts may have a channel's name: then a name is no place
    groups = footer.num_row_groups if len(places) == footer.num_columns else 0
    certain = groups > 0
    for group in range(groups):
        chunks = footer.row_group(group)
        for i, name in enumerate(columns):
            chunk = chunks.column(places[name])
            known = chunk.statistics
            if known is not None and known.has_min_max and isinstance(known.min, int | float):
                low[group, i], high[group, i] = known.min, known.max
            else:
                # they are left out if all is null, but by some writers if one value is NaN, too
                certain &= known is not None and known.null_count == chunk.num_values
    low = np.fmin.reduce(low, axis=0, initial=np.nan)
    return low, np.fmax.reduce(high, axis=0, initial=np.nan), certain


def check_range(
    path: Path, columns: tuple[str, ...], low: np.ndarray, high: np.ndarray, *, certain: bool = True
) -> None:
    """Refuse an EEG with infinite or giant values, with none at all, or in another unit.

    Parameters
    ----------
    path : Path
        To name it.
    columns : tuple of str
    low, high : arrays, shape (n_columns,)
        Each one's least and greatest value; NaN for a column without any.
    certain : bool
        Whether NaN means that there is no value, not that it is unknown.

    Raises
    ------
    InputError
        Naming file, column and value.
    """
    for name, furthest in zip(columns, np.fmax(np.abs(low), np.abs(high)), strict=True):
        if furthest > FURTHEST:
            what = f"reaches {furthest:.3g} microvolts"
            if furthest > np.finfo(np.float32).max:
                what = "has infinite values"
            raise InputError(f"{path}: column {name} {what}; write NaN where there is no signal")
    if certain and np.isnan(low).all():
        raise InputError(f"{path}: holds no value; remove its rows from train.csv")
    span = high - low
    span = span[span > 0]
    middle = np.median(span) if len(span) else np.nan
    if middle < QUIETEST or middle > LOUDEST:
        raise InputError(
            f"{path}: the median channel spans {middle:.3g}, no EEG in microvolts does; "
            f"{'multiply by' if middle < QUIETEST else 'divide by'} 1e6 if the unit is another one"
        )


ID = "eeg_id"
INT64 = range(-(2**63), 2**63)
LONGEST_NUMBER = 40  # digits; 1e999999999 is a number too, and would fill the memory
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_test_table(folder: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Read ``test.csv``, or the ids of ``sample_submission.csv`` if it has none.

    Parameters
    ----------
    folder : Path
        The competition's.
    columns : tuple of str
        Names that are recognised in any case.

    Returns
    -------
    DataFrame
        With ``eeg_id``. A column of ids is int64 if all are whole numbers as one writes them, and
        text as it stands otherwise: 1.0e9 stays ``"1.0e9"``, an empty cell ``""``.

    Raises
    ------
    InputError
        If neither file has a column ``eeg_id``.
    """
    failure: InputError | None = None
    for name in ("test.csv", "sample_submission.csv"):
        try:
            return _read_with_ids(folder / name, columns)
        except InputError as error:
            failure = failure or error
    raise failure


def _read_with_ids(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    lines = _lines(path)
    header = [_known(name, columns) for name in lines[0]] if lines else []
    if ID not in header:
        raise InputError(f"{path}: missing column {ID}; it has {header}")
    # of a name that stands twice the first column counts; a short line is filled up
    places = {name: header.index(name) for name in dict.fromkeys(header)}
    rows = [[line[i] if i < len(line) else "" for i in places.values()] for line in lines[1:]]
    table = pd.DataFrame(rows, columns=list(places), dtype=object)
    return table.apply(lambda column: _numbers(column, column.name in columns))


def read_submitted_ids(path: Path) -> list[int | str]:
    """Read the ids of a submission as `read_test_table` reads those that it has to have.

    Raises
    ------
    InputError
        If the file cannot be read or has no ``eeg_id``.
    """
    return _read_with_ids(path, (ID,))[ID].tolist()


def whole_number(text: object) -> int | None:
    """Tell which whole number a text means, however it is written; None if it means none.

    Examples
    --------
    >>> whole_number("1.0e9"), whole_number(" 007"), whole_number("1.5"), whole_number("")
    (1000000000, 7, None, None)
    """
    try:
        number = Decimal(str(text).strip())
    except InvalidOperation:
        return None
    if not number.is_finite() or abs(number.adjusted()) > LONGEST_NUMBER:
        return None
    return int(number) if number == number.to_integral_value() else None


def _lines(path: Path) -> list[list[str]]:
    """Split a csv file into its lines' cells; lines in which nothing stands are left out."""
    try:
        text = _decoded(path.read_bytes())
        lines = list(csv.reader(io.StringIO(text, newline="")))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, csv.Error) as error:
        raise InputError(f"{path}: not a readable csv file ({error})") from None
    return [line for line in lines if any(cell.strip() for cell in line)]


def _decoded(raw: bytes) -> str:
    encoding = "utf-16" if raw.startswith(UTF16) else "utf-8-sig"
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        return raw.decode("latin-1")  # which has a letter for every byte


def _known(name: str, columns: tuple[str, ...]) -> str:
    folded = name.strip().casefold()
    return folded if folded in columns else name


def _numbers(column: pd.Series, is_id: bool) -> pd.Series:
    if is_id:
        as_written = all(_is_plain(text) for text in column)
        return column.astype("int64") if as_written and len(column) else column
    try:
        return pd.to_numeric(column)
    except (ValueError, TypeError):
        return column


def _is_plain(text: str) -> bool:
    number = whole_number(text)
    return number is not None and str(number) == text and number in INT64


LONGEST = 100
"""So many windows a file may hold; one that claims more is not decoded: memory is for all."""

FEWEST_CHANNELS = 10
"""With a signal. The electrodes' differences are what models see; with fewer than half of the 19
most of these show one electrode, or none."""

FLAT = 1e-7
"""A channel that stays within this much, in its unit, has no signal: in volts a tenth of a
microvolt, in microvolts nothing that an amplifier can tell."""

PLAUSIBLE = (0.5, 1e4)
"""Microvolts of spread of an EEG's median channel: from below an amplifier's own noise to above
what electrodes that swing freely give (24 real recordings: 10 to 3,600)."""

UNITS = {"volts": 1e6, "millionths of a microvolt": 1e-6}
"""Units that are mistaken for microvolts, and what makes microvolts of them. Their plausible
ranges do not overlap with that of microvolts or each other's."""

BEYOND = 1e6
"""Microvolts that no scalp electrode has: a sample at one volt is a gap."""


class Salvaged(NamedTuple):
    """What could be had."""

    values: np.ndarray
    notes: list[str]
    """What was not as it should be; empty for a good file."""


def locate(folder: Path, recording: object) -> Path:
    """Find a recording's file by its id as the table has it, or by the number that it means.

    Raises
    ------
    InputError
        If there is none, or the id names no file of the folder.
    """
    number = whole_number(recording)
    paths = [folder / f"{name}.parquet" for name in dict.fromkeys([str(recording), str(number)])]
    if paths[0].parent != folder:
        raise InputError(f"{recording!r}: an id that is no file's name")
    # only files: a named pipe would be waited for
    found = [path for path in paths if path.is_file()]
    if not found:
        raise InputError(f"{paths[0]}: no such file")
    return found[0]


def salvage_eeg(path: Path) -> Salvaged:
    """Read a test EEG.

    Returns
    -------
    Salvaged
        float32, shape (n_times, 19), microvolts, NaN where there is nothing; at most the middle
        10,000 samples, around which the label is, and at least its 10 s.

    Raises
    ------
    InputError
        If the file cannot be read, is shorter than 10 s, or too few channels have a signal.
    """
    eeg, notes = _read(path, ELECTRODES, WINDOW_SAMPLES, SEGMENT_SECONDS * SAMPLING_RATE)
    eeg[~np.isfinite(eeg)] = np.nan
    # fmax and fmin pass over NaN
    span = np.fmax.reduce(eeg, axis=0) - np.fmin.reduce(eeg, axis=0)
    factor, unit = _unit(eeg[:, span > FLAT])
    if unit:
        with np.errstate(over="ignore"):
            eeg *= factor
        notes.append(f"taken for {unit}")
    beyond = np.abs(eeg) > BEYOND
    if beyond.any():
        eeg[beyond] = np.nan
        notes.append(f"{beyond.sum():,} samples beyond 1 V left out")
    _check_channels(path, eeg, FLAT * factor)
    return Salvaged(eeg, notes)


def _check_channels(path: Path, eeg: np.ndarray, flat: float) -> None:
    if np.isnan(eeg).all():
        raise InputError(f"{path}: no finite value in it")
    span = np.fmax.reduce(eeg, axis=0) - np.fmin.reduce(eeg, axis=0)
    channels = int((span > flat).sum())
    if channels < FEWEST_CHANNELS:
        raise InputError(
            f"{path}: {channels} of {len(ELECTRODES)} channels have a signal, "
            f"{FEWEST_CHANNELS} are needed"
        )


def _unit(eeg: np.ndarray) -> tuple[float, str]:
    """Find the factor that makes microvolts, and the unit's name if it is not 1."""
    some = eeg[::10].astype(np.float64)  # enough to tell millions apart
    some = some[:, np.isfinite(some).any(axis=0)]
    if not some.size:
        return 1.0, ""
    # medians, which a few wild samples do not move
    deviation = np.nanmedian(np.abs(some - np.nanmedian(some, axis=0)), axis=0)
    spread = 1.4826 * np.median(deviation)  # the standard deviation, were it Gaussian
    for unit, factor in UNITS.items():
        if PLAUSIBLE[0] <= spread * factor <= PLAUSIBLE[1]:
            return factor, unit
    return 1.0, ""


def salvage_spectrogram(path: Path) -> Salvaged:
    """Read a test spectrogram.

    Returns
    -------
    Salvaged
        float32, shape (n_rows, 400), linear power, NaN where there is nothing; at most the middle
        300 rows, and at least the label's 10 s.

    Raises
    ------
    InputError
        If the file cannot be read, is shorter than 10 s, or holds no finite value.
    """
    power, notes = _read(
        path, SPECTROGRAM_COLUMNS, SPECTROGRAM_ROWS, SEGMENT_SECONDS // SPECTROGRAM_STEP
    )
    if not np.isfinite(power).any():
        raise InputError(f"{path}: no finite value in it")
    return Salvaged(power, notes)


def centred(values: np.ndarray, length: int, fill: float) -> np.ndarray:
    """Put what is too short into the middle of ``length`` rows, the others filled."""
    if len(values) == length:
        return values
    begin = (length - len(values)) // 2
    full = np.full((length, *values.shape[1:]), fill, values.dtype)
    full[begin : begin + len(values)] = values
    return full


def _read(path: Path, wanted: tuple[str, ...], length: int, least: int) -> Salvaged:
    with open_parquet(path) as file:
        rows = file.metadata.num_rows
        if not least <= rows <= LONGEST * length:
            raise InputError(f"{path}: {rows} rows instead of {length}")
        names = file.schema_arrow.names
        chosen = _choose(names, wanted)
        columns = _decode(file, list(chosen.values()))
    values = np.full((len(wanted), rows), np.nan, np.float32)
    read = [
        _fill(columns.get(chosen.get(name)), target)
        for name, target in zip(wanted, values, strict=True)
    ]
    notes = [f"{rows} rows instead of {length}"] if rows != length else []
    if not all(read):
        lost = [name for name, good in zip(wanted, read, strict=True) if not good]
        notes.append(f"without {_some(lost)}")
    counts = Counter(names)
    doubled = [name for name in wanted if counts[chosen.get(name)] > 1]
    if doubled:
        notes.append(f"the first of two columns {_some(doubled)}")
    begin = max(0, (rows - length) // 2)
    return Salvaged(values.T[begin : begin + length], notes)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _choose(names: list[str], wanted: tuple[str, ...]) -> dict[str, str]:
    """Tell under which name each wanted column stands: its own, or one in other case."""
    folded = {name.strip().casefold(): name for name in reversed(names)}
    there = set(names)
    found = {name: name if name in there else folded.get(name.casefold()) for name in wanted}
    return {name: place for name, place in found.items() if place is not None}


def _decode(file: pq.ParquetFile, names: list[str]) -> dict[str, pa.ChunkedArray]:
    """Decode columns, all at once or, if that fails, those that can be decoded by themselves."""
    try:
        return _first_of_each(file.read(columns=names, use_threads=False))
    except DAMAGE as error:
        failure = error
    found = {}
    for name in names:
        with suppress(*DAMAGE):
            found |= _first_of_each(file.read(columns=[name], use_threads=False))
    if not found:
        raise failure
    return found


def _first_of_each(table: pa.Table) -> dict[str, pa.ChunkedArray]:
    places = {name: i for i, name in reversed(list(enumerate(table.column_names)))}
    return {name: table.column(i) for name, i in places.items()}


def _fill(column: pa.ChunkedArray | None, target: np.ndarray) -> bool:
    """Copy a column to its place; False if it holds nothing that is a number."""
    if column is None or len(column) != len(target):
        return False
    if is_number(column.type):
        copy_values(column, target)
        return True
    convert = _text if pa.types.is_string(column.type) else _other
    try:
        target[:] = convert(column)
    except (*DAMAGE, TypeError):
        return False
    return bool(np.isfinite(target).any())


def _text(column: pa.ChunkedArray) -> np.ndarray:
    return pd.to_numeric(column.to_pandas(), errors="coerce").to_numpy(np.float32)


def _other(column: pa.ChunkedArray) -> np.ndarray:
    return column.cast(pa.float32()).to_numpy()


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
    return read_columns(path, channels)


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
    return read_columns(path, SPECTROGRAM_COLUMNS)

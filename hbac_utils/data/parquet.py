"""Parquet files read strictly: what is wrong with one is an `InputError` that names it."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hbac_utils.errors import InputError, one_line

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

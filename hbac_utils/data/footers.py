"""What is wrong with a training recording, told from its footer, before any of it is read.

A parquet file ends with its columns' names and types and, as a rule, each one's least and greatest
value. So 28,000 files are looked through in the time that a few hundred take to read. What a
footer does not show, `check_range` finds when the file is read.
"""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from hbac_utils.data.parquet import check_columns, is_number, read_footer
from hbac_utils.errors import InputError

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

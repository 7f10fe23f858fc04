"""What can be had of a test recording that is not as it should be.

A recording of the hidden test set that is not predicted costs score, one that stops the notebook
costs all. So here everything is read that can be: columns in any order and case, numbers of any
type, channels beside damaged ones, the middle of what is too long, what there is of what is too
short. What was not as it should be is noted. Training does none of this.
"""

from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hbac_utils.data.competition import (
    SAMPLING_RATE,
    SEGMENT_SECONDS,
    SPECTROGRAM_COLUMNS,
    SPECTROGRAM_ROWS,
    SPECTROGRAM_STEP,
    WINDOW_SAMPLES,
)
from hbac_utils.data.parquet import DAMAGE, copy_values, is_number, open_parquet
from hbac_utils.data.testset import whole_number
from hbac_utils.errors import InputError
from hbac_utils.montage import ELECTRODES

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

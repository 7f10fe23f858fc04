"""The files that a store was packed from: their names, sizes and times of modification."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from hbac_utils.data.competition import Competition

ABSENT = -1
"""Stands for the size and the time of a file that is not there."""

THREADS = 16
"""Of those that only wait for the disk: looking at 28,000 files one by one takes minutes on a
network file system."""


def source_names(competition: Competition, table: pd.DataFrame) -> list[str]:
    """Name the files behind a table of windows, relative to the competition's folder.

    ``train.csv`` first, then the EEGs and, where the competition has them, the spectrograms.
    """
    paths = [competition.eeg_path("train", i) for i in sorted(table["eeg_id"].unique())]
    if competition.has_spectrograms("train"):
        spectrogram_ids = sorted(table["spectrogram_id"].unique())
        paths += [competition.spectrogram_path("train", i) for i in spectrogram_ids]
    return ["train.csv", *(path.relative_to(competition.path).as_posix() for path in paths)]


def look_at(folder: Path, names: list[str]) -> pd.DataFrame:
    """Look at files.

    Returns
    -------
    DataFrame
        ``name``, ``bytes`` and ``modified_ns`` (since 1970), both `ABSENT` for no file.
    """
    with ThreadPoolExecutor(THREADS) as threads:
        seen = list(threads.map(lambda name: _look_at(folder / name), names))
    return pd.DataFrame(
        [(name, *values) for name, values in zip(names, seen, strict=True)],
        columns=["name", "bytes", "modified_ns"],
    )


def _look_at(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return ABSENT, ABSENT
    return status.st_size, status.st_mtime_ns


def first_difference(before: pd.DataFrame, now: pd.DataFrame, *, times: bool = True) -> str | None:
    """Name the first file, in alphabetical order, that differs or is in one table only.

    Parameters
    ----------
    before, now : DataFrame
        As `look_at` returns.
    times : bool
        Compare the times of modification too, not only the sizes; a copy of a folder has others.
    """
    columns = ["bytes", "modified_ns"] if times else ["bytes"]
    before, now = (table.set_index("name")[columns] for table in (before, now))
    before, now = before.align(now, join="outer", axis=0, fill_value=ABSENT)
    differs = (before != now).any(axis=1).sort_index()
    return str(differs.idxmax()) if differs.any() else None


def digest(table: pd.DataFrame) -> str:
    """Condense a table to 64 hexadecimal digits: equal tables, equal digits."""
    return hashlib.sha256(table.to_csv(index=False).encode()).hexdigest()

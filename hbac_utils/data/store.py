"""The store: all recordings of a competition in two memory-mapped arrays and one table.

==================== ==========================================================
``eeg.npy``          float16 microvolts, (samples of all recordings, 19), band-passed
``spectrogram.npy``  float16 log power, (rows of all recordings, 400); absent if the
                     competition has no spectrograms
``windows.parquet``  a row per labelled window: ids, votes, patient, and where its first
                     sample and row lie in the arrays
``sources.parquet``  the files that it was packed from: name, size, time of modification
``store.json``       what it was built from and how
==================== ==========================================================

A recording's samples stand one after the other, so a window is one contiguous read.
"""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from hbac_utils.data import preprocessing
from hbac_utils.data.competition import Competition
from hbac_utils.data.layout import SPECTROGRAM_COLUMNS, SPECTROGRAM_ROWS, WINDOW_SAMPLES
from hbac_utils.data.splits import middle_windows
from hbac_utils.montage import ELECTRODES
from hbac_utils.recipe import Data
from hbac_utils.utils.errors import InputError

FORMAT = 2

DESCRIPTION = ("key", "subset", "source", "eeg_samples", "spectrogram_rows")
"""What ``store.json`` must say for the store to be opened."""


@dataclass(frozen=True)
class Store:
    """A packed competition, opened for reading; `open_store` checks it first."""

    path: Path

    @cached_property
    def description(self) -> dict:
        """What ``store.json`` says."""
        path = self.path / "store.json"
        try:
            description = json.loads(path.read_text())
            missing = [name for name in DESCRIPTION if name not in description]
        except (OSError, ValueError, TypeError) as error:
            raise _damaged(path, error) from None
        if missing:
            raise _damaged(path, f"no {missing[0]}")
        return description

    @cached_property
    def eeg(self) -> np.ndarray:
        """Memory map, float16, shape (samples, 19), microvolts."""
        return self._map("eeg.npy")

    @cached_property
    def spectrogram(self) -> np.ndarray | None:
        """Memory map, float16, shape (rows, 400), log power; None if there is none."""
        if not (self.path / "spectrogram.npy").exists():
            return None
        return self._map("spectrogram.npy")

    @cached_property
    def windows(self) -> pd.DataFrame:
        """A row per labelled window.

        Beside the columns of ``train.csv``: ``total_votes``; ``group``, equal for the windows
        of one EEG with one vote vector; ``eeg_start``, the window's first sample in `eeg`;
        ``eeg_first`` and ``eeg_last``, the recording's first and one past its last;
        ``eeg_missing``, the share of the window's samples that the file did not have; and the
        same four of ``spectrogram_…``, where there are spectrograms.
        """
        return self._table("windows.parquet")

    @cached_property
    def sources(self) -> pd.DataFrame:
        """The files that it was packed from, as `hbac_utils.data.sources.look_at` returns."""
        return self._table("sources.parquet")

    def evaluation_windows(self) -> np.ndarray:
        """Choose the windows that are scored: the middle one of each (EEG, vote vector).

        Returns
        -------
        array of int64
            Positions in `windows`, ascending.
        """
        return middle_windows(self.windows)

    def check(self, data: Data, inputs: tuple[str, ...] = ("eeg",)) -> None:
        """Refuse a recipe whose signals this store does not hold.

        Raises
        ------
        InputError
            If band, clip or the signal functions differ, or an input is absent.
        """
        self.check_key(data)
        if "spectrogram" in inputs and self.spectrogram is None:
            raise InputError(
                f"{self.path}: the recipe's view needs spectrograms, which this competition lacks; "
                "choose a recipe with an EEG view"
            )

    def check_key(self, data: Data) -> None:
        """Refuse band, clip or signal functions that are not the ones it was packed with.

        Raises
        ------
        InputError
            With the first that differs.
        """
        built, wanted = self.description["key"], store_key(data)
        for name in wanted:
            if built.get(name) != wanted[name]:
                raise InputError(
                    f"{self.path}: packed with {name} {built.get(name)}, the recipe wants "
                    f"{wanted[name]}; delete the store and pack again, or name another path"
                )

    def check_sources(self, competition: Competition) -> None:
        """Refuse a competition whose files are not the ones that were packed.

        Where the competition lies elsewhere than at packing, only names and sizes count, for a
        copy has other times; where it holds no recordings (the store alone was moved), nothing.

        Raises
        ------
        InputError
            With the first file that differs.
        """
        if not (competition.path / "train_eegs").is_dir():
            return
        found = look_at(competition.path, list(self.sources["name"]))
        same_place = str(competition.path.resolve()) == self.description["source"]
        name = first_difference(self.sources, found, times=same_place)
        if name is None and self.spectrogram is None and competition.has_spectrograms("train"):
            name = "train_spectrograms"
        if name is not None:
            raise InputError(
                f"{competition.path / name}: not as it was when {self.path} was packed (absent, "
                "new, or of another size or time); delete the store and pack again, or name "
                "another path"
            )

    def _map(self, name: str) -> np.ndarray:
        path = self.path / name
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise _damaged(path, error) from None

    def _table(self, name: str) -> pd.DataFrame:
        path = self.path / name
        try:
            return pd.read_parquet(path)
        except (OSError, ValueError) as error:
            raise _damaged(path, error) from None

    def _check_files(self) -> None:
        """Refuse arrays and tables that do not fit each other."""
        description, windows, _ = self.description, self.windows, self.sources
        arrays = {"eeg": (description["eeg_samples"], len(ELECTRODES), WINDOW_SAMPLES)}
        if description["spectrogram_rows"] is not None:
            rows = description["spectrogram_rows"]
            arrays["spectrogram"] = (rows, len(SPECTROGRAM_COLUMNS), SPECTROGRAM_ROWS)
        for kind, (rows, width, window) in arrays.items():
            path = self.path / f"{kind}.npy"
            if self._map(path.name).shape != (rows, width):
                raise _damaged(path, f"not {rows} rows of {width}")
            start = windows.get(f"{kind}_start")
            if start is None or start.min() < 0 or start.max() + window > rows:
                raise _damaged(self.path / "windows.parquet", f"its positions leave {path.name}")


def _damaged(path: Path, reason: object) -> InputError:
    line = (str(reason).strip().splitlines() or [type(reason).__name__])[0]
    return InputError(f"{path}: damaged ({line}); delete the store and pack again")


def store_key(data: Data) -> dict:
    """Collect what changes the store's arrays; two equal keys mean equal arrays."""
    return {
        "format": FORMAT,
        "signals": preprocessing.VERSION,
        "band": list(data.band),
        "clip": data.clip,
        "electrodes": list(ELECTRODES),
    }


def open_store(path: str | Path) -> Store:
    """Open a store.

    Raises
    ------
    InputError
        If the folder is no store, is of another format, or one of its files is damaged or
        truncated.
    """
    store = Store(Path(path))
    if not store.path.is_dir():
        raise InputError(f"{path}: no such folder; make a store with `pack`")
    if not (store.path / "store.json").is_file():
        raise InputError(f"{path}: no store (no store.json in it); make one with `pack` elsewhere")
    built = store.description["key"].get("format")
    if built != FORMAT:
        raise InputError(
            f"{path}: a store of format {built}, this kit reads {FORMAT}; "
            "delete the store and pack again"
        )
    store._check_files()
    return store


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

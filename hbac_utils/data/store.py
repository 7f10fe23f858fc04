"""The store: all recordings of a competition in two memory-mapped arrays and one table.

==================== ==========================================================
``eeg.npy``          float16 microvolts, (samples of all recordings, 19), band-passed
``spectrogram.npy``  float16 log power, (rows of all recordings, 400)
``windows.parquet``  a row per labelled window: ids, votes, patient, and where its first
                     sample and row are in the arrays
``sources.parquet``  the packed files: name, size, time of modification
``store.json``       settings and sizes
==================== ==========================================================

A recording's samples are contiguous, so a window is one contiguous read. Only the arrays are there
that a recipe has asked for; `hbac_utils.data.packing.pack` adds the other one.
"""

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hbac_utils.data import preprocessing
from hbac_utils.data.competition import Competition
from hbac_utils.data.splits import middle_windows
from hbac_utils.montage import ELECTRODES
from hbac_utils.recipe import Data
from hbac_utils.utils.errors import InputError, one_line

FORMAT = 2
REPACK = "delete the store and pack again"
SIZES = {"eeg": "eeg_samples", "spectrogram": "spectrogram_rows"}  # keys of store.json; or null


@dataclass(frozen=True)
class Store:
    """A packed competition; `open_store` opens and checks one."""

    path: Path

    @cached_property
    def description(self) -> dict:
        """Content of ``store.json``."""
        path = self.path / "store.json"
        try:
            description = json.loads(path.read_text())
            for name in ("key", "subset", "source", "eeg_samples", "spectrogram_rows"):
                description[name]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise _damaged(path, one_line(error)) from None
        return description

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the arrays, ``"eeg"``, ``"spectrogram"`` or both."""
        return tuple(name for name, size in SIZES.items() if self.description[size] is not None)

    @cached_property
    def eeg(self) -> np.ndarray | None:
        """Memory map, float16, shape (samples, 19), microvolts; None if it is not packed."""
        return self._array("eeg")

    @cached_property
    def spectrogram(self) -> np.ndarray | None:
        """Memory map, float16, shape (rows, 400), log power; None if it is not packed."""
        return self._array("spectrogram")

    @cached_property
    def windows(self) -> pd.DataFrame:
        """A row per labelled window.

        Beside the columns of ``train.csv``: ``total_votes``; ``group``, equal for the windows
        of one EEG with one vote vector; ``eeg_start``, the window's first sample in `eeg`;
        ``eeg_first`` and ``eeg_last``, the recording's first sample and one past its last;
        ``eeg_missing``, the share of the window's samples that the file did not have; and the
        same four of ``spectrogram_…``. Columns of an array that is not packed are absent.
        """
        return self._read("windows.parquet", pd.read_parquet)

    @cached_property
    def sources(self) -> pd.DataFrame:
        """The packed files, as `file_stamps` returns."""
        return self._read("sources.parquet", pd.read_parquet)

    def evaluation_windows(self) -> np.ndarray:
        """Choose the windows that are scored: positions in `windows`, see `middle_windows`."""
        return middle_windows(self.windows)

    def check(self, data: Data, inputs: tuple[str, ...] = ()) -> None:
        """Refuse preprocessing settings or inputs that this store does not hold."""
        built = self.description["key"]
        for name, wanted in store_key(data).items():
            if built.get(name) != wanted:
                raise InputError(
                    f"{self.path}: packed with {name} {built.get(name)}, the recipe needs "
                    f"{wanted}; {REPACK}, or choose another path"
                )
        lacking = set(inputs) - set(self.inputs)
        if lacking:
            raise InputError(
                f"{self.path}: the recipe needs {lacking.pop()}s, which are not packed; "
                "pack for this recipe to the same path: the store grows"
            )

    def check_sources(self, competition: Competition) -> None:
        """Refuse a competition whose files are not the packed ones.

        Times are compared only where the competition is at the same path as when it was packed,
        because a copy has others. Recordings are compared only where their folder is there;
        without any the store alone counts.
        """
        folders = [f"train_{name}s" for name in self.inputs]
        folders = [name for name in folders if (competition.path / name).is_dir()]
        if not folders:
            return
        packed = self.sources[self.sources["name"].str.startswith(("train.csv", *folders))]
        packed = packed.reset_index(drop=True)
        now = file_stamps(competition.path, list(packed["name"]))
        same_place = str(competition.path.resolve()) == self.description["source"]
        columns = ["bytes", "modified_ns"] if same_place else ["bytes"]
        differs = (now[columns] != packed[columns]).any(axis=1)
        changed = sorted(now["name"][differs])
        if changed:
            raise InputError(
                f"{competition.path / changed[0]}: changed, added or removed since {self.path} was "
                f"packed; {REPACK}, or choose another path"
            )

    def _read(self, name: str, read: Callable[..., Any], **options) -> Any:
        try:
            return read(self.path / name, **options)
        except (OSError, ValueError, EOFError) as error:
            raise _damaged(self.path / name, one_line(error)) from None

    def _check_files(self) -> None:
        """Refuse damaged and missing files."""
        _ = self.windows, self.sources
        for name in self.inputs:
            rows = self.description[SIZES[name]]
            if len(getattr(self, name)) != rows:
                raise _damaged(self.path / f"{name}.npy", f"not {rows} rows")

    def _array(self, name: str) -> np.ndarray | None:
        if name not in self.inputs:
            return None
        return self._read(f"{name}.npy", np.load, mmap_mode="r", allow_pickle=False)


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(f"{path}: damaged ({reason}); {REPACK}")


def open_store(path: str | Path) -> Store:
    """Open a store; an InputError if the folder is none, of another format, or damaged."""
    store = Store(Path(path))
    if not (store.path / "store.json").is_file():
        raise InputError(f"{path}: no store (no store.json in it); make one with `pack` elsewhere")
    built = store.description["key"].get("format")
    if built != FORMAT:
        raise InputError(f"{path}: a store of format {built}, this kit reads {FORMAT}; {REPACK}")
    store._check_files()
    return store


def store_key(data: Data) -> dict:
    """Collect the settings that determine a store's arrays; equal keys mean equal arrays."""
    return {
        "format": FORMAT,
        "signals": preprocessing.VERSION,
        "band": list(data.band),
        "clip": data.clip,
        "electrodes": list(ELECTRODES),
    }


ABSENT = -1  # size and time of a file that is not there
THREADS = 16  # one by one, 28,000 files take minutes on a network file system


def file_stamps(folder: Path, names: list[str]) -> pd.DataFrame:
    """Tabulate files: ``name``, ``bytes``, ``modified_ns`` (since 1970); `ABSENT` if missing."""

    def stamp(name: str) -> tuple[str, int, int]:
        try:
            status = (folder / name).stat()
        except OSError:
            return name, ABSENT, ABSENT
        return name, status.st_size, status.st_mtime_ns

    with ThreadPoolExecutor(THREADS) as threads:
        stamps = list(threads.map(stamp, names))
    return pd.DataFrame(stamps, columns=["name", "bytes", "modified_ns"])


def digest(table: pd.DataFrame) -> str:
    """Hash a table: equal tables have equal digests, 64 hexadecimal digits."""
    return hashlib.sha256(table.to_csv(index=False).encode()).hexdigest()

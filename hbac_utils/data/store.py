"""The store: all recordings of a competition in two memory-mapped arrays and one table.

==================== ==========================================================
``eeg.npy``          float16 microvolts, (samples of all recordings, 19), band-passed
``spectrogram.npy``  float16 log power, (rows of all recordings, 400); absent if the
                     competition has no spectrograms
``windows.parquet``  a row per labelled window: ids, votes, patient, and where its first
                     sample and row lie in the arrays
``store.json``       what it was built from and how
==================== ==========================================================

A recording's samples stand one after the other, so a window is one contiguous read.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from tqdm import tqdm

from hbac_utils.data import signals
from hbac_utils.data.competition import (
    SAMPLING_RATE,
    SPECTROGRAM_COLUMNS,
    SPECTROGRAM_ROWS,
    SPECTROGRAM_STEP,
    WINDOW_SAMPLES,
    Competition,
    count_rows,
    read_eeg,
    read_spectrogram,
)
from hbac_utils.errors import InputError
from hbac_utils.labels import VOTE_COLUMNS
from hbac_utils.montage import ELECTRODES
from hbac_utils.recipe import Data, Recipe

FORMAT = 1


@dataclass(frozen=True)
class Store:
    """A packed competition, opened for reading; `open_store` checks it first."""

    path: Path

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
        ``eeg_missing``, the share of the window's samples that the file did not have; and
        ``spectrogram_start`` and ``spectrogram_missing``, likewise, where there are spectrograms.
        """
        return pd.read_parquet(self.path / "windows.parquet")

    def evaluation_windows(self) -> np.ndarray:
        """Choose the windows that are scored: the middle one of each (EEG, vote vector).

        Returns
        -------
        array of int64
            Positions in `windows`, ascending.
        """
        order = self.windows.sort_values(["group", "eeg_label_offset_seconds"], kind="stable")
        middle = order.groupby("group").cumcount() == order.groupby("group")["group"].transform(
            lambda group: (len(group) - 1) // 2
        )
        return np.sort(order.index[middle].to_numpy())

    def check(self, data: Data, inputs: tuple[str, ...] = ("eeg",)) -> None:
        """Refuse a recipe whose signals this store does not hold.

        Raises
        ------
        InputError
            If band, clip or the signal functions differ, or an input is absent.
        """
        built = json.loads((self.path / "store.json").read_text())["key"]
        wanted = store_key(data)
        differing = [name for name in wanted if built.get(name) != wanted[name]]
        if differing:
            name = differing[0]
            raise InputError(
                f"{self.path}: packed with {name} {built.get(name)}, the recipe wants "
                f"{wanted[name]}; delete the store and pack again"
            )
        if "spectrogram" in inputs and self.spectrogram is None:
            raise InputError(
                f"{self.path}: the recipe's view needs spectrograms, which this competition lacks; "
                "choose a recipe with an EEG view"
            )

    def _map(self, name: str) -> np.ndarray:
        try:
            return np.load(self.path / name, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self.path / name}: damaged ({error}); delete the store and pack again"
            ) from None


def store_key(data: Data) -> dict:
    """Collect what changes the store's arrays; two equal keys mean equal arrays."""
    return {
        "format": FORMAT,
        "signals": signals.VERSION,
        "band": list(data.band),
        "clip": data.clip,
        "electrodes": list(ELECTRODES),
    }


def open_store(path: str | Path) -> Store:
    """Open a store.

    Raises
    ------
    InputError
        If the folder is no store, or one of its arrays is truncated.
    """
    store = Store(Path(path))
    if not (store.path / "store.json").is_file():
        raise InputError(f"{path}: no store (no store.json in it); make one with `pack`")
    windows, eeg = store.windows, store.eeg
    if len(windows) and windows["eeg_last"].max() > len(eeg):
        raise InputError(f"{path}: eeg.npy is shorter than its table says; pack again")
    _ = store.spectrogram
    return store


def open_or_pack(path: str | Path, competition: Competition, recipe: Recipe) -> Store:
    """Open the store at ``path`` for a recipe; pack it first if there is nothing there.

    Raises
    ------
    InputError
        If what is there is no store, or does not hold what the recipe needs.
    """
    store = open_store(path) if Path(path).exists() else pack(competition, path, recipe.data)
    store.check(recipe.data, recipe.inputs)
    return store


def pack(
    competition: Competition,
    out: str | Path,
    data: Data,
    *,
    jobs: int = -1,
    progress: bool = True,
) -> Store:
    """Pack a competition's training recordings into a store.

    Parameters
    ----------
    competition : Competition
    out : str or Path
        The store's folder; it appears only when it is complete.
    data : Data
        The recipe's section: band and clip.
    jobs : int
        Worker processes; −1 for one a core.
    progress : bool
        Show progress bars.

    Raises
    ------
    InputError
        If ``out`` exists, or a table or recording is wrong (the file is named).
    """
    out = Path(out)
    if out.exists():
        raise InputError(f"{out}: exists; delete it to pack again")
    table = competition.train.reset_index(drop=True)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    workers = Parallel(n_jobs=jobs, return_as="generator_unordered")
    try:
        windows = _pack_eegs(competition, table, partial, data, workers, progress)
        if competition.has_spectrograms("train"):
            windows = windows.join(
                _pack_spectrograms(competition, table, partial, workers, progress)
            )
        _write_table(table.join(windows), partial)
        description = {
            "key": store_key(data),
            "source": str(competition.path.resolve()),
            "windows": len(table),
            "eegs": int(table["eeg_id"].nunique()),
            "patients": int(table["patient_id"].nunique()),
        }
        (partial / "store.json").write_text(json.dumps(description, indent=2) + "\n")
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return open_store(out)


def _write_table(windows: pd.DataFrame, folder: Path) -> None:
    windows["total_votes"] = windows[list(VOTE_COLUMNS)].sum(axis=1)
    windows["group"] = windows.groupby(["eeg_id", *VOTE_COLUMNS], sort=False).ngroup()
    windows.to_parquet(folder / "windows.parquet", index=False)


def _pack_eegs(competition, table, folder, data, workers, progress) -> pd.DataFrame:
    recordings = _recordings(
        table,
        "eeg",
        SAMPLING_RATE,
        WINDOW_SAMPLES,
        lambda eeg_id: competition.eeg_path("train", eeg_id),
    )
    total = int(recordings["rows"].sum())
    target = folder / "eeg.npy"
    np.lib.format.open_memmap(target, "w+", np.float16, (total, len(ELECTRODES))).flush()
    tasks = (
        delayed(_store_eeg)(target, path, start, offsets, data.band, data.clip)
        for path, start, offsets in _tasks(recordings, table, "eeg", SAMPLING_RATE)
    )
    missing = _collect(workers(tasks), len(recordings), "EEG", progress)
    windows = _positions(recordings, table, "eeg", SAMPLING_RATE)
    first = windows["eeg_first"].to_numpy()
    rows = recordings["rows"].loc[table["eeg_id"]].to_numpy()
    return windows.assign(eeg_last=first + rows, eeg_missing=_by_window(missing, len(table)))


def _pack_spectrograms(competition, table, folder, workers, progress) -> pd.DataFrame:
    rate = 1 / SPECTROGRAM_STEP
    recordings = _recordings(
        table,
        "spectrogram",
        rate,
        SPECTROGRAM_ROWS,
        lambda spectrogram_id: competition.spectrogram_path("train", spectrogram_id),
    )
    total = int(recordings["rows"].sum())
    target = folder / "spectrogram.npy"
    np.lib.format.open_memmap(target, "w+", np.float16, (total, len(SPECTROGRAM_COLUMNS))).flush()
    tasks = (
        delayed(_store_spectrogram)(target, path, start, offsets)
        for path, start, offsets in _tasks(recordings, table, "spectrogram", rate)
    )
    missing = _collect(workers(tasks), len(recordings), "spectrograms", progress)
    windows = _positions(recordings, table, "spectrogram", rate)
    return windows.drop(columns="spectrogram_first").assign(
        spectrogram_missing=_by_window(missing, len(table))
    )


def _recordings(
    table: pd.DataFrame, kind: str, rate: float, window: int, locate: Callable[[int], Path]
) -> pd.DataFrame:
    """List the recordings with their paths, lengths and places in the array.

    Lengths come from the files' footers, so that a missing or short file stops the packing
    before any long work.
    """
    last = table.groupby(f"{kind}_id", sort=True)[f"{kind}_label_offset_seconds"].max()
    recordings = pd.DataFrame({"path": [locate(i) for i in last.index]}, index=last.index)
    recordings["rows"] = [count_rows(path) for path in recordings["path"]]
    needed = (last * rate).astype(np.int64) + window
    short = recordings.index[recordings["rows"] < needed]
    if len(short):
        path, rows = recordings.loc[short[0], ["path", "rows"]]
        raise InputError(
            f"{path}: {rows} rows, but a window of train.csv ends at row {needed[short[0]]}"
        )
    recordings["start"] = recordings["rows"].cumsum() - recordings["rows"]
    return recordings


def _tasks(recordings, table, kind, rate) -> Iterator[tuple[Path, int, dict[int, int]]]:
    """Yield path, place in the array, and {window's position in the table: its first row}."""
    rows = (table[f"{kind}_label_offset_seconds"] * rate).astype(np.int64)
    groups = rows.groupby(table[f"{kind}_id"])
    for recording_id, recording in recordings.iterrows():
        offsets = groups.get_group(recording_id).to_dict()
        yield recording["path"], int(recording["start"]), offsets


def _positions(recordings, table, kind, rate) -> pd.DataFrame:
    first = recordings["start"].loc[table[f"{kind}_id"]].to_numpy()
    offset = (table[f"{kind}_label_offset_seconds"] * rate).astype(np.int64)
    return pd.DataFrame({f"{kind}_start": first + offset, f"{kind}_first": first})


def _store_eeg(target, path, start, offsets, band, clip) -> dict[int, float]:
    cleaned, missing = signals.clean_eeg(read_eeg(path), band, clip)
    np.load(target, mmap_mode="r+")[start : start + len(cleaned)] = cleaned
    return _missing_shares(missing, offsets, WINDOW_SAMPLES)


def _store_spectrogram(target, path, start, offsets) -> dict[int, float]:
    log = signals.log_power(read_spectrogram(path))
    np.load(target, mmap_mode="r+")[start : start + len(log)] = log
    return _missing_shares(np.isnan(log), offsets, SPECTROGRAM_ROWS)


def _missing_shares(missing: np.ndarray, offsets: dict[int, int], window: int) -> dict[int, float]:
    if not missing.any():
        return dict.fromkeys(offsets, 0.0)
    return {k: float(missing[row : row + window].mean()) for k, row in offsets.items()}


def _collect(results, total: int, what: str, progress: bool) -> dict[int, float]:
    missing: dict[int, float] = {}
    bar = tqdm(results, f"pack {what}", total, unit="file", disable=not progress)
    for result in bar:
        missing.update(result)
    return missing


def _by_window(missing: dict[int, float], n: int) -> np.ndarray:
    return np.array([missing[position] for position in range(n)])

"""Packing: read a competition's recordings in parallel and write them into a store.

The store grows beside its path and is renamed when complete. A `pack` that was stopped resumes
(`hbac_utils.data.journal`); of two at once, the second waits for the first.
"""

import json
import shutil
import sys
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed

from hbac_utils.data.cluster import workers
from hbac_utils.data.competition import Competition
from hbac_utils.data.journal import PackJournal, discard
from hbac_utils.data.recordings import (
    EEG,
    SPECTROGRAM,
    RecordingType,
    list_recordings,
    store_recording,
    window_positions,
)
from hbac_utils.data.splits import group_windows
from hbac_utils.data.store import REPACK, Store, digest, file_stamps, open_store, store_key
from hbac_utils.labels import VOTE_COLUMNS
from hbac_utils.recipe import Data, Recipe
from hbac_utils.utils import interactive
from hbac_utils.utils.errors import DiskError, InputError
from hbac_utils.utils.files import NO_SPACE, lock, writing


def open_or_pack(path: str | Path, competition: Competition, recipe: Recipe) -> Store:
    """Open the store at ``path`` for a recipe; pack it first if there is nothing there.

    A store that lacks what the recipe needs or was packed from other files is refused.
    """
    path = Path(path)
    store = open_store(path) if path.exists() else pack(competition, path, recipe.data)
    store.check(recipe.data, recipe.inputs)
    store.check_sources(competition)
    return store


def pack(
    competition: Competition,
    out: str | Path,
    data: Data,
    *,
    limit: int | None = None,
    min_votes: int = 0,
    jobs: int = -1,
    dask: str = "",
    progress: bool = True,
) -> Store:
    """Pack a competition's training recordings into a store.

    An existing store is returned if it matches, an unfinished one is resumed. While another
    process packs to the same path, this one waits.

    With ``limit`` or ``min_votes`` a part is packed, see `choose_windows`. Recordings are read by
    ``jobs`` processes (−1 for one a core), or by the workers of the Dask scheduler at the address
    ``dask``, which must see competition and store under the same paths as this process.

    Raises InputError if ``out`` holds something else, a table or recording is wrong, or the
    cluster cannot be used; DiskError if the disk is full.
    """
    out = Path(out).absolute()
    subset = {"limit": limit, "min_votes": min_votes}
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with lock(out):
            if out.exists():
                _check_existing(out, competition, data, subset)
            else:
                table = choose_windows(competition.train, limit, min_votes)
                _Packing(competition, out, data, subset, table).run(jobs, dask, progress)
    return open_store(out)


def choose_windows(
    table: pd.DataFrame, limit: int | None = None, min_votes: int = 0
) -> pd.DataFrame:
    """Choose the windows of a part of the competition: rows of ``table``, numbered from zero.

    ``limit`` is about the number of EEGs, in whole patients; windows with fewer than
    ``min_votes`` are left out.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit {limit}: must be at least 1; leave it out for all EEGs")
    if min_votes < 0:
        raise InputError(f"min_votes {min_votes}: must be at least 0")
    chosen = table[table[list(VOTE_COLUMNS)].sum(axis=1) >= min_votes]
    if chosen.empty:
        raise InputError(f"no window of train.csv has {min_votes} votes or more; lower min_votes")
    if limit is not None:
        patients = np.sort(chosen["patient_id"].unique())
        # one key per patient: a larger limit adds patients to those of a smaller one
        keys = [np.random.default_rng([0, int(patient)]).random() for patient in patients]
        order = patients[np.argsort(keys)]
        eegs = chosen.groupby("patient_id")["eeg_id"].nunique().loc[order].cumsum().to_numpy()
        closest = np.abs(eegs - limit).argmin()
        chosen = chosen[chosen["patient_id"].isin(order[: closest + 1])]
    return chosen.reset_index(drop=True)


def _check_existing(out: Path, competition: Competition, data: Data, subset: dict) -> None:
    store = open_store(out)
    store.check(data)
    if store.description["subset"] != subset:
        packed, wanted = (
            ", ".join(f"{name} {value}" for name, value in s.items())
            for s in (store.description["subset"], subset)
        )
        raise InputError(f"{out}: packed with {packed}, not {wanted}; {REPACK}, or change the path")
    store.check_sources(competition)
    discard(out)
    _report("already packed")


class _Packing:
    """One packing: the layout of the arrays, and the work left to do. Needs the store's lock."""

    def __init__(
        self, competition: Competition, out: Path, data: Data, subset: dict, table: pd.DataFrame
    ):
        self.out, self.data, self.table = out, data, table
        kinds = [EEG, SPECTROGRAM] if competition.has_spectrograms("train") else [EEG]
        self.recordings = {kind: list_recordings(kind, competition, table) for kind in kinds}
        files = [path for r in self.recordings.values() for path in r["path"]]
        names = [path.relative_to(competition.path).as_posix() for path in files]
        self.sources = file_stamps(competition.path, ["train.csv", *names])
        stamps = self.sources[["bytes", "modified_ns"]].to_numpy().tolist()
        self.stamps = dict(zip(files, stamps[1:], strict=True))
        rows = {kind: int(r["rows"].sum()) for kind, r in self.recordings.items()}
        self.bytes = sum(2 * kind.width * n for kind, n in rows.items())
        lengths = pd.concat([r["rows"].reset_index() for r in self.recordings.values()])
        self.description = {
            "key": store_key(data),
            "subset": subset,
            "source": str(competition.path.resolve()),
            "windows": len(table),
            "eegs": int(table["eeg_id"].nunique()),
            "patients": int(table["patient_id"].nunique()),
            "eeg_samples": rows[EEG],
            "spectrogram_rows": rows.get(SPECTROGRAM),
        }
        # without the files' times: after a file was repaired only that recording is read again
        self.plan = self.description | {"table": digest(table), "lengths": digest(lengths)}

    def run(self, jobs: int, dask: str, progress: bool) -> None:
        with self._space_needed(), PackJournal(self.out, self.plan) as journal:
            offsets = {
                kind: journal.allocate(kind.name, (int(r["rows"].sum()), kind.width))
                for kind, r in self.recordings.items()
            }
            # recordings in the journal whose files have not changed since
            done = {
                kind: [
                    i for i, notes in journal.done(kind.name).items()
                    if notes["source"] == self.stamps[r["path"][i]]
                ]
                for kind, r in self.recordings.items()
            }  # fmt: skip
            if any(done.values()):
                counts = [
                    f"{len(done[k])} of {len(r)} {k.label}" for k, r in self.recordings.items()
                ]
                _report(f"resuming, {' and '.join(counts)} are there")
            with workers(jobs, dask, journal.path) as parallel:
                for kind, ids in done.items():
                    self._convert(kind, ids, offsets[kind], journal, parallel, progress)
            self._write_tables(journal)
            journal.finish()

    @contextmanager
    def _space_needed(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            free = shutil.disk_usage(self.out.parent).free / 1e9
            raise DiskError(
                f"{self.out.parent}: no space for the store ({error.strerror}): it needs "
                f"{self.bytes / 1e9:.3g} GB, {free:.3g} GB are free; free some space, choose "
                "another path, or pack a part (limit, min_votes)"
            ) from None

    def _convert(
        self, kind: RecordingType, done: list[int], offset: int, journal: PackJournal,
        parallel: Parallel, progress: bool,
    ) -> None:  # fmt: skip
        recordings = self.recordings[kind]
        left = recordings.drop(index=done)
        windows = self.table.groupby(f"{kind.name}_id").indices
        first, target = kind.first_rows(self.table), journal.path / f"{kind.name}.npy"
        calls = (
            delayed(store_recording)(
                int(i), kind.name, path, int(rows), target, offset + 2 * int(start) * kind.width,
                first[windows[i]].tolist(), self.data,
            )
            for i, path, rows, start in left[["path", "rows", "start"]].itertuples()
        )  # fmt: skip
        if not len(left):
            return
        with _closing(parallel(calls)) as results:
            shown = interactive.progress(
                results, len(recordings), f"pack {kind.label}", len(done), show=progress
            )
            for i, missing in shown:
                stamp = self.stamps[recordings["path"][i]]
                journal.record(kind.name, i, {"source": stamp, "missing": missing})

    def _write_tables(self, journal: PackJournal) -> None:
        windows = self.table.copy()
        for kind, recordings in self.recordings.items():
            windows = windows.join(window_positions(kind, recordings, self.table))
            missing, notes = np.empty(len(windows)), journal.done(kind.name)
            for i, positions in windows.groupby(f"{kind.name}_id").indices.items():
                missing[positions] = notes[i]["missing"]
            windows[f"{kind.name}_missing"] = missing
        windows["total_votes"] = windows[list(VOTE_COLUMNS)].sum(axis=1)
        windows["group"] = group_windows(windows)
        windows.to_parquet(journal.path / "windows.parquet", index=False)
        self.sources.to_parquet(journal.path / "sources.parquet", index=False)
        text = json.dumps(self.description, indent=2) + "\n"
        (journal.path / "store.json").write_text(text)


@contextmanager
def _closing(results: Generator) -> Iterator[Generator]:
    """Stop joblib's work at the end of the block, without its warning about unused results."""
    try:
        yield results
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            results.close()


def _report(text: str) -> None:
    print(f"pack: {text}", file=sys.stderr, flush=True)

"""Packing: read a competition's recordings in parallel and write them into a store.

Each array grows beside the store's path and is moved there when complete. A `pack` that was stopped
resumes (`hbac_utils.data.journal`); of two at once, the second waits for the first.
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
    RECORDING_TYPES,
    RecordingType,
    list_recordings,
    store_recording,
)
from hbac_utils.data.splits import group_windows, patient_folds
from hbac_utils.data.store import REPACK, SIZES, Store, digest, file_stamps, open_store, store_key
from hbac_utils.labels import VOTE_COLUMNS
from hbac_utils.recipe import Data, Recipe
from hbac_utils.utils import interactive
from hbac_utils.utils.errors import DiskError, InputError
from hbac_utils.utils.files import NO_SPACE, lock, writing


def open_or_pack(path: str | Path, competition: Competition, recipe: Recipe) -> Store:
    """Open the store at ``path`` for a recipe; pack first what it lacks, or all of it.

    A store with other settings or of other files is refused, and data too small for the folds or
    with too few votes for a stage.
    """
    path = Path(path)
    if not path.exists():
        patient_folds(_grouped(competition.train), recipe.data.folds, recipe.seed)
        most = competition.train[list(VOTE_COLUMNS)].sum(axis=1).max()
        if (least := max(stage.min_votes for stage in recipe.stages)) > most:
            raise InputError(f"stages: no window has {least} votes or more; lower min_votes")
        return pack(competition, path, recipe.data, recipe.inputs)
    store = open_store(path)
    store.check(recipe.data)
    if set(recipe.inputs) - set(store.inputs):
        return pack(competition, path, recipe.data, recipe.inputs, **store.description["subset"])
    store.check_sources(competition)
    return store


def pack(
    competition: Competition,
    out: str | Path,
    data: Data,
    inputs: tuple[str, ...] | None = None,
    *,
    limit: int | None = None,
    min_votes: int = 0,
    available: bool = False,
    jobs: int = -1,
    dask: str = "",
    progress: bool = True,
) -> Store:
    """Pack a competition's training recordings into a store.

    ``inputs`` are the recordings to pack, as of `Recipe.inputs` (default: all that the folder
    has). A store that matches is kept and grows by those it lacks; an unfinished one is resumed.
    While another process packs to the same path, this one waits.

    With ``limit`` or ``min_votes`` a part is packed, see `choose_windows`; with ``available`` only
    the windows whose recordings are all there. Recordings are read by ``jobs`` processes (−1 for
    one a core), or by the workers of the Dask scheduler at the address ``dask``, which must see
    competition and store under the same paths as this process.

    Raises InputError if ``out`` holds something else, a table or recording is wrong, or the
    cluster cannot be used; DiskError if the disk is full.
    """
    if not jobs:
        raise InputError("jobs is 0; give a number of processes, or -1 for one per core")
    out = Path(out).absolute()
    if inputs is None:
        inputs = tuple(RECORDING_TYPES) if competition.has_spectrograms("train") else ("eeg",)
    subset = {"limit": limit, "min_votes": min_votes} | ({"available": True} if available else {})
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with lock(out):
            old = open_store(out) if out.exists() else None
            if old is None or available:
                table = _with_recordings(competition, inputs) if available else competition.train
                table = choose_windows(table, limit, min_votes)
            if old is not None:
                _check_existing(old, competition, data, subset)
                if available and len(table) != len(old.windows):
                    raise InputError(
                        f"{out}: packed with {len(old.windows):,} windows, the recordings of "
                        f"{len(table):,} are there now; {REPACK}, or change the path"
                    )
                table = old.windows
            missing = [RECORDING_TYPES[n] for n in inputs if old is None or n not in old.inputs]
            # all footers are read before the first recording is converted
            listed = {kind: list_recordings(kind, competition, table) for kind in missing}
            if not listed:
                discard(out)
                _report("already packed")
            elif old is None:
                try:
                    patient_folds(_grouped(table), data.folds, seed=0)
                except InputError as error:
                    _report(f"note: {error}")
            for kind, recordings in listed.items():
                packing = _Packing(competition, out, data, subset, table, kind, recordings)
                packing.run(jobs, dask, progress)
                table = open_store(out).windows
    return open_store(out)


def choose_windows(
    table: pd.DataFrame, limit: int | None = None, min_votes: int = 0
) -> pd.DataFrame:
    """Choose the windows of a part of the competition: rows of ``table``, numbered from zero.

    ``limit`` is about the number of EEGs, in whole patients; windows with fewer than
    ``min_votes`` are left out.
    """
    if limit is not None and not limit >= 1:
        raise InputError(f"limit {limit}: must be at least 1; leave it out for all EEGs")
    if not min_votes >= 0:
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


def _with_recordings(competition: Competition, inputs: tuple[str, ...]) -> pd.DataFrame:
    table = competition.train
    for name in inputs:
        table = table[table[f"{name}_id"].isin(competition.present("train", name))]
    folders = " and ".join(f"train_{name}s" for name in inputs)
    if table.empty:
        raise InputError(f"{competition.path}: no recording of train.csv is in {folders}")
    _report(
        f"note: {len(table):,} of {len(competition.train):,} windows have their recordings in "
        f"{folders}; the others are left out"
    )
    return table


def _grouped(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(group=group_windows(table))


def _check_existing(store: Store, competition: Competition, data: Data, subset: dict) -> None:
    store.check(data)
    if store.description["subset"] != subset:
        packed, wanted = (
            ", ".join(f"{name} {value}" for name, value in s.items())
            for s in (store.description["subset"], subset)
        )
        raise InputError(
            f"{store.path}: packed with {packed}, not {wanted}; {REPACK}, or change the path"
        )
    store.check_sources(competition)


class _Packing:
    """One array's packing: its layout, and the work left to do. Needs the store's lock.

    Without a store at ``out``, ``table`` are the windows chosen; else the store's, which grows.
    """

    def __init__(
        self, competition: Competition, out: Path, data: Data, subset: dict, table: pd.DataFrame,
        kind: RecordingType, recordings: pd.DataFrame,
    ):  # fmt: skip
        self.folder, self.out, self.data, self.table = competition.path, out, data, table
        self.kind, self.recordings = kind, recordings
        self.shape = int(recordings["rows"].sum()), kind.width
        old = open_store(out) if out.exists() else None
        names = ["train.csv"] if old is None else list(old.sources["name"])
        names = list(dict.fromkeys([*names, *recordings["name"]]))
        self.sources = file_stamps(self.folder, names)
        self.stamps = {name: stamp for name, *stamp in self.sources.itertuples(index=False)}
        self.description = {
            "key": store_key(data),
            "subset": subset,
            "source": str(self.folder.resolve()),
            "windows": len(table),
            "eegs": int(table["eeg_id"].nunique()),
            "patients": int(table["patient_id"].nunique()),
            **{size: None if old is None else old.description[size] for size in SIZES.values()},
            SIZES[kind.name]: self.shape[0],
        }
        lengths = digest(recordings["rows"].reset_index())
        # without the files' times: after a file was repaired only that recording is read again
        self.plan = self.description | {"table": digest(table), "lengths": lengths}

    def run(self, jobs: int, dask: str, progress: bool) -> None:
        with self._space_needed(), PackJournal(self.out, self.plan) as journal:
            offset = journal.allocate(self.kind.name, self.shape)
            # recordings in the journal whose files have not changed since
            done = [
                i for i, notes in journal.done.items()
                if notes["source"] == self.stamps[self.recordings["name"][i]]
            ]  # fmt: skip
            if done:
                total = f"{len(self.recordings)} {self.kind.label}"
                _report(f"resuming, {len(done)} of {total} are there")
            if len(done) < len(self.recordings):
                with workers(jobs, dask, journal.path) as parallel:
                    self._convert(done, offset, journal, parallel, progress)
            self._write_tables(journal)
            journal.finish()

    @contextmanager
    def _space_needed(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            needed = 2 * self.shape[0] * self.shape[1] / 1e9
            free = shutil.disk_usage(self.out.parent).free / 1e9
            raise DiskError(
                f"{self.out.parent}: no space for the {self.kind.label} ({error.strerror}): they "
                f"need {needed:.3g} GB, {free:.3g} GB are free; free some space, choose another "
                "path, or pack a part (limit, min_votes)"
            ) from None

    def _convert(
        self, done: list[int], offset: int, journal: PackJournal, parallel: Parallel, show: bool
    ) -> None:
        kind, left = self.kind, self.recordings.drop(index=done)
        windows = self.table.groupby(f"{kind.name}_id").indices
        first, target = kind.first_rows(self.table), journal.path / f"{kind.name}.npy"
        calls = (
            delayed(store_recording)(
                int(i), kind.name, self.folder / name, int(rows), target,
                offset + 2 * int(start) * kind.width, first[windows[i]].tolist(), self.data,
            )
            for i, name, rows, start in left[["name", "rows", "start"]].itertuples()
        )  # fmt: skip
        with _closing(parallel(calls)) as results:
            shown = interactive.progress(
                results, len(self.recordings), f"pack {kind.label}", len(done), show=show
            )
            for i, missing in shown:
                stamp = self.stamps[self.recordings["name"][i]]
                journal.record(i, {"source": stamp, "missing": missing})

    def _write_tables(self, journal: PackJournal) -> None:
        kind, windows = self.kind, self.table.copy()
        ids = windows[f"{kind.name}_id"]
        first = self.recordings["start"].loc[ids].to_numpy()
        windows[f"{kind.name}_start"] = first + kind.first_rows(windows)
        windows[f"{kind.name}_first"] = first
        windows[f"{kind.name}_last"] = first + self.recordings["rows"].loc[ids].to_numpy()
        missing = np.empty(len(windows))
        for i, positions in windows.groupby(f"{kind.name}_id").indices.items():
            missing[positions] = journal.done[i]["missing"]
        windows[f"{kind.name}_missing"] = missing
        windows["total_votes"] = windows[list(VOTE_COLUMNS)].sum(axis=1)
        _grouped(windows).to_parquet(journal.path / "windows.parquet", index=False)
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

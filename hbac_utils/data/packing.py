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
    RECORDING_TYPES,
    RecordingType,
    list_recordings,
    store_recording,
    window_positions,
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
            if old is not None:
                _check_existing(old, competition, data, subset)
            missing = [RECORDING_TYPES[n] for n in inputs if old is None or n not in old.inputs]
            if old is None or available:
                table = _with_recordings(competition, inputs) if available else competition.train
                table = choose_windows(table, limit, min_votes)
                if old is not None and len(table) != len(old.windows):
                    raise InputError(
                        f"{out}: packed with {len(old.windows):,} windows, the recordings of "
                        f"{len(table):,} are there now; {REPACK}, or change the path"
                    )
            if not missing:
                discard(out)
                _report("already packed")
            else:
                table = table if old is None else old.windows
                try:
                    patient_folds(_grouped(table), data.folds, seed=0)
                except InputError as error:
                    _report(f"note: {error}")
                _Packing(competition, out, data, subset, table, missing, old).run(
                    jobs, dask, progress
                )
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
    """One packing: the layout of the arrays, and the work left to do. Needs the store's lock.

    ``kinds`` are the recordings to pack; ``old`` is the store that grows by them.
    """

    def __init__(
        self, competition: Competition, out: Path, data: Data, subset: dict, table: pd.DataFrame,
        kinds: list[RecordingType], old: Store | None,
    ):  # fmt: skip
        self.out, self.data, self.table = out, data, table
        self.recordings = {kind: list_recordings(kind, competition, table) for kind in kinds}
        files = [path for r in self.recordings.values() for path in r["path"]]
        names = ["train.csv"] if old is None else list(old.sources["name"])
        names += [path.relative_to(competition.path).as_posix() for path in files]
        self.sources = file_stamps(competition.path, list(dict.fromkeys(names)))
        rows = self.sources.itertuples(index=False)
        self.stamps = {competition.path / name: stamp for name, *stamp in rows}
        sizes = {kind.name: int(r["rows"].sum()) for kind, r in self.recordings.items()}
        self.bytes = sum(2 * kind.width * sizes[kind.name] for kind in kinds)
        lengths = pd.concat([r["rows"].reset_index() for r in self.recordings.values()])
        self.description = {
            "key": store_key(data),
            "subset": subset,
            "source": str(competition.path.resolve()),
            "windows": len(table),
            "eegs": int(table["eeg_id"].nunique()),
            "patients": int(table["patient_id"].nunique()),
        }
        for name, size in SIZES.items():
            self.description[size] = sizes.get(name, old and old.description[size])
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
            windows = windows.assign(**window_positions(kind, recordings, self.table))
            missing, notes = np.empty(len(windows)), journal.done(kind.name)
            for i, positions in windows.groupby(f"{kind.name}_id").indices.items():
                missing[positions] = notes[i]["missing"]
            windows[f"{kind.name}_missing"] = missing
        windows["total_votes"] = windows[list(VOTE_COLUMNS)].sum(axis=1)
        windows = _grouped(windows)
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

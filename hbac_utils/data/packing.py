"""Packing: the recordings of a competition, read in parallel, become a store.

The store grows beside its path and is renamed when complete; a `pack` that was stopped goes on
where it was (`hbac_utils.data.journal`), and of two at once the second waits.
"""

import errno
import json
import os
import shutil
import sys
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from multiprocessing import TimeoutError as StalledError
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, parallel_config
from tqdm import tqdm

from hbac_utils.data.competition import Competition
from hbac_utils.data.journal import Partial, discard
from hbac_utils.data.recordings import (
    EEG,
    SPECTROGRAM,
    Kind,
    Task,
    list_recordings,
    tasks,
    window_places,
    window_positions,
)
from hbac_utils.data.splits import group_windows
from hbac_utils.data.store import Store, digest, look_at, open_store, source_names, store_key
from hbac_utils.labels import VOTE_COLUMNS
from hbac_utils.recipe import Data, Recipe
from hbac_utils.utils.errors import DiskError, InputError
from hbac_utils.utils.files import NO_SPACE, lock, writing

SEED = 0
"""Of the order of patients, so that a larger limit adds patients to those of a smaller one."""


@dataclass(frozen=True)
class Subset:
    """A part of a competition that fits a smaller machine; by default all of it.

    Parameters
    ----------
    limit : int, optional
        About so many EEGs, of whole patients: none is ever cut in two.
    min_votes : int
        Windows with fewer votes are left out.

    Raises
    ------
    InputError
        If ``limit`` is below one or ``min_votes`` below zero.
    """

    limit: int | None = None
    min_votes: int = 0

    def __post_init__(self):
        if self.limit is not None and self.limit < 1:
            raise InputError(f"limit {self.limit}: name at least one EEG, or leave it out for all")
        if self.min_votes < 0:
            raise InputError(f"min_votes {self.min_votes}: name a number from zero up")

    def choose(self, table: pd.DataFrame) -> pd.DataFrame:
        """Choose windows.

        Parameters
        ----------
        table : DataFrame
            As `Competition.train`.

        Returns
        -------
        DataFrame
            Its rows, in its order, numbered from zero.

        Raises
        ------
        InputError
            If no window is left.
        """
        chosen = table[table[list(VOTE_COLUMNS)].sum(axis=1) >= self.min_votes]
        if chosen.empty:
            raise InputError(
                f"no window of train.csv has {self.min_votes} votes or more; lower min_votes"
            )
        if self.limit is not None:
            chosen = chosen[chosen["patient_id"].isin(_patients(chosen, self.limit))]
        return chosen.reset_index(drop=True)


def _patients(table: pd.DataFrame, limit: int) -> np.ndarray:
    """Take patients in a drawn order until their EEGs are as close to the limit as they get."""
    patients = np.sort(table["patient_id"].unique())
    # drawn by a key of the patient, not by its place: others that come or go change nothing
    keys = [np.random.default_rng([SEED, int(patient)]).random() for patient in patients]
    order = patients[np.argsort(keys)]
    eegs = table.groupby("patient_id")["eeg_id"].nunique().loc[order].cumsum().to_numpy()
    return order[: np.abs(eegs - limit).argmin() + 1]


def open_or_pack(path: str | Path, competition: Competition, recipe: Recipe) -> Store:
    """Open the store at ``path`` for a recipe; pack it first if there is nothing there.

    Raises
    ------
    InputError
        If what is there is no store, is damaged, does not hold what the recipe needs, or was
        packed from other files than the competition's.
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

    A store that is there already is returned as it is if it matches. One that was begun is
    taken up where it was stopped. While another process packs to the same path, this one waits.

    Parameters
    ----------
    competition : Competition
    out : str or Path
        The store's folder; it appears only when it is complete.
    data : Data
        The recipe's section: band and clip.
    limit, min_votes : int, optional
        Pack a part only, see `Subset`.
    jobs : int
        Worker processes; −1 for one a core.
    dask : str
        Address of a Dask scheduler whose workers read the recordings instead. They must see the
        competition and the store under the same paths as this process.
    progress : bool
        Show progress bars.

    Raises
    ------
    InputError
        If ``out`` holds something else, a table or recording is wrong (the file is named), there
        is no space on the disk, or the cluster cannot be used.
    """
    out = Path(out).absolute()
    job = Job(competition, out, data, Subset(limit, min_votes))
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with lock(out):
            if out.exists():
                job.check_existing()
            else:
                job.run(jobs, dask, progress)
    return open_store(out)


@dataclass(frozen=True)
class Job:
    """What `pack` was asked for; its methods need the `lock` of ``out``."""

    competition: Competition
    out: Path
    data: Data
    subset: Subset

    @cached_property
    def table(self) -> pd.DataFrame:
        """The windows to pack."""
        return self.subset.choose(self.competition.train)

    @cached_property
    def sources(self) -> pd.DataFrame:
        """The files behind them, as they are now."""
        return look_at(self.competition.path, source_names(self.competition, self.table))

    @cached_property
    def recordings(self) -> dict[Kind, pd.DataFrame]:
        """The recordings behind them."""
        kinds = [EEG, SPECTROGRAM] if self.competition.has_spectrograms("train") else [EEG]
        return {kind: list_recordings(kind, self.competition, self.table) for kind in kinds}

    def check_existing(self) -> None:
        """Refuse a store that is there and is not the one asked for."""
        store = open_store(self.out)
        store.check_key(self.data)
        if store.description["subset"] != asdict(self.subset):
            raise InputError(
                f"{self.out}: packed with {_words(store.description['subset'])}, now asked for "
                f"{_words(asdict(self.subset))}; delete the store, or name another path"
            )
        store.check_sources(self.competition)
        discard(self.out)
        _say("already packed")

    def run(self, jobs: int, dask: str, progress: bool) -> None:
        """Pack, or go on packing."""
        recordings = self.recordings
        with self._room(), Partial(self.out, self._plan()) as partial:
            offsets = self._allocate(partial)
            self._tell_what_is_there(partial)
            with workers(jobs, dask, partial.path) as parallel:
                for kind in recordings:
                    self._pack_kind(kind, partial, offsets[kind], parallel, progress)
            self._write_tables(partial)
            partial.finish()

    def _plan(self) -> dict:
        # not the sources' times: of a file that was mended only its own recording is read again
        lengths = pd.concat([r["rows"].reset_index() for r in self.recordings.values()])
        return {
            "key": store_key(self.data),
            "subset": asdict(self.subset),
            "source": self._source,
            "windows": digest(self.table),
            "lengths": digest(lengths),
        }

    @property
    def _source(self) -> str:
        return str(self.competition.path.resolve())

    def _bytes(self, kind: Kind) -> int:
        return 2 * kind.width * int(self.recordings[kind]["rows"].sum())

    @contextmanager
    def _room(self) -> Iterator[None]:
        """Translate the errors of a full disk."""
        try:
            yield
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            needed = sum(map(self._bytes, self.recordings)) / 1e9
            free = shutil.disk_usage(self.out.parent).free / 1e9
            raise DiskError(
                f"{self.out.parent}: no room for the store ({error.strerror}): it needs "
                f"{needed:.3g} GB, {free:.3g} GB are free there; make room, name another path, "
                "or pack a part (limit, min_votes)"
            ) from None

    def _allocate(self, partial: Partial) -> dict[Kind, int]:
        wanted = sum(map(self._bytes, self.recordings))
        if wanted - partial.bytes() > shutil.disk_usage(self.out.parent).free:
            discard(self.out)
            raise OSError(errno.ENOSPC, "disk too full")
        return {
            kind: partial.allocate(kind.name, (int(recordings["rows"].sum()), kind.width))
            for kind, recordings in self.recordings.items()
        }

    def _done(self, kind: Kind, partial: Partial) -> list[int]:
        """List the recordings that are in their array and whose files are as they were then."""
        done, stamps = partial.done(kind.name), self._stamps[kind]
        return [i for i, notes in done.items() if notes["source"] == stamps[i]]

    @cached_property
    def _stamps(self) -> dict[Kind, dict[int, list[int]]]:
        """Tell each file's size and time of modification."""
        seen = zip(
            self.sources["bytes"].tolist(), self.sources["modified_ns"].tolist(), strict=True
        )
        next(seen)  # train.csv
        # the sources stand in the order of the recordings
        return {
            kind: {i: list(next(seen)) for i in recordings.index.tolist()}
            for kind, recordings in self.recordings.items()
        }

    def _tell_what_is_there(self, partial: Partial) -> None:
        done = {kind: len(self._done(kind, partial)) for kind in self.recordings}
        if any(done.values()):
            there = [
                f"{n} of {len(self.recordings[kind])} {kind.label}" for kind, n in done.items()
            ]
            _say(f"resuming, {' and '.join(there)} are there")

    def _pack_kind(
        self, kind: Kind, partial: Partial, offset: int, parallel: Parallel, progress: bool
    ) -> None:
        recordings, done, stamps = (
            self.recordings[kind],
            self._done(kind, partial),
            self._stamps[kind],
        )
        left = recordings.drop(index=done)
        target = partial.path / f"{kind.name}.npy"
        calls = (
            delayed(_run)(task) for task in tasks(kind, left, self.table, target, offset, self.data)
        )
        with tqdm(
            desc=f"pack {kind.label}", total=len(recordings), initial=len(done), unit="file",
            disable=not progress,
        ) as bar:  # fmt: skip
            if not len(left):
                return
            with _closing(parallel(calls)) as results:
                for recording, missing in results:
                    notes = {"source": stamps[recording], "missing": missing}
                    partial.record(kind.name, recording, notes)
                    bar.update()

    def _write_tables(self, partial: Partial) -> None:
        windows = self.table.copy()
        for kind, recordings in self.recordings.items():
            windows = windows.join(window_places(kind, recordings, self.table))
            windows[f"{kind.name}_missing"] = self._missing(kind, partial)
        windows["total_votes"] = windows[list(VOTE_COLUMNS)].sum(axis=1)
        windows["group"] = group_windows(windows)
        windows.to_parquet(partial.path / "windows.parquet", index=False)
        self.sources.to_parquet(partial.path / "sources.parquet", index=False)
        description = json.dumps(self._description(), indent=2) + "\n"
        (partial.path / "store.json").write_text(description)

    def _missing(self, kind: Kind, partial: Partial) -> np.ndarray:
        missing, done = np.empty(len(self.table)), partial.done(kind.name)
        for recording, positions in window_positions(kind, self.table).items():
            missing[positions] = done[recording]["missing"]
        return missing

    def _description(self) -> dict:
        rows = {kind.name: int(r["rows"].sum()) for kind, r in self.recordings.items()}
        return {
            "key": store_key(self.data),
            "subset": asdict(self.subset),
            "source": self._source,
            "windows": len(self.table),
            "eegs": int(self.table["eeg_id"].nunique()),
            "patients": int(self.table["patient_id"].nunique()),
            "eeg_samples": rows["eeg"],
            "spectrogram_rows": rows.get("spectrogram"),
        }


@contextmanager
def _closing(results: Generator) -> Iterator[Generator]:
    """End joblib's work with the block, without its warning of results that nobody has taken."""
    try:
        yield results
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            results.close()


def _run(task: Task) -> tuple[int, list[float]]:
    # a function, because joblib names what it times and sends by `__name__`
    return task()


def _say(text: str) -> None:
    print(f"pack: {text}", file=sys.stderr, flush=True)


def _words(subset: dict) -> str:
    return ", ".join(f"{name} {value}" for name, value in subset.items())


PATIENCE = 10  # seconds for the scheduler to answer, and for a first worker to appear
STALLED = 600  # seconds without a recording after which a cluster counts as dead


@contextmanager
def workers(jobs: int, scheduler: str, folder: Path) -> Iterator[Parallel]:
    """Open the workers; their results come in the order in which they are ready.

    Parameters
    ----------
    jobs : int
        Processes of this machine; −1 for one a core. A cluster uses all that it has; for one
        with a single core joblib does the work in this process.
    scheduler : str
        Address of a Dask scheduler such as ``tcp://host:8786``; empty for this machine.
    folder : Path
        A folder that every worker must see under this path.

    Raises
    ------
    InputError
        If ``distributed`` is not installed, the scheduler does not answer, has no worker, or a
        worker does not see the folder.
    """
    if not scheduler:
        yield Parallel(n_jobs=jobs, return_as="generator_unordered")
        return
    with connect(scheduler) as client:
        check_workers(client, scheduler, folder)
        with parallel_config(backend="dask", client=client):
            try:
                # joblib never hears of a scheduler that dies: only time tells
                yield Parallel(n_jobs=-1, return_as="generator_unordered", timeout=STALLED)
            except StalledError:
                raise InputError(
                    f"dask {scheduler}: nothing came back for {STALLED} s; see to the scheduler "
                    "and its workers, and pack again: it goes on where it was"
                ) from None


def connect(scheduler: str):
    """Connect to a Dask scheduler; return its ``distributed.Client``, which closes as a context.

    Raises
    ------
    InputError
        If ``distributed`` is not installed, or no scheduler answers at the address.
    """
    try:
        from distributed import Client
    except ImportError:
        raise InputError(
            f"dask {scheduler}: needs the package distributed here and on all workers; "
            "install it: pip install distributed"
        ) from None
    try:
        return Client(scheduler, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"dask {scheduler}: no scheduler answers there ({type(error).__name__}); "
            "start one: dask scheduler"
        ) from None


def check_workers(client, scheduler: str, folder: Path) -> None:
    """Refuse a cluster without a worker, or with one that does not see the folder.

    Raises
    ------
    InputError
        Either way; the worker is named.
    """
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError:
        raise InputError(
            f"dask {scheduler}: the scheduler has no worker; start some: dask worker {scheduler}"
        ) from None
    for worker, sees in client.run(os.path.isdir, str(folder)).items():
        if not sees:
            raise InputError(
                f"dask {scheduler}: the worker {worker} does not see {folder}; "
                "competition and store must lie under the same path on all machines"
            )

"""Where a sweep keeps its trials, and how it learns that the worker of one has died.

A file is enough for one machine, and for several that share a folder; a database serves any
number. Optuna's heartbeats need a database. For a file, the worker of a trial holds a lock that
the kernel frees when it dies, however it dies.
"""

import fcntl
import os
import threading
import time
import warnings
from pathlib import Path
from typing import Protocol, TextIO

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from hbac_utils.utils.errors import InputError

HEARTBEAT = 30
"""Seconds between two signs of life in a database."""

SILENCE = 4
"""So many heartbeats without one mean that the worker is dead."""

TRIES = 5
"""To open a database: of workers that start together, one makes the tables."""


class Hold(Protocol):
    """A running trial's sign of life; it ends with its process."""

    def beat(self) -> None:
        """Give a sign, if one is due."""

    def release(self) -> None:
        """Give none any more."""


class Storage(Protocol):
    """An Optuna storage that knows which of its running trials are dead."""

    optuna: BaseStorage
    name: str

    def hold(self, trial_id: int) -> Hold | None:
        """Begin to give signs of life for a trial; None if another worker does."""

    def fail_dead(self, study: optuna.Study) -> None:
        """Fail the running trials whose worker is dead."""


def open_storage(folder: Path, url: str = "", heartbeat: int = HEARTBEAT) -> Storage:
    """Open a sweep's storage.

    Parameters
    ----------
    folder : Path
        Of the sweep: without a ``url``, ``journal.log`` in it is the storage.
    url : str
        Of a database, as SQLAlchemy writes it: ``postgresql+psycopg://user@host/name``.
    heartbeat : int
        Seconds, of a database.

    Raises
    ------
    InputError
        If there is no such database, or its driver is not installed. A password is not shown.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return Database(url, heartbeat) if url else Journal(folder)


class Journal:
    """A journal file in a folder that all workers see.

    Parameters
    ----------
    folder : Path
        Made if it is not there. Its file system must have `flock`.
    """

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "journal.log"
        self.name = str(path)
        self.optuna = JournalStorage(JournalFileBackend(str(path), lock_obj=JournalLock(path)))
        self._alive = folder / ".alive"

    def hold(self, trial_id: int) -> "HeldFile | None":
        """Lock the trial's file; None if another worker has it."""
        self._alive.mkdir(exist_ok=True)
        file = (self._alive / str(trial_id)).open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        return HeldFile(file)

    def fail_dead(self, study: optuna.Study) -> None:
        """Fail the running trials whose file nobody holds."""
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            held = self.hold(trial._trial_id)
            if held is None:
                continue
            # who finished it meanwhile has said so before giving the file back
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
            held.release()


class HeldFile:
    """A locked file; the lock is its own sign of life."""

    def __init__(self, file: TextIO):
        self._file = file

    def beat(self) -> None:
        """Do nothing: the kernel watches."""

    def release(self) -> None:
        """Unlock the file."""
        self._file.close()


class JournalLock:
    """The lock of Optuna's journal file, freed by the kernel when its holder dies.

    Optuna's own locks stay behind a killed process and are broken open after half a minute.
    What a crash of the machine left half written at the end of the journal is cut off, for
    Optuna could not read past it.

    Parameters
    ----------
    journal : Path
    """

    def __init__(self, journal: Path):
        self._journal, self._threads = journal, threading.Lock()

    def acquire(self) -> bool:
        """Wait for the lock."""
        self._threads.acquire()
        try:
            self._file = self._journal.with_name(f".{self._journal.name}.lock").open("w")
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self._cut()
        except BaseException:
            self._threads.release()
            raise
        return True

    def release(self) -> None:
        """Free the lock."""
        self._file.close()
        self._threads.release()

    def _cut(self) -> None:
        with self._journal.open("r+b") as journal:
            if not journal.seek(0, os.SEEK_END):
                return
            journal.seek(-1, os.SEEK_END)
            if journal.read(1) != b"\n":
                journal.seek(0)
                journal.truncate(journal.read().rfind(b"\n") + 1)


class Database:
    """A relational database with Optuna's heartbeats.

    Parameters
    ----------
    url : str
    heartbeat : int
        Seconds.
    """

    def __init__(self, url: str, heartbeat: int):
        self.optuna = _open_database(url, heartbeat)
        self.name = self.optuna.engine.url.render_as_string(hide_password=True)
        self._heartbeat = heartbeat

    def hold(self, trial_id: int) -> "Heart":
        """Record a first heartbeat; two workers may, for the database lets one of them begin."""
        return Heart(self.optuna, trial_id, self._heartbeat)

    def fail_dead(self, study: optuna.Study) -> None:
        """Fail the running trials without a recent heartbeat."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            optuna.storages.fail_stale_trials(study)


class Heart:
    """The heartbeat of a trial."""

    def __init__(self, storage: RDBStorage, trial_id: int, every: int):
        self._storage, self._trial_id, self._every = storage, trial_id, every
        self._beat()

    def beat(self) -> None:
        """Record a heartbeat, if the last one is long enough ago."""
        if time.monotonic() - self._last >= self._every:
            self._beat()

    def release(self) -> None:
        """Do nothing: the trial's state says that it has ended."""

    def _beat(self) -> None:
        self._storage.record_heartbeat(self._trial_id)
        self._last = time.monotonic()


def _open_database(url: str, heartbeat: int) -> RDBStorage:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    try:
        shown = make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        raise InputError(
            "storage: no URL of a database; write postgresql+psycopg://user:password@host/database"
        ) from None
    for left in reversed(range(TRIES)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                return RDBStorage(
                    url,
                    heartbeat_interval=heartbeat,
                    grace_period=SILENCE * heartbeat,
                    engine_kwargs={"pool_pre_ping": True},  # a connection may have been cut
                )
        except ImportError as error:
            raise InputError(
                f"storage {shown}: its driver is not installed ({error.name or error}); for "
                'PostgreSQL: pip install "psycopg[binary]"'
            ) from None
        except SQLAlchemyError as error:
            if not left:
                reason = str(getattr(error, "orig", error)).strip().splitlines()[0]
                raise InputError(
                    f"storage {shown}: cannot be used ({reason}); see to the server and the URL"
                ) from None
            time.sleep(1)
    raise AssertionError("the last try has returned or raised")

"""State of a sweep in an Optuna study: next trial, attempts, detection of dead workers.

A trial of a sweep has a number from 0. Each Optuna trial is one attempt at it: after a kill or an
interruption another one follows, with the same settings. Workers count as dead without a heartbeat
(in a database), or if the lock on their trial's file is free (beside a journal file).
"""

import itertools
import json
import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import optuna
from filelock import BaseFileLock, FileLock, Timeout
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from hbac_utils.sweeps.config import Range, Search, Settings, SweepPlan, label
from hbac_utils.training.runs import read_history, read_metrics
from hbac_utils.utils.errors import InputError, one_line

warnings.filterwarnings("ignore", category=ExperimentalWarning)  # heartbeats, constant_liar

HEARTBEAT = 30  # s, in a database
MAX_KILLS = 3  # then a trial counts as failed: it may be what kills its workers
ENDED = ("complete", "pruned", "failed")  # states of a trial that is not run again
CURVES = ["fold", "epoch", "loss", "kl_all", "kl_reliable"]  # columns kept in the storage


class TrialFailed(Exception):
    """End of an attempt whose reason is recorded in its user attributes."""


class _TakenOver(BaseException):
    """Another worker has ended the attempt; Optuna lets this pass without storing a state."""


@dataclass(frozen=True)
class SweepTrial:
    """A trial of a sweep with all attempts at it, the oldest first."""

    number: int
    attempts: tuple[FrozenTrial, ...]

    @property
    def attempt(self) -> FrozenTrial:
        """The attempt with the result, the current one, or the last one."""
        states = ["FAIL", "WAITING", "RUNNING", "PRUNED", "COMPLETE"]
        return max(self.attempts, key=lambda a: (states.index(a.state.name), a.number))

    @property
    def state(self) -> str:
        """One of `ENDED`, or ``running``, ``waiting``, ``interrupted``."""
        if self.attempt.state != TrialState.FAIL:
            return self.attempt.state.name.lower()
        return "failed" if self.error else "interrupted"

    @property
    def error(self) -> str:
        """Error of the last attempt, or the number of kills if there were too many."""
        failed = [a.user_attrs for a in self.attempts if a.state == TrialState.FAIL]
        if failed and "error" in failed[-1]:
            return failed[-1]["error"]
        kills = sum(not {"error", "stopped"} & set(attributes) for attributes in failed)
        return f"its worker was killed {kills} times" if kills >= MAX_KILLS else ""

    @property
    def settings(self) -> Settings:
        """Settings as far as they are known: those of a search follow when it starts."""
        return self.attempt.system_attrs["fixed_params"] | self.attempt.params

    @property
    def result(self) -> dict:
        """Result of the attempt, as `read_result` returns it."""
        return self.attempt.user_attrs.get("result", {})


class SweepStudy:
    """The Optuna study of a plan, in a database or in ``journal.log`` in the sweep's folder.

    ``data`` is a fingerprint of the training data; without it, the study must exist. Raises
    InputError if the storage cannot be used, or the study was begun with other settings or data.
    """

    def __init__(self, plan: SweepPlan, folder: Path, url: str = "", data: str | None = None):
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.plan, self.folder = plan, folder
        (folder / "trials").mkdir(parents=True, exist_ok=True)
        place = "the database" if url else folder / "journal.log"
        self.storage = _open_database(url) if url else _open_journal(folder)
        self._queue = FileLock(folder / ".queue.lock")
        name, pruning = plan.sweep.name, plan.sweep.pruning
        if data:
            optuna.create_study(study_name=name, storage=self.storage, load_if_exists=True)
        pruner: BasePruner = NopPruner()
        if pruning:
            pruner = MedianPruner(pruning.startup_trials, pruning.warmup_epochs)
        try:
            self.optuna = optuna.load_study(study_name=name, storage=self.storage, pruner=pruner)
        except KeyError:
            raise InputError(f"sweep {name}: not in {place}; run it first") from None
        wanted = plan.fixed() | ({"data": data} if data else {})
        if "fixed" not in self.optuna.user_attrs:
            self.optuna.set_user_attr("fixed", wanted)
        begun = self.optuna.user_attrs["fixed"]
        changed = [key for key in wanted if begun.get(key) != wanted[key]]
        if changed:
            raise InputError(
                f"sweep {name}: was begun with other {changed[0]} ({place}); give the sweep "
                "another name, or remove that study"
            )

    def trials(self) -> list[SweepTrial]:
        """List the trials by number, begun or not."""
        attempts: dict[int, list] = {number: [] for number in range(self.plan.n_trials)}
        for attempt in self.optuna.get_trials(deepcopy=False):
            if "number" in attempt.user_attrs and "superfluous" not in attempt.user_attrs:
                attempts.setdefault(attempt.user_attrs["number"], []).append(attempt)
        for number in range(self.plan.n_trials):
            planned = {"fixed_params": self.plan.grid[number] if self.plan.grid else {}}
            if not attempts[number]:
                attempts[number] = [create_trial(state=TrialState.WAITING, system_attrs=planned)]
        return [SweepTrial(number, tuple(attempts[number])) for number in sorted(attempts)]

    def retry_failed(self) -> None:
        """Queue the failed trials again."""
        with self._queue:
            self._fail_dead()
            for trial in self.trials():
                if trial.state == "failed":
                    self._enqueue(trial)

    def run_next(self, run: Callable[[Trial, int, Settings], float]) -> bool:
        """Run the next trial that is neither running nor ended; return False if there is none.

        ``run`` may raise `TrialFailed` after it has set a user attribute: ``error`` if the trial
        has failed, ``stopped`` if it is to continue; without either, it counts as killed.
        """
        self._held: BaseFileLock | None = None
        self._queue.acquire()
        try:
            self._fail_dead()
            trials = self.trials()[: self.plan.n_trials]
            trial = next((t for t in trials if t.state in ("waiting", "interrupted")), None)
            if trial is None:
                return False
            if trial.attempt.number < 0 or trial.state == "interrupted":  # not queued yet
                self._enqueue(trial)
            self.optuna.sampler = _sampler(self.plan.sweep.search, trial.number)
            self.optuna.optimize(partial(self._attempt, run), n_trials=1, catch=(TrialFailed,))
        except _TakenOver as error:
            print(error, flush=True)
        finally:
            self._queue.release()
            if self._held:
                self._held.release()  # after the state is stored, see `_fail_dead`
        return True

    def _attempt(self, run: Callable[[Trial, int, Settings], float], trial: Trial) -> float:
        number = trial.user_attrs.get("number")
        # another machine, which has a queue lock of its own, may have been faster
        rivals = () if number is None else self.trials()[number].attempts
        if number is None or any(
            a.state in (TrialState.COMPLETE, TrialState.PRUNED)
            or (a.state == TrialState.RUNNING and a.number < trial.number)
            for a in rivals
        ):
            trial.set_user_attr("superfluous", True)
            raise TrialFailed
        self._held = self._trial_lock(number)
        self._held.acquire()
        self._queue.release()
        try:
            axes = self.plan.sweep.axes.items()
            return run(trial, number, {key: _suggest(trial, key, axis) for key, axis in axes})
        except UpdateFinishedTrialError:
            raise _TakenOver(f"trial {number}: another worker has taken it over") from None

    def _enqueue(self, trial: SweepTrial) -> None:
        self.optuna.enqueue_trial(trial.settings, user_attrs={"number": trial.number})

    def _trial_lock(self, number: int) -> BaseFileLock:
        return FileLock(self.folder / "trials" / f".{number:03d}.lock")

    def _fail_dead(self) -> None:
        """Fail the running attempts whose worker is dead."""
        if isinstance(self.storage, RDBStorage):
            return optuna.storages.fail_stale_trials(self.optuna)
        for attempt in self.optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            lock = self._trial_lock(attempt.user_attrs.get("number", 0))
            with suppress(Timeout), lock.acquire(timeout=0):
                # a worker that finished it meanwhile has stored so before freeing the lock
                self.optuna.tell(attempt.number, state=TrialState.FAIL, skip_if_finished=True)
        return None


def read_result(folder: Path) -> dict:
    """Collect the result of a run, complete or not, as JSON.

    The keys are ``history`` (lists of the columns `CURVES`), ``epochs`` (of all folds),
    ``training_minutes``, ``windows_per_second`` (median over the epochs); of a finished run also
    ``scores`` and ``prior`` (both scores, nats) and ``parameters``.
    """
    result: dict[str, Any] = {}
    if any(folder.glob("fold*/history.csv")):
        history = read_history(folder)
        curves = history[CURVES].astype(object)
        result |= {
            "history": curves.where(curves.notna(), None).to_dict("list"),
            "epochs": len(history),
            "training_minutes": float(history["seconds"].sum() / 60),
            "windows_per_second": float(history["windows_per_second"].median()),
        }
    if (folder / "metrics.json").is_file():
        scores = read_metrics(folder)["scores"]
        result |= {"scores": scores["model"], "prior": scores["prior"]}
    for weights in sorted(folder.glob("fold*/model.weights.h5"))[:1]:
        result["parameters"] = count_parameters(weights)
    return result


def count_parameters(weights: Path) -> int:
    """Count the parameters in a weights file, without the states of random generators."""
    items: list[h5py.Group | h5py.Dataset] = []
    with h5py.File(weights) as file:
        file.visititems(lambda _, item: items.append(item))
        return sum(
            item.size for item in items if isinstance(item, h5py.Dataset) and item.dtype.kind == "f"
        )


def _sampler(search: Search | None, number: int) -> BaseSampler:
    """Make a sampler with a seed of the trial's own: workers draw different numbers."""
    seed = 1000 * search.seed + number if search else None
    if search and search.sampler == "tpe":
        return TPESampler(seed=seed, constant_liar=True)
    return RandomSampler(seed)


def _suggest(trial: Trial, key: str, axis: tuple | Range):
    if not isinstance(axis, Range):
        return trial.suggest_categorical(key, [label(value) for value in axis])
    low, high, step = axis.low, axis.high, axis.step
    if isinstance(low, int) and isinstance(high, int) and isinstance(step, int | None):
        return trial.suggest_int(key, low, high, step=step or 1, log=axis.log)
    return trial.suggest_float(key, low, high, step=step, log=axis.log)


def _open_journal(folder: Path) -> BaseStorage:
    path, lock = folder / "journal.log", FileLock(folder / ".journal.lock")
    # Optuna cannot read past a line cut off by a full disk, or zeros left by a power failure
    with lock:
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        good = list(itertools.takewhile(_is_record, lines))
        if any(map(_is_record, lines[len(good) :])):
            raise InputError(
                f"{path}: line {len(good) + 1} is damaged; restore the file, or remove the folder "
                "to begin the sweep again"
            )
        if len(good) < len(lines):
            os.truncate(path, sum(map(len, good)))
    return JournalStorage(JournalFileBackend(str(path), lock))  # type: ignore[arg-type]


def _is_record(line: bytes) -> bool:
    try:
        return line.endswith(b"\n") and isinstance(json.loads(line), dict)
    except ValueError:  # UnicodeDecodeError as well
        return False


def _open_database(url: str) -> BaseStorage:
    shown = "URL"
    try:
        shown = make_url(url).render_as_string(hide_password=True)
        # with pings it reconnects if cut off; without four heartbeats a worker counts as dead
        engine, grace = {"pool_pre_ping": True}, 4 * HEARTBEAT
        return RDBStorage(url, engine, heartbeat_interval=HEARTBEAT, grace_period=grace)
    except (ArgumentError, ImportError, SQLAlchemyError) as error:
        reason = "" if shown == "URL" else f" ({one_line(getattr(error, 'orig', None) or error)})"
        raise InputError(
            f"storage {shown}: cannot be used{reason}; check server and URL, "
            'postgresql+psycopg://user:password@host/database, and: pip install "psycopg[binary]"'
        ) from None

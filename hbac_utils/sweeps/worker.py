"""Work on a sweep: take one trial after the other until none is left.

A trial is a training notebook executed in a folder of its own, which is a run. A trial that is run
again continues after its last epoch. Workers, on one machine or several, coordinate through the
study's storage alone.
"""

import math
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.exceptions import UpdateFinishedTrialError

from hbac_utils.data.competition import Competition
from hbac_utils.data.store import digest
from hbac_utils.notebooks import run_notebook
from hbac_utils.recipe import save_recipe
from hbac_utils.sweeps.config import Settings, SweepPlan, describe
from hbac_utils.sweeps.study import SweepStudy, TrialFailed, read_result
from hbac_utils.training.runs import STOP, is_complete
from hbac_utils.utils.commands import terminable
from hbac_utils.utils.errors import DiskError, InputError, KernelDied
from hbac_utils.utils.files import writing

PERIOD = 1.0  # s, between two checks of a running trial, and two looks for a trial


@dataclass(frozen=True)
class TrialRun:
    """A trial's run: its folder, folds, and the parameters of its training notebook."""

    number: int
    folder: Path
    folds: tuple[int, ...]
    parameters: dict[str, Any]

    @property
    def is_complete(self) -> bool:
        """Whether every fold is trained."""
        return all(is_complete(self.folder / f"fold{fold}") for fold in self.folds)

    @contextmanager
    def logged(self) -> Iterator[None]:
        """Append what is printed to ``log.txt`` in the folder, created if needed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log.txt").open("a", encoding="utf-8") as log:  # noqa: SIM117
            with redirect_stdout(log), redirect_stderr(log):
                yield


def execute_notebook(run: TrialRun) -> None:
    """Run the training notebook on this machine; its output goes to ``log.txt``."""
    with run.logged():
        run_notebook("training", run.parameters, run.folder)


@dataclass(frozen=True)
class SweepJob:
    """Everything a worker needs, picklable."""

    plan: SweepPlan
    folder: Path  # of the sweep
    stop: Path  # workers stop if this file exists
    competition: str
    store: str
    data: str  # fingerprint of the training data
    storage: str  # URL of a database
    execute: Callable[[TrialRun], None]  # trains a trial into its folder

    def study(self) -> SweepStudy:
        """Open the study, created if needed."""
        return SweepStudy(self.plan, self.folder, self.storage, self.data)

    def trial_run(self, number: int, settings: Settings, max_hours: float = 0) -> TrialRun:
        """Collect folder, folds and notebook parameters of a trial; zero hours are no limit."""
        plan, folder = self.plan, self.folder / "trials" / f"{number:03d}"
        recipe = self.folder / "recipes" / f"{Path(plan.base(settings)).stem}.json"
        folds = plan.sweep.folds or tuple(range(plan.recipe(settings).data.folds))
        parameters = {
            "data": self.competition, "store": self.store, "run": str(folder),
            "recipe": str(recipe), "overrides": plan.sweep.overrides | plan.changes(settings),
            "folds": ",".join(map(str, folds)), "max_hours": max_hours,
        }  # fmt: skip
        return TrialRun(number, folder, folds, parameters)


def prepare(
    plan: SweepPlan, competition: Competition, store: Path, out: Path, storage: str = ""
) -> SweepJob:
    """Check a sweep, whose folder will be in ``out``; pack the store if needed.

    Raises InputError if competition, store or storage cannot serve all trials, or the study was
    begun with other settings or data.
    """
    from hbac_utils.data.packing import open_or_pack  # slow import

    recipes = plan.trial_recipes()
    packed = open_or_pack(store.absolute(), competition, recipes[0])
    for recipe in recipes:
        if set(recipe.inputs) - set(packed.inputs):
            packed = open_or_pack(store.absolute(), competition, recipe)
    plan.check(packed)
    # by content: another machine may have the store in another place, or packed more
    used = ("train.csv", *{f"train_{name}s" for recipe in recipes for name in recipe.inputs})
    files = packed.sources.loc[packed.sources["name"].str.startswith(used), ["name", "bytes"]]
    data = f"{digest(files)[:16]} {packed.description['subset']}"
    return begin(plan, out, str(competition.path.absolute()), str(packed.path), data, storage)


def begin(
    plan: SweepPlan,
    out: Path,
    competition: str,
    store: str,
    data: str,
    storage: str = "",
    execute: Callable[[TrialRun], None] = execute_notebook,
) -> SweepJob:
    """Create a sweep's folder, study and copies of its recipes."""
    folder = (out / plan.sweep.name).absolute()
    stop = folder / f".stop-{uuid.uuid4().hex[:8]}"
    job = SweepJob(plan, folder, stop, competition, store, data, storage, execute)
    job.study()  # refuses changed settings before the copies are overwritten
    (folder / "recipes").mkdir(exist_ok=True)
    for name, recipe in plan.originals.items():
        save_recipe(recipe, folder / "recipes" / f"{Path(name).stem}.json")
    return job


def work(job: SweepJob) -> None:
    """Run trials until none is left.

    While others run elsewhere the worker stays, in case one of their workers dies.
    """
    study, hours = job.study(), job.plan.sweep.budget.hours
    end = time.monotonic() + 3600 * hours if hours else math.inf
    with suppress(_OutOfTime), terminable(), writing(job.folder):
        while not _is_over(job, end):
            if study.run_next(partial(_run_trial, job, end)):
                continue
            if not any(trial.state == "running" for trial in study.trials()):
                break
            time.sleep(PERIOD)


class _OutOfTime(Exception):
    """No further epoch fits into the sweep's hours."""


def _is_over(job: SweepJob, end: float) -> bool:
    return time.monotonic() > end or job.stop.exists()


def _run_trial(
    job: SweepJob, end: float, trial: optuna.Trial, number: int, settings: Settings
) -> float:
    """Run one attempt, record and print how it ended; return the objective."""
    print(f"trial {number}  {describe(settings)}", flush=True)
    start, objective = time.monotonic(), job.plan.sweep.objective
    hours = 0 if math.isinf(end) else max(1e-9, (end - start) / 3600)
    run = job.trial_run(number, settings, hours)
    monitor = _Monitor(run, trial, objective, partial(_is_over, job, end))
    try:
        with writing(run.folder), monitor:
            job.execute(run)
        result = read_result(run.folder)
        value = result.get("scores", {}).get(objective)
        if run.is_complete and value is None:
            raise InputError(f"objective: the run has no {objective}; choose another one")
    except (KeyboardInterrupt, DiskError):  # the next trial would not fare better
        with suppress(Exception):  # the storage may be on the same disk
            trial.set_user_attr("stopped", True)
        raise
    except KernelDied as reason:
        print(f"trial {number}  {reason}", flush=True)
        raise TrialFailed from None
    except Exception as reason:
        text = str(reason) if isinstance(reason, InputError) else traceback.format_exc().strip()
        run.folder.mkdir(parents=True, exist_ok=True)
        (run.folder / "error.txt").write_text(text + "\n", encoding="utf-8")
        trial.set_user_attr("error", text)
        with suppress(Exception):  # the files may be incomplete
            trial.set_user_attr("result", read_result(run.folder))
        print(f"trial {number}  failed  {text.splitlines()[-1]}  ({run.folder})", flush=True)
        raise TrialFailed from None
    if not run.is_complete and not monitor.pruned:
        trial.set_user_attr("stopped", True)
        print(f"trial {number}  out of time; the same command continues", flush=True)
        raise _OutOfTime
    (run.folder / "error.txt").unlink(missing_ok=True)
    minutes = (time.monotonic() - start) / 60
    trial.set_user_attr("result", result | {"minutes": minutes})
    if not run.is_complete:
        print(f"trial {number}  pruned after {result['epochs']} epochs", flush=True)
        raise optuna.TrialPruned
    print(f"trial {number}  complete  {objective} {value:.4f}  {minutes:.1f} min", flush=True)
    return value


class _Monitor(threading.Thread):
    """Report a trial's epochs to its study; end the training if it is pruned or time is up."""

    def __init__(
        self, run: TrialRun, trial: optuna.Trial, objective: str, is_over: Callable[[], bool]
    ):
        super().__init__(daemon=True)
        # only the first fold is reported: epochs of another one are not comparable
        self.history = run.folder / f"fold{run.folds[0]}" / "history.csv"
        self.stop = run.folder / STOP
        self.trial, self.objective, self.is_over = trial, objective, is_over
        self.pruned = False
        self._ended = threading.Event()
        self._reported = 0  # epochs

    def __enter__(self) -> None:
        self.stop.unlink(missing_ok=True)
        self.start()

    def __exit__(self, *_) -> None:
        self._ended.set()
        self.join()
        self.stop.unlink(missing_ok=True)

    def run(self) -> None:
        """Check the trial until it has ended or is told to end, and once more when it has."""
        ended = False
        while not ended:
            ended = self._ended.wait(PERIOD)
            try:
                self._report(ended)
                if self.pruned or self.is_over():
                    self.stop.touch()
            except UpdateFinishedTrialError:  # another worker has taken the trial over
                self.stop.touch()
            except Exception as error:  # a database may be unreachable for a moment
                print(f"epochs not reported ({error!r})", flush=True)

    def _report(self, ended: bool) -> None:
        history = pd.read_csv(self.history) if self.history.is_file() else pd.DataFrame()
        for row in history.iloc[self._reported :].to_dict("records"):
            self._reported += 1
            if not math.isnan(row[self.objective]) and not self.stop.exists():
                self.trial.report(row[self.objective], int(row["epoch"]))
                self.pruned = self.pruned or (not ended and self.trial.should_prune())

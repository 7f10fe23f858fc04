"""Run a sweep: workers take one trial after the other until none is left.

A trial is a training notebook executed in a folder of its own, which is a run. A trial that is run
again continues after its last epoch. Workers, on one machine or several, coordinate through the
study's storage alone.
"""

import math
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
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

import joblib
import optuna
import pandas as pd
from optuna.exceptions import UpdateFinishedTrialError

from hbac_utils.data.competition import Competition
from hbac_utils.data.store import digest
from hbac_utils.notebooks import run_notebook
from hbac_utils.recipe import save_recipe
from hbac_utils.sweeps.config import Settings, SweepPlan, describe
from hbac_utils.sweeps.study import ENDED, SweepStudy, TrialFailed, read_result
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


def run_sweep(
    job: SweepJob, workers: int | None = None, dask: str = "", retry_failed: bool = False
) -> bool:
    """Run a sweep until its trials have ended or its time is up; return False if they had ended.

    ``dask`` is the address of a scheduler; by default each of its worker processes runs one trial
    at a time, and this machine as many as the sweep file says.
    """
    study = job.study()
    if retry_failed:
        study.retry_failed()
    if all(trial.state in ENDED for trial in study.trials()[: job.plan.n_trials]):
        return False
    n_processes = workers or job.plan.sweep.workers
    with terminable():
        if dask:
            _run_on_cluster(job, dask, workers)
        elif n_processes == 1:
            work(job)
        else:
            _run_processes(job, n_processes)
    return True


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


def _run_processes(job: SweepJob, workers: int) -> None:
    spawn = multiprocessing.get_context("spawn").Process
    processes = [spawn(target=_work_in_process, args=(job, i, workers)) for i in range(workers)]
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    finally:  # after Ctrl-C
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()
    codes = [process.exitcode for process in processes]
    for worker, code in enumerate(codes):
        if code:
            print(f"worker {worker} ended with exit code {code}", file=sys.stderr)
    if InputError.exit_code in codes:
        raise InputError(f"{job.folder}: not all workers could run, see above")


def _work_in_process(job: SweepJob, worker: int, workers: int) -> None:
    def end_with_parent() -> None:
        multiprocessing.parent_process().join()  # type: ignore[union-attr]
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent passes Ctrl-C on, once
    threading.Thread(target=end_with_parent, daemon=True).start()
    os.environ.update(device_share(worker, workers))
    try:
        work(job)
    except KeyboardInterrupt:
        sys.exit(130)
    except InputError as error:
        print(f"worker {worker}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def device_share(worker: int, workers: int) -> dict[str, str]:
    """Return the environment variables that give one of several workers its cores and GPU.

    Variables that the user has set are kept, and visible GPUs divided.
    """
    threads = str(max(1, joblib.cpu_count() // workers))
    share = {"TF_NUM_INTRAOP_THREADS": threads, "OMP_NUM_THREADS": threads}
    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    if names is None and shutil.which("nvidia-smi"):
        command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        names = found.stdout.replace("\n", ",") if found.returncode == 0 else ""
    gpus = [name for name in (names or "").split(",") if name not in ("", "-1")]
    if gpus:  # TensorFlow would take all memory of every GPU
        share["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
    share = {name: value for name, value in share.items() if name not in os.environ}
    return share | ({"CUDA_VISIBLE_DEVICES": gpus[worker % len(gpus)]} if gpus else {})


def _run_on_cluster(job: SweepJob, scheduler: str, workers: int | None) -> None:
    from distributed import KilledWorker, as_completed, wait

    from hbac_utils.data.cluster import check_workers, connect

    with connect(scheduler) as client:
        check_workers(client, scheduler, job.folder)
        futures = [
            # if its process dies, another one takes its place
            client.submit(work, job, workers=[address], allow_other_workers=True, pure=False)
            for address in list(client.nthreads())[:workers]
        ]
        try:
            for future in as_completed(futures, loop=client.loop):
                try:
                    future.result()
                except KilledWorker as error:
                    print(f"dask {scheduler}: {error}", file=sys.stderr)
        except KeyboardInterrupt:
            print("stopping after the current epochs", file=sys.stderr, flush=True)
            job.stop.touch()
            with client.as_current():
                wait(futures)
            job.stop.unlink()
            raise

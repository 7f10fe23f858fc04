"""Run a sweep: workers take one trial after the other until none is left.

Workers are processes of this machine, of others with the same storage, or of a Dask cluster. They
coordinate through the storage alone.
"""

import math
import multiprocessing
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import joblib
import optuna

from hbac_utils.data.competition import Competition
from hbac_utils.data.store import digest
from hbac_utils.recipe import save_recipe
from hbac_utils.sweeps.config import Settings, SweepPlan, describe
from hbac_utils.sweeps.study import ENDED, SweepStudy, TrialFailed
from hbac_utils.sweeps.trials import Execute, TrialMonitor, TrialRun, execute_notebook, read_result
from hbac_utils.utils.errors import DiskError, InputError, KernelDied
from hbac_utils.utils.files import writing
from hbac_utils.utils.process import terminable

PERIOD = 2.0  # s, between two looks for a trial while the last ones run elsewhere


@dataclass(frozen=True)
class SweepJob:
    """Everything a worker needs, picklable."""

    plan: SweepPlan
    folder: Path  # of the sweep
    stop: Path  # workers stop if this file exists
    competition: str
    store: str
    data: str  # fingerprint of the training data
    storage: str = ""  # URL of a database
    execute: Execute = execute_notebook

    def study(self) -> SweepStudy:
        """Open the study, created if needed."""
        return SweepStudy(self.plan, self.folder, self.storage, self.data)

    def trial_run(self, number: int, settings: Settings, max_hours: float = 0) -> TrialRun:
        """Collect folder, folds and notebook parameters of a trial; zero hours are no limit."""
        plan, folder = self.plan, self.folder / "trials" / f"{number:03d}"
        folds = plan.sweep.folds or tuple(range(plan.recipe(settings).data.folds))
        parameters = {
            "data": self.competition,
            "store": self.store,
            "run": str(folder),
            "recipe": str(self.recipe_path(plan.base(settings))),
            "overrides": plan.sweep.overrides | plan.changes(settings),
            "folds": ",".join(map(str, folds)),
            "max_hours": max_hours,
        }
        return TrialRun(number, folder, folds, parameters)

    def recipe_path(self, name: str) -> Path:
        """Return the path of the sweep's copy of a recipe."""
        return self.folder / "recipes" / f"{Path(name).stem}.json"


def prepare(
    plan: SweepPlan, competition: Competition, store: Path, out: Path, storage: str = ""
) -> SweepJob:
    """Check a sweep, whose folder will be in ``out``; pack the store if needed.

    Raises
    ------
    InputError
        If competition, store or storage cannot serve all trials, or the study was begun with
        other settings or data.
    """
    from hbac_utils.data.packing import open_or_pack  # slow import

    packed = open_or_pack(store.absolute(), competition, next(iter(plan.recipes.values())))
    plan.check(packed)
    # by content: another machine may have the store in another place
    data = f"{digest(packed.sources[['name', 'bytes']])[:16]} {packed.description['subset']}"
    path = str(competition.path.absolute())
    return begin(plan, out, competition=path, store=str(packed.path), data=data, storage=storage)


def begin(plan: SweepPlan, out: Path, **options: Any) -> SweepJob:
    """Create a sweep's folder, study and copies of its recipes."""
    folder = (out / plan.sweep.name).absolute()
    job = SweepJob(plan, folder, folder / f".stop-{uuid.uuid4().hex[:8]}", **options)
    job.study()  # refuses changed settings before the copies are overwritten
    (folder / "recipes").mkdir(exist_ok=True)
    for name, recipe in plan.originals.items():
        save_recipe(recipe, job.recipe_path(name))
    return job


def run_sweep(
    job: SweepJob, workers: int | None = None, dask: str = "", retry_failed: bool = False
) -> bool:
    """Run a sweep until its trials have ended or its time is up; return False if they had ended.

    Parameters
    ----------
    workers : int, optional
        Concurrent trials; default: as the sweep file says, on a cluster one per worker process.
    dask : str
        Address of a Dask scheduler.
    """
    study = job.study()
    if retry_failed:
        study.retry_failed()
    if all(trial.state in ENDED for trial in study.trials()[: job.plan.n_trials]):
        return False
    with terminable():
        if dask:
            _run_on_cluster(job, dask, workers)
        elif (workers or job.plan.sweep.workers) == 1:
            work(job)
        else:
            _run_processes(job, workers or job.plan.sweep.workers)
    return True


def work(job: SweepJob) -> None:
    """Run trials until none is left.

    While others run elsewhere the worker stays, in case one of their workers dies.
    """
    hours = job.plan.sweep.budget.hours
    end = time.monotonic() + 3600 * hours if hours else math.inf

    def is_over() -> bool:
        return time.monotonic() > end or job.stop.exists()

    def run(trial: optuna.Trial, number: int, settings: Settings) -> float:
        nonlocal end
        left = max(1e-9, (end - time.monotonic()) / 3600) if hours else 0
        print(f"trial {number}  {describe(settings)}", flush=True)
        try:
            return _run_trial(job, trial, job.trial_run(number, settings, left), is_over)
        except _OutOfTime:  # another epoch would not fit in
            end = 0.0
            raise

    study = job.study()
    with terminable(), writing(job.folder):
        while not is_over():
            if study.run_next(run):
                continue
            if not any(trial.state == "running" for trial in study.trials()):
                break
            time.sleep(PERIOD)


class _OutOfTime(TrialFailed):
    """End of an attempt that the next call of the sweep continues."""


def _run_trial(
    job: SweepJob, trial: optuna.Trial, run: TrialRun, is_over: Callable[[], bool]
) -> float:
    """Run one attempt, record and print how it ended; return the objective."""
    objective, start = job.plan.sweep.objective, time.monotonic()
    monitor = TrialMonitor(run, trial, objective, is_over)
    result: dict = {"host": platform.node()}
    error, error_file = "", run.folder / "error.txt"
    error_file.unlink(missing_ok=True)
    try:
        with writing(run.folder), monitor:
            job.execute(run)
        result |= read_result(run.folder)
        value = result.get("scores", {}).get(objective)
        if run.is_complete and value is None:
            raise InputError(f"objective: the run has no {objective}; choose another one")
    except (KeyboardInterrupt, DiskError) as reason:  # the next trial would not fare better
        with suppress(Exception):  # the storage may be on the same disk
            trial.set_user_attr("stopped", "disk" if isinstance(reason, DiskError) else "by hand")
        raise
    except KernelDied as reason:
        print(f"trial {run.number}  {reason}", flush=True)
        raise TrialFailed from None
    except Exception as reason:
        error = str(reason) if isinstance(reason, InputError) else traceback.format_exc().strip()
        error_file.parent.mkdir(parents=True, exist_ok=True)
        error_file.write_text(error + "\n", encoding="utf-8")
        with suppress(Exception):  # the files may be incomplete
            result |= read_result(run.folder)
    result["minutes"] = (time.monotonic() - start) / 60
    end: Exception | None = None
    attributes: dict = {"result": result}
    if error:
        text, end = f"failed  {error.splitlines()[-1]}  ({error_file})", TrialFailed()
        attributes["error"] = error
    elif run.is_complete:
        text = f"complete  {objective} {value:.4f}"
    elif monitor.pruned and not monitor.stopped:
        text, end = f"pruned after {result.get('epochs', 0)} epochs", optuna.TrialPruned()
    else:
        text, end = "out of time; the same command continues", _OutOfTime()
        attributes = {"stopped": "out of time"}
    for name, attribute in attributes.items():
        trial.set_user_attr(name, attribute)
    print(f"trial {run.number}  {text}  {result['minutes']:.1f} min", flush=True)
    if end:
        raise end
    return value


def _run_processes(job: SweepJob, workers: int) -> None:
    context = multiprocessing.get_context("spawn")
    errors = context.SimpleQueue()
    processes = [
        context.Process(target=_work_in_process, args=(job, i, workers, errors), name=f"worker {i}")
        for i in range(workers)
    ]
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    except KeyboardInterrupt:
        for process in processes:
            process.terminate()
        raise
    finally:
        for process in processes:
            process.join()
    for process in processes:
        if process.exitcode and process.exitcode < 0:
            name = signal.Signals(-process.exitcode).name
            print(f"{process.name} was killed by {name}", file=sys.stderr)
    if not errors.empty():
        raise InputError(errors.get())


def _work_in_process(job: SweepJob, worker: int, workers: int, errors: SimpleQueue) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent passes Ctrl-C on, once
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.update(device_share(worker, workers))
    try:
        work(job)
    except KeyboardInterrupt:
        sys.exit(130)
    except InputError as error:
        errors.put(str(error))
        sys.exit(error.exit_code)


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def device_share(worker: int, workers: int) -> dict[str, str]:
    """Return the environment variables that give one of several workers its cores and GPU.

    Without them TensorFlow would take the memory of all GPUs in every trial. Variables that the
    user has set are kept, and visible GPUs divided.
    """
    if workers == 1:
        return {}
    threads = str(max(1, joblib.cpu_count() // workers))
    share = {"TF_NUM_INTRAOP_THREADS": threads, "OMP_NUM_THREADS": threads}
    gpus = _visible_gpus()
    if gpus:
        share["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
    share = {name: value for name, value in share.items() if name not in os.environ}
    return share | ({"CUDA_VISIBLE_DEVICES": gpus[worker % len(gpus)]} if gpus else {})


def _visible_gpus() -> list[str]:
    """List the GPUs of this process as ``CUDA_VISIBLE_DEVICES`` names them."""
    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    if names is None and shutil.which("nvidia-smi"):
        command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        names = found.stdout.replace("\n", ",") if found.returncode == 0 else ""
    return [name for name in (names or "").split(",") if name not in ("", "-1")]


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

"""Running a sweep: a worker takes one trial after the other until none is left.

All workers do the same, be they processes of this machine, of others with the same storage, or
of a Dask cluster; none of them knows of the others but through the storage.
"""

import multiprocessing
import os
import platform
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.queues import SimpleQueue

from hbac_utils.data import packing as cluster
from hbac_utils.sweeps.config import describe
from hbac_utils.sweeps.devices import share
from hbac_utils.sweeps.jobs import Job
from hbac_utils.sweeps.study import ENDED, Claim
from hbac_utils.sweeps.trials import Task, Watcher, objective_value, read_result
from hbac_utils.utils.errors import DiskError, InputError, KernelDied
from hbac_utils.utils.files import writing
from hbac_utils.utils.process import terminable

ERROR = "error.txt"
"""In a trial's folder: why it failed."""

PERIOD = 2.0
"""Seconds between two looks for a trial, while those that are left run elsewhere."""


def run(job: Job, workers: int | None = None, dask: str = "", retry_failed: bool = False) -> bool:
    """Run a sweep until its trials have ended, its time is up, or it is interrupted.

    Parameters
    ----------
    job : Job
    workers : int, optional
        How many at once; as the sweep file says, on a cluster one in each of its processes.
    dask : str
        Address of a Dask scheduler whose workers do the trials.
    retry_failed : bool
        Try again what has failed.

    Returns
    -------
    bool
        Whether there was anything to do.

    Raises
    ------
    InputError
        If the cluster cannot be used.
    """
    study = job.study()
    study.fill(retry_failed)
    if all(slot.state in ENDED for slot in study.slots()):
        return False
    count = workers or job.plan.sweep.workers
    try:
        with terminable():
            if dask:
                _run_on_cluster(job, dask, workers)
            elif count == 1:
                work(job)
            else:
                _run_processes(job, count)
    finally:
        job.stop.unlink(missing_ok=True)
    return True


def work(job: Job) -> int:
    """Do trials until none is left that this worker could do.

    While others run elsewhere it stays, in case one of their workers dies.

    Returns
    -------
    int
        How many trials were begun.
    """
    study, begun = job.study(), 0
    with terminable(), writing(job.folder):
        while not job.is_over:
            study.recover()
            claim = study.claim()
            if claim is not None:
                begun += 1
                attempt(job, claim)
            elif any(slot.state in ("running", "interrupted") for slot in study.slots()):
                time.sleep(PERIOD)
            else:
                break
    return begun


def attempt(job: Job, claim: Claim) -> None:
    """Do one trial, and tell the study how it ended."""
    task, begun = job.task(claim), time.monotonic()
    print(f"trial {task.number}  {describe(task.settings)}", flush=True)
    try:
        tell, said = _outcome(job, task, claim)
    except KeyboardInterrupt:
        claim.interrupt("by hand")
        raise
    except DiskError:
        with suppress(OSError):  # the study may lie on the same disk
            claim.interrupt("by the disk")
        raise
    tell()
    minutes = (time.monotonic() - begun) / 60
    print(f"trial {task.number}  {said}  {minutes:.1f} min", flush=True)


def _outcome(job: Job, task: Task, claim: Claim) -> tuple[Callable[[], None], str]:
    """Execute a trial; return what is to be told the study, and what to print."""
    sweep, begun = job.plan.sweep, time.monotonic()
    watcher = Watcher(task, claim, sweep.objective, sweep.pruning is not None, lambda: job.is_over)
    (task.folder / ERROR).unlink(missing_ok=True)
    result: dict = {"host": platform.node()}
    try:
        with writing(task.folder), watcher:
            job.execute(task)
        result |= read_result(task.folder) | {"minutes": (time.monotonic() - begun) / 60}
        if task.is_complete:
            value = objective_value(result, sweep.objective)
            return partial(
                claim.complete, value, result
            ), f"complete  {sweep.objective} {value:.4f}"
    except KernelDied:
        return claim.die, "the notebook's process was killed; the trial is queued again"
    except DiskError:  # not the trial's fault, and the others would fare no better
        raise
    except Exception as error:  # whatever it is, the other trials go on
        return _failure(task, claim, error, result)
    if watcher.pruned and not watcher.stopped:
        return partial(claim.prune, result), f"pruned after {result.get('epochs', 0)} epochs"
    return partial(claim.interrupt, "out of time"), "out of time; the same command goes on"


def _failure(
    task: Task, claim: Claim, error: Exception, result: dict
) -> tuple[Callable[[], None], str]:
    said = str(error) if isinstance(error, InputError) else traceback.format_exc()
    path = task.folder / ERROR
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(said + "\n", encoding="utf-8")
    with suppress(Exception):  # what is there may be half written
        result |= read_result(task.folder)
    last = said.strip().splitlines()[-1]
    return partial(claim.fail, said, result), f"failed  {last}  ({path})"


def _run_processes(job: Job, workers: int) -> None:
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
        for process in processes:
            process.join()
        raise
    for process in processes:
        if process.exitcode < 0:
            name = signal.Signals(-process.exitcode).name
            print(f"{process.name} was killed by {name}; its trial was put back", file=sys.stderr)
    if not errors.empty():
        raise InputError(errors.get())


def _work_in_process(job: Job, worker: int, workers: int, errors: SimpleQueue) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent passes Ctrl-C on, once
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.update(share(worker, workers))
    try:
        work(job)
    except KeyboardInterrupt:
        sys.exit(130)
    except InputError as error:
        errors.put(str(error))
        sys.exit(error.exit_code)


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os.kill(os.getpid(), signal.SIGTERM)


def _run_on_cluster(job: Job, scheduler: str, most: int | None) -> None:
    from distributed import KilledWorker, as_completed, wait

    with cluster.connect(scheduler) as client:
        cluster.check_workers(client, scheduler, job.folder)
        futures = [
            # should its process die, another one goes on
            client.submit(work, job, workers=[address], allow_other_workers=True, pure=False)
            for address in list(client.nthreads())[:most]
        ]
        try:
            for future in as_completed(futures, loop=client.loop):
                try:
                    future.result()
                except KilledWorker as error:
                    print(f"dask {scheduler}: {error}", file=sys.stderr)
        except KeyboardInterrupt:
            print("stopping after the epochs that run", file=sys.stderr, flush=True)
            job.stop.touch()
            with client.as_current():
                wait(futures)
            raise

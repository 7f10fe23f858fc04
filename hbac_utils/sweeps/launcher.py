"""Run a sweep by one worker, by several processes, or by the workers of a Dask cluster."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading

import joblib

from hbac_utils.sweeps.study import ENDED
from hbac_utils.sweeps.worker import SweepJob, work
from hbac_utils.utils.commands import terminable
from hbac_utils.utils.errors import InputError


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

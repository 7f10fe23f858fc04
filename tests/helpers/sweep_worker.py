"""Sweeps without training: a job on fake trials, and workers in processes of their own.

python tests/helpers/sweep_worker.py JOB      runs the trials of a pickled job
"""

import json
import os
import pickle
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import h5py
import pandas as pd

from hbac_utils.sweeps import study as studies
from hbac_utils.sweeps.config import Sweep, SweepPlan
from hbac_utils.sweeps.worker import SweepJob, TrialRun, begin, work
from hbac_utils.training.runs import STOP

EPOCHS = 2
PARAMETERS = 12
TIMEOUT = 120  # seconds for whatever takes a few


@dataclass(frozen=True)
class FakeTraining:
    """Write what a training of two epochs writes, one epoch per ``seconds``.

    Scores are 1 + dropout, nats; a dropout above 0.8 fails. ``pids`` in the trial's folder lists
    the processes that ran it.
    """

    seconds: float = 0.0

    def __call__(self, run: TrialRun) -> None:
        run.folder.mkdir(parents=True, exist_ok=True)
        with (run.folder / "pids").open("a") as pids:
            pids.write(f"{os.getpid()}\n")
        dropout = run.parameters["overrides"]["dropout"]
        if dropout > 0.8:
            raise RuntimeError("too <b>much</b> dropout")
        for fold in run.folds:
            if not self._train(run.folder / f"fold{fold}", fold, 1 + dropout):
                return
        metrics = {"scores": {"model": both(1 + dropout), "prior": both(1.5)}, "prior": [1 / 6] * 6}
        (run.folder / "metrics.json").write_text(json.dumps(metrics))

    def _train(self, folder: Path, fold: int, score: float) -> bool:
        folder.mkdir(exist_ok=True)
        history = folder / "history.csv"
        done = len(pd.read_csv(history)) if history.exists() else 0
        for epochs in range(done + 1, EPOCHS + 1):
            time.sleep(self.seconds)
            if (folder.parent / STOP).exists():
                return False
            rows = [
                {"fold": fold, "epoch": epoch, "loss": score, "seconds": 60.0}
                | {"windows_per_second": 5.0, **both(score)}
                for epoch in range(epochs)
            ]
            pd.DataFrame(rows).to_csv(folder / "draft", index=False)
            (folder / "draft").replace(history)
        save_weights(folder)
        return True


def both(score: float) -> dict[str, float]:
    return {"kl_all": score, "kl_reliable": score}


def save_weights(fold: Path) -> Path:
    """Save the weights of a layer with twelve parameters, and the state of a generator."""
    with h5py.File(fold / "model.weights.h5", "w") as file:
        file["layers/dense/vars/0"] = [[0.0] * 5] * 2
        file["layers/dense/vars/1"] = [0.0] * 2
        file["layers/dropout/seed_generator/vars/0"] = [0, 0]
    return fold / "model.weights.h5"


def fake_job(folder: Path, content: dict, seconds: float = 0.0, **options) -> SweepJob:
    """Begin a sweep of fake trials with the content of a sweep file."""
    content = {
        "name": "small", "recipe": "demo", "grid": {"dropout": [0.3, 0.1, 0.2]}, "folds": [0],
        "objective": "kl_all",
    } | content  # fmt: skip
    plan = SweepPlan(Sweep(**{key: value for key, value in content.items() if value is not None}))
    options = {"competition": "", "store": "", "data": "none"} | options
    return begin(plan, folder, execute=FakeTraining(seconds), **options)


def states(job: SweepJob) -> list[str]:
    return [trial.state for trial in job.study().trials()]


def pids(job: SweepJob, number: int) -> list[int]:
    path = job.folder / "trials" / f"{number:03d}" / "pids"
    return [int(pid) for pid in path.read_text().split()] if path.exists() else []


def start_worker(job: SweepJob, path: Path, heartbeat: int = 1) -> subprocess.Popen:
    path.write_bytes(pickle.dumps(job))
    command = [sys.executable, __file__, str(path), str(heartbeat)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_until_busy(job: SweepJob, process: subprocess.Popen) -> int:
    """Wait until a process runs a trial; return its number."""
    limit = time.monotonic() + TIMEOUT
    while time.monotonic() < limit:
        assert process.poll() is None, process.stdout and process.stdout.read()
        for number in range(job.plan.n_trials):
            ended = (job.folder / "trials" / f"{number:03d}" / "metrics.json").exists()
            if process.pid in pids(job, number) and not ended:
                return number
        time.sleep(0.02)
    raise TimeoutError


def kill_one_of_two(job: SweepJob, folder: Path) -> int:
    """Kill one of two workers during a trial, wait for the other; return the trial's number."""
    workers = [start_worker(job, folder / f"{i}.pickle") for i in range(2)]
    try:
        killed, _ = (wait_until_busy(job, worker) for worker in workers)
        workers[0].kill()
        printed, _ = workers[1].communicate(timeout=TIMEOUT)
        assert workers[1].returncode == 0, printed
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    return killed


def assert_all_complete(job: SweepJob, killed: int) -> None:
    """Check that every trial was completed once, and the killed one attempted twice."""
    trials = job.study().trials()
    names = [[attempt.state.name for attempt in trial.attempts] for trial in trials]
    once, twice = ["COMPLETE"], ["FAIL", "COMPLETE"]
    assert names == [twice if n == killed else once for n in range(job.plan.n_trials)]
    assert [len(pids(job, n)) for n in range(job.plan.n_trials)] == [len(of) for of in names]


if __name__ == "__main__":
    studies.HEARTBEAT = int(sys.argv[2])
    work(pickle.loads(Path(sys.argv[1]).read_bytes()))

"""One trial: a training notebook run in its own folder, monitored for pruning and time.

The folder is a run with the executed notebook beside it: whatever works on a run works on a
trial. A trial that is run again continues after its last epoch.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import optuna
import pandas as pd
from optuna.exceptions import UpdateFinishedTrialError

from hbac_utils.notebooks import run_notebook
from hbac_utils.training.runs import STOP, is_complete, read_history, read_metrics

PERIOD = 1.0  # s, between two checks of a running trial
CURVES = ["fold", "epoch", "loss", "kl_all", "kl_reliable"]  # columns kept in the storage


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


def execute_notebook(run: TrialRun) -> None:
    """Run the training notebook on this machine; its output goes to ``log.txt``."""
    with logged(run.folder):
        run_notebook("training", run.parameters, run.folder)


@contextmanager
def logged(folder: Path) -> Iterator[None]:
    """Append what is printed to ``log.txt`` in a trial's folder, created if needed."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("a", encoding="utf-8") as log:  # noqa: SIM117
        with redirect_stdout(log), redirect_stderr(log):
            yield


class TrialMonitor(threading.Thread):
    """Reports a trial's epochs to its study; ends the training if it is pruned or time is up.

    ``pruned`` and ``stopped`` say whether the pruner or something else ended it.
    """

    def __init__(
        self, run: TrialRun, trial: optuna.Trial, objective: str, is_over: Callable[[], bool]
    ):
        super().__init__(daemon=True)
        self.folder, self.first_fold = run.folder, f"fold{run.folds[0]}"
        self.trial, self.objective, self.is_over = trial, objective, is_over
        self.pruned = self.stopped = False
        self._ended = threading.Event()
        self._reported = 0  # epochs

    def __enter__(self) -> None:
        (self.folder / STOP).unlink(missing_ok=True)
        self.start()

    def __exit__(self, *_) -> None:
        self._ended.set()
        self.join()
        (self.folder / STOP).unlink(missing_ok=True)

    def run(self) -> None:
        """Check the trial until it has ended, and once more then."""
        ended = False
        while not ended:
            ended = self._ended.wait(PERIOD)
            try:
                if not self.stopped:
                    self._report(ended)
                self.stopped = self.stopped or self.is_over()
                if self.pruned or self.stopped:
                    (self.folder / STOP).touch()
            except UpdateFinishedTrialError:  # another worker has taken the trial over
                self.stopped = True
            except Exception as error:  # a database may be unreachable for a moment
                print(f"epochs not reported ({error!r})", flush=True)

    def _report(self, ended: bool) -> None:
        # only of the first fold: epochs of another one are not comparable
        path = self.folder / self.first_fold / "history.csv"
        if not path.is_file():
            return
        history = pd.read_csv(path).iloc[self._reported :]
        for row in history.dropna(subset=self.objective).to_dict("records"):
            self.trial.report(row[self.objective], int(row["epoch"]))
            self.pruned = self.pruned or (not ended and self.trial.should_prune())
        self._reported += len(history)


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

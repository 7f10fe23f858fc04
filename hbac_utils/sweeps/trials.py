"""One trial: a training notebook run by papermill into a folder of its own, watched meanwhile.

The folder is a run's, with the executed notebook beside it: everything that works on a run
works on a trial. A trial that is taken up again goes on in its folder where it was.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from hbac_utils.notebooks import run_notebook
from hbac_utils.sweeps.config import Settings
from hbac_utils.training.runs import STOP, is_complete, read_history, read_metrics
from hbac_utils.utils.errors import InputError

PERIOD = 1.0
"""Seconds between two looks at a running trial."""

SHOWN = ("fold", "epoch", "loss", "kl_all", "kl_reliable")
"""Columns of the history that are kept in the storage, for the curves of the report."""


@dataclass(frozen=True)
class Task:
    """What a trial is to do.

    Attributes
    ----------
    number : int
    settings : dict
        For messages.
    competition : str
    store, recipe : Path
    overrides : dict
        Of the recipe: dotted keys and values.
    folder : Path
    folds : sequence of int
    max_hours : float
        Zero: no limit.
    """

    number: int
    settings: Settings
    competition: str
    store: Path
    recipe: Path
    overrides: dict[str, Any]
    folder: Path
    folds: tuple[int, ...]
    max_hours: float = 0

    @property
    def parameters(self) -> dict[str, Any]:
        """Of the training notebook."""
        return {
            "data": self.competition,
            "store": str(self.store),
            "run": str(self.folder),
            "recipe": str(self.recipe),
            "overrides": self.overrides,
            "folds": ",".join(map(str, self.folds)),
            "max_hours": self.max_hours,
        }

    @property
    def is_complete(self) -> bool:
        """Whether every fold has been trained to its end."""
        return all(is_complete(self.folder / f"fold{fold}") for fold in self.folds)


Execute = Callable[[Task], None]
"""Does a task: fills its folder with a run, returns when that has ended, raises what goes wrong."""


def execute_notebook(task: Task) -> None:
    """Run the training notebook here; what it prints goes to ``log.txt`` in the task's folder."""
    with logged(task.folder):
        run_notebook("training", task.parameters, task.folder)


@contextmanager
def logged(folder: Path) -> Iterator[None]:
    """Write what is printed meanwhile to ``log.txt`` in a trial's folder, made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("a", encoding="utf-8") as log:  # noqa: SIM117
        with redirect_stdout(log), redirect_stderr(log):
            yield


class Watcher(threading.Thread):
    """Carries what a running trial has reached to its study, and a wish to end it back.

    The training runs in the notebook's process. Its history is a file that is replaced after
    each epoch; the file `STOP` makes it stop after one.

    Parameters
    ----------
    task : Task
    claim : study.Claim
    objective : str
        The history's column to report.
    prune : bool
        Whether the pruner is asked.
    is_over : callable
        Whether the sweep was told to stop.

    Attributes
    ----------
    pruned, stopped : bool
        Whether the trial was asked to end, and on whose account.
    """

    def __init__(self, task: Task, claim, objective: str, prune: bool, is_over: Callable[[], bool]):
        super().__init__(name=f"watcher of trial {task.number}", daemon=True)
        self.task, self.claim, self.objective, self.prune = task, claim, objective, prune
        self.is_over = is_over
        self.pruned = self.stopped = False
        self._ended = threading.Event()
        self._reported = 0

    def __enter__(self) -> "Watcher":
        (self.task.folder / STOP).unlink(missing_ok=True)
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self._ended.set()
        self.join()
        (self.task.folder / STOP).unlink(missing_ok=True)

    def run(self) -> None:
        """Look until the trial has ended, and once more then."""
        last = False
        while not last:
            last = self._ended.wait(PERIOD)
            try:
                self._look(last)
            except Exception as error:
                # a database that is away for a moment must not cost the trial
                self._note(f"not reported ({type(error).__name__}: {error})")

    def _look(self, last: bool) -> None:
        self.claim.beat()
        for epoch, value in self._news():
            self.claim.report(epoch, value)
            self._reported = epoch + 1
            if self.prune and not last and not self.pruned and self.claim.is_hopeless:
                self.pruned = True
        self.stopped = self.stopped or self.claim.lost or self.is_over()
        if self.pruned or self.stopped:
            (self.task.folder / STOP).touch()

    def _news(self) -> list[tuple[int, float]]:
        # of the first fold: an epoch of another one is not comparable with it
        path = self.task.folder / f"fold{self.task.folds[0]}" / "history.csv"
        if not path.is_file():
            return []
        history = pd.read_csv(path)
        rows = history[(history["epoch"] >= self._reported) & history[self.objective].notna()]
        return list(zip(rows["epoch"].astype(int), rows[self.objective].astype(float), strict=True))

    def _note(self, line: str) -> None:
        with suppress(OSError), (self.task.folder / "log.txt").open("a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%H:%M:%S')}  {line}\n")


def read_result(folder: Path) -> dict:
    """Collect what a trial has reached, as JSON keeps it.

    Parameters
    ----------
    folder : Path
        A run, complete or not.

    Returns
    -------
    dict
        ``history`` (the columns `SHOWN` as lists), ``epochs`` of all folds together,
        ``training_minutes``, ``windows_per_second`` (median over the epochs); and where folds
        have ended ``scores``, ``prior`` (each of both scores) and ``parameters``.
    """
    result: dict[str, Any] = {}
    if any(folder.glob("fold*/history.csv")):
        history = read_history(folder)
        result |= {
            "history": {name: _as_json(history[name]) for name in SHOWN},
            "epochs": len(history),
            "training_minutes": float(history["seconds"].sum() / 60),
            "windows_per_second": float(history["windows_per_second"].median()),
        }
    if (folder / "metrics.json").is_file():
        scores = read_metrics(folder)["scores"]
        result |= {"scores": scores["model"], "prior": scores["prior"]}
    models = sorted(folder.glob("fold*/model.weights.h5"))
    if models:
        result["parameters"] = count_parameters(models[0])
    return result


def objective_value(result: dict, objective: str) -> float:
    """Take the objective out of a result.

    Raises
    ------
    InputError
        If the run has no such score.
    """
    value = result.get("scores", {}).get(objective)
    if value is None:
        raise InputError(f"objective: the run has no {objective}; choose another one")
    return value


def count_parameters(weights: Path) -> int:
    """Count the parameters in a file of weights, trainable or not.

    The states of random generators, which are integers, do not count.
    """
    sizes: list[int] = []

    def count(_, item) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind == "f":
            sizes.append(item.size)

    with h5py.File(weights) as content:
        content.visititems(count)
    return sum(sizes)


def _as_json(column: pd.Series) -> list[float | int | None]:
    values = column.to_numpy()
    if not np.issubdtype(values.dtype, np.floating):
        return values.tolist()
    return [float(value) if np.isfinite(value) else None for value in values]

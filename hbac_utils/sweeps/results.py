"""What came of a sweep: a table of its trials, their curves, which keys mattered."""

import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import optuna
import pandas as pd
from optuna.exceptions import ExperimentalWarning
from optuna.trial import TrialState

from hbac_utils.sweeps.config import describe
from hbac_utils.sweeps.plan import Plan
from hbac_utils.sweeps.storage import open_storage
from hbac_utils.sweeps.study import ENDED, Slot, SweepStudy, open_study
from hbac_utils.utils.errors import InputError
from hbac_utils.utils.files import replacing

FEWEST = 8
"""Complete trials below which the importance of a key is not worth showing."""

SCORES = ("kl_reliable", "kl_all")


def read_results(plan: Plan, folder: Path, storage: str = "") -> "Results":
    """Read what there is of a sweep, finished or not.

    Parameters
    ----------
    plan : Plan
    folder : Path
        Of the sweep.
    storage : str
        URL of its database; empty: a file in the folder.

    Raises
    ------
    InputError
        If the sweep was not begun there, or with other settings.
    """
    if not storage and not (folder / "journal.log").is_file():
        raise InputError(f"{folder}: no sweep was begun there; run it, or name its storage")
    folder.mkdir(parents=True, exist_ok=True)
    return Results(plan, open_study(plan, open_storage(folder, storage), folder))


@dataclass(frozen=True)
class Results:
    """A sweep's trials as they are in its study, whatever has become of their folders."""

    plan: Plan
    study: SweepStudy

    @cached_property
    def slots(self) -> list[Slot]:
        """The trials."""
        return self.study.slots()

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row per trial.

        Columns: ``trial`` (number, as its folder), ``state``, the axes of the sweep, both scores
        of the model and of the constant prior (nats), ``parameters``, ``windows_per_second``
        (median over the epochs), ``training_minutes`` (of all epochs, scoring included),
        ``minutes`` (of the last attempt, notebook included), ``epochs``, ``attempts``, ``host``,
        ``error`` (its last line).
        """
        table = pd.DataFrame([self._row(slot) for slot in self.slots])
        return table.astype({"parameters": "Int64", "epochs": "Int64"})  # whole, though some lack

    @cached_property
    def best(self) -> int | None:
        """The number of the complete trial with the lowest objective; None without any."""
        complete = [slot for slot in self.slots if slot.state == "complete"]
        return min(complete, key=lambda slot: slot.attempt.value).number if complete else None

    @property
    def counts(self) -> dict[str, int]:
        """How many trials are in which state."""
        return self.table["state"].value_counts(sort=False).to_dict()

    @property
    def summary(self) -> str:
        """The states, the best trial and those that have failed, a line each."""
        lines = [", ".join(f"{count} {state}" for state, count in self.counts.items())]
        objective = self.plan.sweep.objective
        for slot in self.slots:
            if slot.number == self.best:
                lines.append(f"lowest {objective} {slot.attempt.value:.4f}: {self.name(slot)}")
            if slot.state == "failed":
                lines.append(f"failed: {self.name(slot)}: {slot.error.strip().splitlines()[-1]}")
        if set(self.counts) - set(ENDED):
            lines.append("not finished; the same command goes on")
        return "\n".join(lines)

    def name(self, slot: Slot) -> str:
        """Write a trial's settings in one line, keys without their sections."""
        keys = list(self.plan.sweep.axes)
        last = [key.rpartition(".")[2] for key in keys]
        names = last if len(set(last)) == len(last) else keys
        return describe({n: slot.settings.get(key) for n, key in zip(names, keys, strict=True)})

    def history(self, slot: Slot) -> pd.DataFrame | None:
        """Take a trial's curves, a row per fold and epoch, if it has any: `trials.SHOWN`."""
        history = _result(slot).get("history")
        return pd.DataFrame(history).astype(float) if history else None

    def importances(self) -> dict[str, float]:
        """Estimate how much of the objective's variance each key explains, the greatest first.

        By fANOVA (Hutter et al., ICML 2014) over the complete trials of a search.

        Returns
        -------
        dict of str to float
            Summing to 1; empty for a grid, and for fewer than `FEWEST` complete trials.
        """
        complete = self.study.optuna.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if self.plan.sweep.search is None or len(complete) < FEWEST:
            return {}
        if len({trial.value for trial in complete}) == 1:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
            return optuna.importance.get_param_importances(self.study.optuna, evaluator=evaluator)

    def write(self, folder: Path) -> Path:
        """Write ``results.csv`` into a folder, and return its path."""
        path = folder / "results.csv"
        with replacing(path) as file:
            self.table.to_csv(file, index=False)
        return path

    def _row(self, slot: Slot) -> dict:
        result, settings = _result(slot), slot.settings
        row = {"trial": slot.number, "state": slot.state}
        row |= {key: settings.get(key) for key in self.plan.sweep.axes}
        row |= {score: result.get("scores", {}).get(score) for score in SCORES}
        row |= {f"prior_{score}": result.get("prior", {}).get(score) for score in SCORES}
        for name in ("parameters", "windows_per_second", "training_minutes", "minutes", "epochs"):
            row[name] = result.get(name)
        error = slot.error.strip().splitlines() if slot.state == "failed" else []
        return row | {
            "attempts": sum(attempt.state != TrialState.WAITING for attempt in slot.attempts),
            "host": result.get("host", ""),
            "error": error[-1] if error else "",
        }


def _result(slot: Slot) -> dict:
    return slot.attempt.user_attrs.get("result", {})

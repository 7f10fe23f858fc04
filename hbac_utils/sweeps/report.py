"""Results of a sweep: table, best trial, importances, and one self-contained page."""

import base64
from datetime import datetime
from pathlib import Path

import jinja2
import numpy as np
import optuna
import pandas as pd
from optuna.trial import TrialState

from hbac_utils.labels import RELIABLE_VOTES
from hbac_utils.notebooks import TEMPLATE
from hbac_utils.plots.training import importance_bars, setting_scores, training_curves
from hbac_utils.sweeps.config import SweepPlan, describe, format_value
from hbac_utils.sweeps.study import ENDED, SweepStudy, SweepTrial
from hbac_utils.utils.errors import InputError
from hbac_utils.utils.files import replacing

SCORES = ("kl_reliable", "kl_all")
FORMATS = {  # heading, format
    "kl_reliable": (f"KL, ≥ {RELIABLE_VOTES} votes", "{:.4f}"),
    "kl_all": ("KL, all votes", "{:.4f}"),
    "parameters": ("parameters", "{:,.0f}"),
    "windows_per_second": ("windows/s", "{:,.1f}"),
    "training_minutes": ("training, min", "{:.1f}"),
    "minutes": ("notebook, min", "{:.1f}"),
    "epochs": ("epochs", "{:.0f}"),
}
CSV_ONLY = ["prior_kl_reliable", "prior_kl_all", "attempts", "error"]


class SweepResults:
    """Results of a sweep's trials, ended or not.

    ``table`` has a row per trial: ``trial`` (number), ``state``, the axes, both scores and the
    constant prior's (nats), ``parameters``, ``windows_per_second`` (median over the epochs),
    ``training_minutes`` (of all epochs), ``minutes`` (last attempt, whole notebook), ``epochs``,
    ``attempts``, ``error`` (last line). ``best`` is the number of the complete trial with the
    lowest objective, or None.
    """

    def __init__(self, study: SweepStudy):
        self.study, self.sweep = study, study.plan.sweep
        self.trials = study.trials()
        table = pd.DataFrame(map(self._row, self.trials))
        self.table = table.astype({"parameters": "Int64", "epochs": "Int64"})
        complete = [trial for trial in self.trials if trial.state == "complete"]
        best = min(complete, key=self._objective, default=None)
        self.best = best and best.number

    def _objective(self, trial: SweepTrial) -> float:
        return trial.result["scores"][self.sweep.objective]

    def _row(self, trial: SweepTrial) -> dict:
        result = trial.result
        return {
            "trial": trial.number,
            "state": trial.state,
            **{axis: trial.settings.get(axis) for axis in self.sweep.axes},
            **{score: result.get("scores", {}).get(score) for score in SCORES},
            **{f"prior_{score}": result.get("prior", {}).get(score) for score in SCORES},
            **{name: result.get(name) for name in FORMATS if name not in SCORES},
            "attempts": sum(a.state != TrialState.WAITING for a in trial.attempts),
            "error": trial.error.strip().splitlines()[-1] if trial.state == "failed" else "",
        }

    @property
    def counts(self) -> dict[str, int]:
        """Number of trials by state."""
        return self.table["state"].value_counts(sort=False).to_dict()

    @property
    def summary(self) -> str:
        """Counts, best trial and errors, one line each."""
        lines = [", ".join(f"{count} {state}" for state, count in self.counts.items())]
        for trial, error in zip(self.trials, self.table["error"], strict=True):
            if trial.number == self.best:
                value = f"{self.sweep.objective} {self._objective(trial):.4f}"
                lines.append(f"lowest {value}: {self.name(trial)}")
            if trial.state == "failed":
                lines.append(f"failed: {self.name(trial)}: {error}")
        if set(self.counts) - set(ENDED):
            lines.append("not finished; the same command continues")
        return "\n".join(lines)

    def name(self, trial: SweepTrial) -> str:
        """Format a trial's settings, keys without their sections."""
        keys = list(self.sweep.axes)
        last = [key.rpartition(".")[2] for key in keys]
        names = last if len(set(last)) == len(last) else keys
        return describe({n: trial.settings.get(k) for n, k in zip(names, keys, strict=True)})

    def importances(self) -> dict[str, float]:
        """Estimate each key's share of the objective's variance by fANOVA, in descending order.

        Empty for a grid and for fewer than eight complete trials.

        References
        ----------
        Hutter et al., ICML 2014.
        """
        values = [self._objective(t) for t in self.trials if t.state == "complete"]
        if self.sweep.search is None or len(values) < 8 or len(set(values)) == 1:
            return {}
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
        return optuna.importance.get_param_importances(self.study.optuna, evaluator=evaluator)


def read_results(plan: SweepPlan, folder: Path, storage: str = "") -> SweepResults:
    """Read the results of a sweep from its study.

    Raises InputError if the sweep was not begun there, or with other settings.
    """
    if not storage and not (folder / "journal.log").is_file():
        raise InputError(f"{folder}: no sweep was begun there; run it, or give its storage")
    return SweepResults(SweepStudy(plan, folder, storage))


def write_report(results: SweepResults) -> Path:
    """Write ``results.csv`` and ``report.html`` into the sweep's folder; return the page's path.

    Links lead to the notebooks of the trials that were run into this folder.
    """
    folder, table = results.study.folder, results.table
    with replacing(folder / "results.csv") as file:
        table.to_csv(file, index=False)
    loader = jinja2.FileSystemLoader(TEMPLATE)
    pages = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    pages.filters["picture"] = lambda figure: base64.b64encode(figure._repr_png_()[0]).decode()
    shown = table.drop(columns=CSV_ONLY).astype(object)
    links = {n: f"trials/{n:03d}/training.html" for n in table["trial"]}
    html = pages.get_template("report.html.j2").render(
        results=results,
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        overview=_overview(results),
        headings={name: FORMATS.get(name, (name,))[0] for name in shown},
        rows=shown.apply(lambda column: column.map(lambda v: _format(column.name, v))),
        links={n: link for n, link in links.items() if (folder / link).is_file()},
        importance_bars=importance_bars,
        curves=_curves(results),
        reliable=RELIABLE_VOTES,
    )
    with replacing(folder / "report.html") as file:
        file.write(html.encode())
    return folder / "report.html"


def _format(column: str, value) -> str:
    if pd.isna(value):
        return ""
    return FORMATS[column][1].format(value) if column in FORMATS else format_value(value)


def _overview(results: SweepResults):
    """Plot both scores of every trial that has them."""
    table = results.table[results.table["kl_all"].notna()].reset_index(drop=True)
    if table.empty:
        return None
    # trials with different folds have different priors, which are not shown
    priors = {s: table[f"prior_{s}"].astype(float).round(6).dropna().unique() for s in SCORES}
    best = table.index[table["trial"] == results.best]
    return setting_scores(
        [f"{n:03d}  {results.name(results.trials[n])}" for n in table["trial"]],
        {score: table[score].astype(float).to_list() for score in SCORES},
        {score: values[0] if len(values) == 1 else None for score, values in priors.items()},
        best[0] if len(best) else None,
    )


def _curves(results: SweepResults) -> dict:
    """Plot the curves of each trial by number, on the same axes."""
    histories = {
        trial.number: pd.DataFrame(trial.result["history"]).astype(float)
        for trial in results.trials
        if trial.result.get("history")
    }
    if not histories:
        return {}
    together = pd.concat(histories.values())
    values = together[["loss", *SCORES]].to_numpy()
    # a diverging loss may leave the axes
    limits = (0.0, 1.08 * min(np.nanmax(values), 2 * np.nanpercentile(values, 90)))
    epochs = int(together["epoch"].max()) + 1
    priors = {trial.number: trial.result.get("prior", {}) for trial in results.trials}
    return {
        number: training_curves(history, priors[number], limits=limits, epochs=epochs)
        for number, history in histories.items()
    }

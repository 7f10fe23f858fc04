"""The page of a sweep: figures and a table that need nothing but a browser."""

import base64
from datetime import datetime
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd

from hbac_utils.labels import RELIABLE_VOTES
from hbac_utils.notebooks import TEMPLATE
from hbac_utils.plots.sweeps import importance_bars, setting_curves, setting_scores
from hbac_utils.sweeps.config import shown
from hbac_utils.sweeps.jobs import trial_folder
from hbac_utils.sweeps.results import SCORES, Results
from hbac_utils.sweeps.study import Slot
from hbac_utils.utils.files import replacing

HEADINGS = {
    "kl_reliable": f"KL, ≥ {RELIABLE_VOTES} votes",
    "kl_all": "KL, all votes",
    "windows_per_second": "windows/s",
    "training_minutes": "training, min",
    "minutes": "notebook, min",
}
"""Of the table's columns, where the name in ``results.csv`` is not what a reader wants."""

HIDDEN = ("prior_kl_reliable", "prior_kl_all", "attempts", "host", "error")
"""Columns of ``results.csv`` that the page's table leaves out."""

FORMATS = {
    "kl_reliable": "{:.4f}", "kl_all": "{:.4f}", "windows_per_second": "{:,.1f}",
    "parameters": "{:,.0f}", "training_minutes": "{:.1f}", "minutes": "{:.1f}", "epochs": "{:.0f}",
}  # fmt: skip


def write_report(results: Results, folder: Path) -> Path:
    """Write ``report.html`` and ``results.csv`` into the sweep's folder.

    Everything comes from the study but the links to the trials' notebooks, which are there for
    those that were run into this folder.

    Parameters
    ----------
    results : Results
    folder : Path

    Returns
    -------
    Path
        Of the page.
    """
    results.write(folder)
    loader = jinja2.FileSystemLoader([Path(__file__).parent, TEMPLATE])
    pages = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    pages.filters["picture"] = _picture
    sweep = results.plan.sweep
    page = pages.get_template("report.html.j2").render(
        sweep=sweep,
        recipes=[recipe.name for recipe in results.plan.recipes.values()],
        counts=results.counts,
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        best=_best(results),
        overview=_overview(results),
        columns=_columns(results),
        rows=_rows(results, folder),
        importances=_importances(results),
        trials=_trials(results, folder),
        reliable=RELIABLE_VOTES,
    )
    path = folder / "report.html"
    with replacing(path) as file:
        file.write(page.encode())
    return path


def _picture(figure) -> str:
    return base64.b64encode(figure._repr_png_()[0]).decode()


def _best(results: Results) -> dict | None:
    if results.best is None:
        return None
    slot = next(slot for slot in results.slots if slot.number == results.best)
    row = results.table.set_index("trial").loc[results.best]
    return {"name": results.name(slot), "number": slot.number} | {
        score: _format(score, row[score]) for score in SCORES
    }


def _overview(results: Results):
    table = results.table[results.table["kl_all"].notna()].reset_index(drop=True)
    if table.empty:
        return None
    names = {slot.number: f"{slot.number:03d}  {results.name(slot)}" for slot in results.slots}
    best = table.index[table["trial"] == results.best]
    return setting_scores(
        [names[number] for number in table["trial"]],
        {score: [_number(value) for value in table[score]] for score in SCORES},
        _prior(table),
        int(best[0]) if len(best) else None,
    )


def _prior(table: pd.DataFrame) -> dict[str, float | None]:
    """Take the prior's scores, where all trials have the same: not where the folds differ."""
    scores = {}
    for score in SCORES:
        values = table[f"prior_{score}"].astype(float).round(6).dropna().unique()
        scores[score] = float(values[0]) if len(values) == 1 else None
    return scores


def _columns(results: Results) -> list[dict]:
    return [
        {"name": name, "heading": HEADINGS.get(name, name)}
        for name in results.table.columns
        if name not in HIDDEN
    ]


def _rows(results: Results, folder: Path) -> list[dict]:
    rows = []
    for record in results.table.to_dict("records"):
        values = {column["name"]: record[column["name"]] for column in _columns(results)}
        cells = [{"text": _format(n, v), "value": _key(v), "name": n} for n, v in values.items()]
        rows.append(
            {
                "cells": cells,
                "page": _page(folder, record["trial"]),
                "state": record["state"],
                "best": record["trial"] == results.best,
            }
        )
    return rows


def _importances(results: Results) -> dict | None:
    shares = results.importances()
    if not shares:
        return None
    said = ", ".join(f"{key} {share:.0%}" for key, share in shares.items())
    return {"figure": importance_bars(shares), "said": said}


def _trials(results: Results, folder: Path) -> list[dict]:
    histories = {slot.number: results.history(slot) for slot in results.slots}
    shown = [history for history in histories.values() if history is not None]
    same = {
        "limits": _limits(shown),
        "epochs": max((int(history["epoch"].max()) + 1 for history in shown), default=None),
    }
    rows = results.table.set_index("trial")
    trials = []
    for slot in results.slots:
        history, row = histories[slot.number], rows.loc[slot.number]
        prior = {score: _number(row[f"prior_{score}"]) for score in SCORES}
        trials.append(
            {
                "number": f"{slot.number:03d}",
                "name": results.name(slot),
                "state": slot.state,
                "scores": {score: _format(score, row[score]) for score in SCORES},
                "figure": history is not None and setting_curves(history, prior, **same),
                "page": _page(folder, slot.number),
                "error": slot.error if slot.state == "failed" else "",
                "host": row["host"],
                "attempts": _attempts(slot),
            }
        )
    return trials


def _attempts(slot: Slot) -> list[str]:
    """Say how the attempts before the one that counts have ended."""
    said = []
    for attempt in slot.attempts:
        if attempt.state.name == "FAIL" and attempt is not slot.attempt:
            known = attempt.user_attrs
            said.append(known.get("stopped") or ("failed" if "error" in known else "killed"))
    return said


def _limits(histories: list[pd.DataFrame]) -> tuple[float, float] | None:
    """Choose vertical limits for all curves; what bursts upwards may leave the picture."""
    values = [
        history[["loss", "kl_all", "kl_reliable"]].to_numpy().ravel() for history in histories
    ]
    finite = np.concatenate([column[np.isfinite(column)] for column in values] or [[]])
    if not len(finite):
        return None
    return 0.0, 1.08 * float(min(finite.max(), 2 * np.percentile(finite, 90)))


def _page(folder: Path, number: int) -> str:
    page = trial_folder(folder, number) / "training.html"
    return page.relative_to(folder).as_posix() if page.is_file() else ""


def _number(value) -> float | None:
    return None if pd.isna(value) else float(value)


def _format(name: str, value) -> str:
    if pd.isna(value):
        return ""
    return FORMATS[name].format(value) if name in FORMATS else shown(value)


def _key(value) -> str:
    """Give the text by which the page's script sorts: a number as such."""
    return "" if pd.isna(value) else str(value)

"""Several runs as one: found among a Kaggle notebook's inputs, opened, and blended.

A run whose folds were trained in two kernels, or runs of different recipes, are attached side by
side. Every model of every run counts the same, unless a ``blend.json`` says otherwise.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from hbac_utils.data.competition import Competition
from hbac_utils.data.layout import KAGGLE_INPUT
from hbac_utils.ensembling.blend import FILE, BlendFile, load_blend
from hbac_utils.inference.predict import COLUMNS, Prediction, Run, open_run, predict_each
from hbac_utils.training.runs import run_digest
from hbac_utils.utils.errors import InputError


def find_runs(folder: Path = KAGGLE_INPUT) -> list[Path]:
    """Find the runs that are attached to a Kaggle notebook, however they are mounted.

    Outputs of notebooks and data sets lie at ``notebooks/{owner}/{slug}`` and
    ``datasets/{owner}/{slug}`` today, at ``{slug}`` on older images, and a run anywhere in them.

    Raises
    ------
    InputError
        If there is none.
    """
    found = [p for p, files in _attached(folder) if {"recipe.json", "metrics.json"} <= files]
    if not found:
        raise InputError(
            f"no run under {folder}: attach the training notebook's output, or name a run"
        )
    return found


def open_runs(run: str | Path | Sequence[str] = "") -> list[Run]:
    """Open a run, or several, or all that are attached if none is named.

    Raises
    ------
    InputError
        If there is none, or one is not finished.
    """
    named = [run] if isinstance(run, str | Path) else list(run)
    return [open_run(path) for path in ([p for p in named if str(p)] or find_runs())]


def open_blend(blend: str | Path = "", folder: Path = KAGGLE_INPUT) -> BlendFile | None:
    """Read a blend by its file or content, or the one that is attached; None if there is none.

    Raises
    ------
    InputError
        If it is damaged, or several are attached.
    """
    if str(blend):
        return load_blend(blend)
    found = [path / FILE for path, files in _attached(folder) if FILE in files]
    if len(found) > 1:
        raise InputError(f"{len(found)} blends are attached, {found[0]} and {found[1]}: name one")
    return load_blend(found[0]) if found else None


def _attached(folder: Path) -> Iterator[tuple[Path, set[str]]]:
    """Walk through what is attached, but not into the competition's thousands of files."""
    for path, folders, files in os.walk(folder, followlinks=True):
        yield Path(path), set(files)
        if {"train.csv", "test.csv"} & set(files):
            folders.clear()
        folders.sort()


def predict_all(
    runs: Sequence[Run],
    competition: Competition,
    blend: BlendFile | None = None,
    *,
    progress: bool = True,
) -> Prediction:
    """Predict every EEG of ``test.csv`` with all models of all runs.

    What one run cannot read (a spectrogram, say) is left to the others; only what none can read
    gets the prior.

    Parameters
    ----------
    runs : sequence of Run
    competition : Competition
        With ``test.csv`` and the test recordings.
    blend : BlendFile, optional
        Of these runs, see `order_runs`. Without one all models count the same. An EEG that one of
        its runs cannot read is predicted by the mean of the others.
    progress : bool

    Raises
    ------
    InputError
        See `predict_each`, `order_runs`.
    """
    if blend is not None:
        runs = order_runs(runs, blend)
    parts = predict_each(runs, competition, progress=progress)
    if len(parts) == 1 and blend is None:
        return parts[0]
    ids = parts[0].submission["eeg_id"]
    lost = np.array([ids.isin(part.fallbacks).to_numpy() for part in parts])
    values = np.array([part.submission[COLUMNS].to_numpy() for part in parts])
    everywhere = lost.all(axis=0)
    # shape (runs, EEGs): a run that lost an EEG has no say in it, unless all have
    weights = np.array([[len(run.models)] for run in runs]) * (~lost | everywhere)
    mean = (weights[..., None] * values).sum(axis=0) / weights.sum(axis=0)[:, None]
    if blend is not None:
        whole = ~lost.any(axis=0)
        mean[whole] = blend.pool.predict(values[:, whole].transpose(2, 1, 0))
    submission = pd.DataFrame(mean, columns=COLUMNS)
    submission.insert(0, "eeg_id", ids)
    fallbacks = {eeg: parts[0].fallbacks[eeg] for eeg in ids[everywhere]}
    mended = {
        eeg: what for part in parts for eeg, what in part.mended.items() if eeg not in fallbacks
    }
    return Prediction(
        submission,
        {
            f"{run.recipe.name} {number}, {fold}": probabilities
            for number, (run, part) in enumerate(zip(runs, parts, strict=True), start=1)
            for fold, probabilities in part.by_fold.items()
        },
        fallbacks,
        mended,
        [summary for part in parts for summary in part.runs],
        f"{blend.method}, cross-fitted {blend.kl:.4f}" if blend else "",
    )


def order_runs(runs: Sequence[Run], blend: BlendFile) -> list[Run]:
    """Find the members of a blend among runs, in its order.

    Raises
    ------
    InputError
        If a member is no run of the kit, or its run is not there.
    """
    by_digest = {run_digest(run.path): run for run in runs}
    for member in blend.members:
        if member.run not in by_digest:
            reason = "is not among the runs" if member.run else "is no run of this kit"
            raise InputError(
                f"blend: its member {member.name} {reason}; attach it, or blend without it"
            )
    return [by_digest[member.run] for member in blend.members]


def prior_of(runs: Sequence[Run]) -> np.ndarray:
    """Average the training priors of runs, each model counting the same.

    Returns
    -------
    array of float64, shape (6,)
    """
    return np.average(
        [run.prior for run in runs], axis=0, weights=[len(run.models) for run in runs]
    )

"""Several runs as one: found among a Kaggle notebook's inputs, opened, and blended.

A run whose folds were trained in two kernels, or runs of different recipes, are attached side by
side; every model of every run counts the same.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from hbac_utils.data.competition import KAGGLE_INPUT, Competition
from hbac_utils.errors import InputError
from hbac_utils.labels import VOTE_COLUMNS
from hbac_utils.prediction import Prediction, Run, open_run, predict


def find_runs(folder: Path = KAGGLE_INPUT) -> list[Path]:
    """Find the runs that are attached to a Kaggle notebook, however they are mounted.

    Outputs of notebooks and data sets lie at ``notebooks/{owner}/{slug}`` and
    ``datasets/{owner}/{slug}`` today, at ``{slug}`` on older images, and a run anywhere in them.

    Raises
    ------
    InputError
        If there is none.
    """
    found = []
    for path, folders, files in os.walk(folder, followlinks=True):
        if {"recipe.json", "metrics.json"} <= set(files):
            found.append(Path(path))
            folders.clear()
        elif {"train.csv", "test.csv"} & set(files):
            folders.clear()  # the competition, whose folders hold thousands of files
        folders.sort()
    if not found:
        raise InputError(
            f"no run under {folder}: attach the training notebook's output, or name a run"
        )
    return found


def open_runs(run: str | Path = "") -> list[Run]:
    """Open a run, or all that are attached if none is named.

    Raises
    ------
    InputError
        If there is none, or one is not finished.
    """
    return [open_run(path) for path in ([run] if str(run) else find_runs())]


def predict_all(
    runs: Sequence[Run], competition: Competition, *, progress: bool = True
) -> Prediction:
    """Predict every EEG of ``test.csv`` with all models of all runs, which count the same.

    What one run cannot read (a spectrogram, say) is left to the others; only what none can read
    gets the prior.

    Parameters
    ----------
    runs : sequence of Run
    competition : Competition
        With ``test.csv`` and the test recordings.
    progress : bool

    Raises
    ------
    InputError
        See `predict`.
    """
    parts = [predict(run, competition, progress=progress) for run in runs]
    if len(parts) == 1:
        return parts[0]
    ids = parts[0].submission["eeg_id"]
    lost = np.array([ids.isin(part.fallbacks).to_numpy() for part in parts])
    everywhere = lost.all(axis=0)
    # shape (runs, EEGs): a run that lost an EEG has no say in it, unless all have
    weights = np.array([[len(run.models)] for run in runs]) * (~lost | everywhere)
    values = np.array([part.submission[list(VOTE_COLUMNS)].to_numpy() for part in parts])
    mean = (weights[..., None] * values).sum(axis=0) / weights.sum(axis=0)[:, None]
    submission = pd.DataFrame(mean, columns=list(VOTE_COLUMNS))
    submission.insert(0, "eeg_id", ids)
    return Prediction(
        submission,
        {
            f"{run.recipe.name} {number}, {fold}": probabilities
            for number, (run, part) in enumerate(zip(runs, parts, strict=True), start=1)
            for fold, probabilities in part.by_fold.items()
        },
        {eeg: parts[0].fallbacks[eeg] for eeg in ids[everywhere]},
        [summary for part in parts for summary in part.runs],
    )


def prior_of(runs: Sequence[Run]) -> np.ndarray:
    """Average the training priors of runs, each model counting the same.

    Returns
    -------
    array of float64, shape (6,)
    """
    return np.average(
        [run.prior for run in runs], axis=0, weights=[len(run.models) for run in runs]
    )

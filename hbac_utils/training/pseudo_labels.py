"""Soft labels for windows that few experts have seen: their votes mixed with models' predictions.

A prediction may only come from models that have not seen the patients of the fold that is held
out, or its score would be about labels that the training has had.
"""

from pathlib import Path

import numpy as np

from hbac_utils.data.dataset import evaluation_dataset
from hbac_utils.data.store import Store
from hbac_utils.labels import VOTE_COLUMNS, vote_fractions
from hbac_utils.models.classifier import load_classifier
from hbac_utils.recipe import Relabel
from hbac_utils.training.runs import fold_weights, read_oof, read_recipe
from hbac_utils.utils.backend import keras
from hbac_utils.utils.errors import InputError

BATCH = 64


def relabelled(
    store: Store, training: np.ndarray, fold: int, relabel: Relabel, model: keras.Model,
    inputs: tuple[str, ...],
) -> np.ndarray:  # fmt: skip
    """Mix the votes of a fold's training windows with predictions.

    Parameters
    ----------
    store : Store
    training : array of int
        Positions in ``store.windows`` that the fold is trained on.
    fold : int
        Which is held out.
    relabel : Relabel
    model : keras.Model
        Of this fold as its earlier stages have left it; predicts where no runs are named.
    inputs : tuple of str
        What the model reads.

    Returns
    -------
    array of float64, shape (windows of the store, 6)
        Votes, as many for each window as before.

    Raises
    ------
    InputError
        If a named run is not finished, was changed afterwards, lacks the fold, or has held out
        other patients in it.
    """
    windows = store.windows
    votes = windows[list(VOTE_COLUMNS)].to_numpy(dtype=np.float64, copy=True)
    totals = votes.sum(axis=1)
    middle = store.evaluation_windows()
    rows = middle[np.isin(middle, training) & (totals[middle] < relabel.below)]
    if not len(rows):
        return votes
    teachers = [_teacher(Path(run), fold, store, training) for run in relabel.runs]
    teachers = teachers or [(model, inputs)]
    soft = np.mean(
        [m.predict(evaluation_dataset(store, rows, i, BATCH), verbose=0) for m, i in teachers], 0
    )
    # all windows of a group have the same votes, and so get the same labels
    groups = windows["group"].to_numpy()
    place = np.full(groups.max() + 1, -1)
    place[groups[rows]] = np.arange(len(rows))
    mine = np.flatnonzero(place[groups] >= 0)
    mixed = (1 - relabel.share) * vote_fractions(votes[mine]) + relabel.share * soft[
        place[groups[mine]]
    ]
    votes[mine] = totals[mine, None] * mixed / mixed.sum(axis=1, keepdims=True)
    return votes


def _teacher(run: Path, fold: int, store: Store, training: np.ndarray):
    oof, models = read_oof(run), fold_weights(run)
    if fold not in models:
        raise InputError(f"relabel.runs: {run} has no fold {fold}; train it first")
    unseen = set(oof["patient_id"][oof["fold"] == fold])
    patients = store.windows["patient_id"].to_numpy()
    ours = set(np.delete(patients, training))
    if unseen != ours:
        raise InputError(
            f"relabel.runs: {run} has held out other patients in fold {fold}; its labels would "
            "tell of those that are held out here: use a run with the same seed, folds and data"
        )
    recipe = read_recipe(run)
    store.check(recipe.data, recipe.inputs)
    return load_classifier(recipe, models[fold]), recipe.inputs

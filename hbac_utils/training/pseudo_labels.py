"""Soft labels for windows with few votes: their votes averaged with models' predictions.

Predictions come only from models that were not trained on the patients that the fold holds out.
Otherwise its score would not be out of fold.
"""

import numpy as np

from hbac_utils.data.dataset import FoldData, evaluation_dataset
from hbac_utils.labels import vote_fractions
from hbac_utils.models.classifier import load_classifier
from hbac_utils.recipe import PseudoLabels
from hbac_utils.training.runs import fold_weights, read_oof, read_recipe
from hbac_utils.utils.backend import keras
from hbac_utils.utils.errors import InputError


def pseudo_labels(data: FoldData, labels: PseudoLabels, model: keras.Model) -> np.ndarray:
    """Average the votes of a fold's training windows with predictions.

    ``model``, the fold's after its earlier stages, predicts if no runs are named. Returns votes
    with the same total for each window: float64, shape (windows of the store, 6).
    """
    votes = data.votes.astype(np.float64)
    totals = votes.sum(axis=1)
    rows = data.training_middle[totals[data.training_middle] < labels.below]
    if not len(rows):
        return votes
    models = [(model, data.recipe.inputs)]
    if labels.runs:
        recipes = [read_recipe(run) for run in labels.runs]
        files = [p for run in labels.runs for k, p in fold_weights(run).items() if k == data.fold]
        models = [(load_classifier(r, f), r.inputs) for r, f in zip(recipes, files, strict=True)]
    predictions = [
        model.predict(evaluation_dataset(data.store, rows, inputs), verbose=0)
        for model, inputs in models
    ]
    # all windows of a group have the same votes, and get the same labels
    groups = data.store.windows["group"].to_numpy()
    place = np.full(groups.max() + 1, -1)
    place[groups[rows]] = np.arange(len(rows))
    changed = np.flatnonzero(place[groups] >= 0)
    predicted = np.mean(predictions, axis=0)[place[groups[changed]]]
    mixed = (1 - labels.share) * vote_fractions(votes[changed]) + labels.share * predicted
    votes[changed] = totals[changed, None] * mixed / mixed.sum(axis=1, keepdims=True)
    return votes


def check_runs(data: FoldData) -> None:
    """Refuse runs of pseudo-labels that hold out other patients than the fold does."""
    patients = data.store.windows["patient_id"].to_numpy()
    for stage in data.recipe.stages:
        for run in stage.pseudo_labels.runs if stage.pseudo_labels else ():
            oof, recipe = read_oof(run), read_recipe(run)
            data.store.check(recipe.data, recipe.inputs)
            held_out = set(patients[data.evaluation])
            if set(oof["patient_id"][oof["fold"] == data.fold]) != held_out:
                raise InputError(
                    f"pseudo_labels.runs: {run} holds out other patients in fold {data.fold}, so "
                    "it was trained on patients that are scored here; use a run with the same "
                    "seed, folds and data"
                )

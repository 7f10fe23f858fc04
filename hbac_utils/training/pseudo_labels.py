"""Soft labels for windows with few votes: their votes averaged with models' predictions.

Predictions come only from models that were not trained on the patients that the fold holds out.
Otherwise its score would not be out of fold.
"""

from pathlib import Path

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
    with the same total for each window: float64, shape (windows of the store, 6). Raises
    InputError if a named run is not finished, lacks the fold, or holds out other patients in it.
    """
    votes = data.votes.astype(np.float64)
    totals = votes.sum(axis=1)
    rows = data.training_middle[totals[data.training_middle] < labels.below]
    if not len(rows):
        return votes
    models = [_model_of_run(Path(run), data) for run in labels.runs]
    predictions = np.mean(
        [
            model.predict(evaluation_dataset(data.store, rows, inputs), verbose=0)
            for model, inputs in models or [(model, data.recipe.inputs)]
        ],
        axis=0,
    )
    # all windows of a group have the same votes, and get the same labels
    groups = data.store.windows["group"].to_numpy()
    place = np.full(groups.max() + 1, -1)
    place[groups[rows]] = np.arange(len(rows))
    changed = np.flatnonzero(place[groups] >= 0)
    predicted = predictions[place[groups[changed]]]
    mixed = (1 - labels.share) * vote_fractions(votes[changed]) + labels.share * predicted
    votes[changed] = totals[changed, None] * mixed / mixed.sum(axis=1, keepdims=True)
    return votes


def _model_of_run(run: Path, data: FoldData) -> tuple[keras.Model, tuple[str, ...]]:
    """Load another run's model of the same fold, and the names of its inputs."""
    fold, store = data.fold, data.store
    oof, weights = read_oof(run), fold_weights(run)
    if fold not in weights:
        raise InputError(f"pseudo_labels.runs: {run} has no fold {fold}; train it first")
    held_out = set(store.windows["patient_id"].to_numpy()[data.evaluation])
    if set(oof["patient_id"][oof["fold"] == fold]) != held_out:
        raise InputError(
            f"pseudo_labels.runs: {run} holds out other patients in fold {fold}, so it was trained "
            "on patients that are scored here; use a run with the same seed, folds and data"
        )
    recipe = read_recipe(run)
    store.check(recipe.data, recipe.inputs)
    return load_classifier(recipe, weights[fold]), recipe.inputs

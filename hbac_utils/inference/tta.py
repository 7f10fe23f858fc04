"""Out-of-fold gain of test-time augmentation: each change alone and all together."""

from pathlib import Path

import numpy as np
import pandas as pd

from hbac_utils.data.dataset import FoldData
from hbac_utils.data.store import Store
from hbac_utils.labels import RELIABLE_VOTES, VOTE_COLUMNS, vote_fractions
from hbac_utils.metric import kl_by_class, resampled_means
from hbac_utils.models.classifier import load_classifier
from hbac_utils.models.test_time import Variant, average, predict_stored, variants
from hbac_utils.recipe import TestTime
from hbac_utils.training.runs import fold_weights, read_recipe

SHIFTS = (-1.0, 1.0)  # s
SPACES = ("probability", "log")


def measure(run: str | Path, store: Store) -> pd.DataFrame:
    """Score a run out of fold with and without test-time augmentation.

    Returns a row per choice of `choices`, columns (space of the average, ``kl`` | ``difference`` |
    ``from`` | ``to``), nats: the score on windows with ten votes or more (all, where there are
    none), and its difference from no change with the 95 % interval over patients. A gain is
    negative. Raises InputError if the run is not finished, or was trained on another store.
    """
    recipe = read_recipe(run)
    store.check(recipe.data, recipe.inputs)
    reads_eeg = "eeg" in recipe.inputs
    everything = TestTime(mirror=True, polarity=reads_eeg, shifts=SHIFTS if reads_eeg else ())
    parts, rows = [], []
    for fold, path in fold_weights(run).items():
        held_out = FoldData(store, recipe, fold).evaluation
        model = load_classifier(recipe, path)
        parts.append(predict_stored(model, store, held_out, recipe.inputs, everything))
        rows.append(held_out)
    predictions = {variant: np.concatenate([p[variant] for p in parts]) for variant in parts[0]}
    return _compare(predictions, store.windows.iloc[np.concatenate(rows)], everything)


def _compare(
    predictions: dict[Variant, np.ndarray], windows: pd.DataFrame, everything: TestTime
) -> pd.DataFrame:
    votes = windows[list(VOTE_COLUMNS)].to_numpy()
    counted = votes.sum(axis=1) >= RELIABLE_VOTES
    counted |= not counted.any()
    truth, patients = vote_fractions(votes[counted]), windows["patient_id"][counted]
    losses = {}
    for space in SPACES:
        for name, choice in choices(everything).items():
            predicted = average([predictions[v][counted] for v in variants(choice)], space)
            losses[space, name] = kl_by_class(truth, predicted).sum(axis=1)
    losses = pd.DataFrame(losses)
    means = resampled_means(losses, patients)
    low, high = np.quantile(means - means[:, :1], (0.025, 0.975), axis=0)
    scores = losses.mean()
    columns = {"kl": scores, "difference": scores - scores.iloc[0], "from": low, "to": high}
    table = pd.DataFrame(columns)
    return pd.concat({space: table.loc[space] for space in SPACES}, axis=1)


def choices(everything: TestTime) -> dict[str, TestTime]:
    """Name the choices to compare: none, each change alone, all together."""
    tried = {"none": TestTime(), "mirror": TestTime(mirror=True)}
    if everything.polarity:
        tried["polarity"] = TestTime(polarity=True)
    if everything.shifts:
        seconds = ", ".join(f"{shift:+g}" for shift in everything.shifts)
        tried[f"shifts {seconds} s"] = TestTime(shifts=everything.shifts)
    if everything.polarity:
        tried["mirror, polarity"] = TestTime(mirror=True, polarity=True)
        tried["all"] = everything
    return tried


def describe_gains(table: pd.DataFrame) -> str:
    """Format the table of `measure`, with the greatest significant gain."""
    shown = table.copy()
    shown.columns = [f"{name}, {space}" for space, name in table.columns]
    gains = {
        (row[space, "difference"], choice, space)
        for choice, row in table.iterrows()
        for space in SPACES
        if row[space, "to"] < 0
    }
    text = shown.round(4).to_string()
    if not gains:
        return f"{text}\nno change gains significantly (95 % interval): leave tta off"
    _, choice, space = min(gains)
    return (
        f"{text}\ngreatest significant gain: {choice}, averaged by {space}; write it into the "
        "recipe (tta:) and train again: complete folds are only predicted anew"
    )

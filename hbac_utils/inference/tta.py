"""Test-time augmentation: a recording is predicted several times, changed, and averaged."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hbac_utils.data.dataset import evaluation_dataset
from hbac_utils.data.layout import SAMPLING_RATE
from hbac_utils.data.splits import patient_folds
from hbac_utils.data.store import Store
from hbac_utils.ensembling.bootstrap import resampled_means
from hbac_utils.ensembling.pooling import floored_log, softmax
from hbac_utils.labels import RELIABLE_VOTES, VOTE_COLUMNS, vote_fractions
from hbac_utils.metric import kl_by_class
from hbac_utils.models.augmentation import MIRROR
from hbac_utils.models.classifier import load_classifier
from hbac_utils.recipe import TestTime
from hbac_utils.training.runs import fold_models, read_recipe
from hbac_utils.utils.backend import keras

BATCH = 64
TRIED_SHIFTS = (-1.0, 1.0)  # s


@dataclass(frozen=True)
class Variant:
    """One way to change a window whose classes stay as they are.

    Attributes
    ----------
    mirror : bool
        Exchange the hemispheres.
    polarity : bool
        Change the sign of the EEG.
    shift : float
        Seconds that the EEG is moved by; what lies beyond the window is zero, as in training.
    """

    mirror: bool = False
    polarity: bool = False
    shift: float = 0.0

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Change a batch: ``eeg`` (n, time, electrodes), ``spectrogram`` (n, time, bins)."""
        inputs = dict(inputs)
        if self.mirror:
            inputs = {name: value[..., MIRROR[name]] for name, value in inputs.items()}
        if "eeg" in inputs and self.polarity:
            inputs["eeg"] = -inputs["eeg"]
        if "eeg" in inputs and self.shift:
            inputs["eeg"] = _moved(inputs["eeg"], round(self.shift * SAMPLING_RATE))
        return inputs


def _moved(eeg: np.ndarray, samples: int) -> np.ndarray:
    moved = np.zeros_like(eeg)
    if samples > 0:
        moved[:, :-samples] = eeg[:, samples:]
    else:
        moved[:, -samples:] = eeg[:, :samples]
    return moved


def variants(tta: TestTime) -> list[Variant]:
    """List all combinations of what a recipe switches on; the unchanged window is the first."""
    mirror = (False, True) if tta.mirror else (False,)
    polarity = (False, True) if tta.polarity else (False,)
    return [Variant(*choice) for choice in itertools.product(mirror, polarity, (0.0, *tta.shifts))]


def average(predictions: Iterable[np.ndarray], space: str) -> np.ndarray:
    """Average probabilities, or their logarithms.

    Parameters
    ----------
    predictions : iterable of array, shape (n, 6)
    space : {"probability", "log"}

    Returns
    -------
    array of float64, shape (n, 6)
    """
    stacked = np.stack(list(predictions)).astype(np.float64)
    if space == "log":
        return softmax(floored_log(stacked).mean(axis=0))
    return stacked.mean(axis=0)


def predict_batch(model: keras.Model, inputs: dict[str, np.ndarray], tta: TestTime) -> np.ndarray:
    """Predict a batch with all variants of a recipe, averaged; shape (n, 6)."""
    return average(
        [model.predict_on_batch(variant(inputs)) for variant in variants(tta)], tta.average
    )


def held_out(
    model: keras.Model, store: Store, rows: np.ndarray, inputs: tuple[str, ...], tta: TestTime
) -> dict[Variant, np.ndarray]:
    """Predict windows of a store, each as the test set has it: nothing beyond its 50 s.

    Returns
    -------
    dict of Variant to array, shape (len(rows), 6)
    """
    found: dict[Variant, list[np.ndarray]] = {variant: [] for variant in variants(tta)}
    for batch in evaluation_dataset(store, rows, inputs, BATCH):
        batch = {name: value.numpy() for name, value in batch.items()}
        for variant, parts in found.items():
            parts.append(model.predict_on_batch(variant(batch)))
    return {variant: np.concatenate(parts) for variant, parts in found.items()}


def measure(
    run: str | Path, store: Store, shifts: tuple[float, ...] = TRIED_SHIFTS
) -> pd.DataFrame:
    """Score a run out of fold with and without changes of its windows.

    Parameters
    ----------
    run : str or Path
    store : Store
        That it was trained on.
    shifts : tuple of float
        Seconds to try.

    Returns
    -------
    DataFrame of float, nats
        A row per choice; for either space of averages the score on windows of ten votes or more
        (of all, where there are none), and its difference from no change with the 95 % interval
        from resampled patients: a gain is below zero.

    Raises
    ------
    InputError
        If the run is not finished, or was trained on another store.
    """
    recipe = read_recipe(run)
    store.check(recipe.data, recipe.inputs)
    is_eeg = "eeg" in recipe.inputs
    most = TestTime(mirror=True, polarity=is_eeg, shifts=shifts if is_eeg else ())
    folds = patient_folds(store.windows, recipe.data.folds, recipe.seed)
    evaluation = store.evaluation_windows()
    parts, rows = [], []
    for fold, path in fold_models(run).items():
        mine = evaluation[folds[evaluation] == fold]
        parts.append(held_out(load_classifier(path), store, mine, recipe.inputs, most))
        rows.append(mine)
    known = {variant: np.concatenate([part[variant] for part in parts]) for variant in parts[0]}
    return _compare(known, store.windows.iloc[np.concatenate(rows)], most)


def _compare(
    known: dict[Variant, np.ndarray], windows: pd.DataFrame, most: TestTime
) -> pd.DataFrame:
    votes = windows[list(VOTE_COLUMNS)].to_numpy()
    counted = votes.sum(axis=1) >= RELIABLE_VOTES
    counted = counted if counted.any() else np.ones(len(votes), bool)
    truth, patients = vote_fractions(votes[counted]), windows["patient_id"][counted]
    columns = {}
    for name, choice in choices(most).items():
        for space in ("probability", "log"):
            predicted = average([known[variant][counted] for variant in variants(choice)], space)
            columns[name, space] = kl_by_class(truth, predicted).sum(axis=1)
    losses = pd.DataFrame(columns)
    means = resampled_means(losses, patients)
    differences = means - means[:, :1]
    low, high = np.quantile(differences, (0.025, 0.975), axis=0)
    scores = losses.mean()
    table = pd.DataFrame(
        {"kl": scores, "difference": scores - scores.iloc[0], "from": low, "to": high}
    )
    spaces = {space: table.xs(space, level=1) for space in ("probability", "log")}
    return pd.concat(spaces, axis=1)


def choices(most: TestTime) -> dict[str, TestTime]:
    """Name what is tried: nothing, each change alone, all together."""
    tried = {"none": TestTime(), "mirror": TestTime(mirror=True)}
    if most.polarity:
        tried["polarity"] = TestTime(polarity=True)
    if most.shifts:
        tried[f"shifts {', '.join(f'{s:+g}' for s in most.shifts)} s"] = TestTime(
            shifts=most.shifts
        )
    if most.polarity:
        tried["mirror, polarity"] = TestTime(mirror=True, polarity=True)
        tried["all"] = most
    return tried


def describe_gains(table: pd.DataFrame) -> str:
    """Write what `measure` found, and what follows from it."""
    shown = table.copy()
    shown.columns = [f"{name}, {space}" for space, name in table.columns]
    sure = {
        (choice, space): row[space, "difference"]
        for choice, row in table.iterrows()
        for space in ("probability", "log")
        if row[space, "to"] < 0
    }
    if not sure:
        return f"{shown.round(4).to_string()}\nno change gains beyond doubt: leave tta off"
    choice, space = min(sure, key=sure.get)
    return (
        f"{shown.round(4).to_string()}\ngreatest gain beyond doubt: {choice}, averaged by {space}; "
        "write it into the recipe (tta:) and train again: complete folds are only predicted anew"
    )

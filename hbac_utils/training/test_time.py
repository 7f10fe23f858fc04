"""Test-time augmentation: predict changed copies of a window, average them, measure the gain."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import softmax

from hbac_utils.data.dataset import FoldData, evaluation_dataset
from hbac_utils.data.layout import SAMPLING_RATE
from hbac_utils.data.store import Store
from hbac_utils.labels import RELIABLE_VOTES, VOTE_COLUMNS, vote_fractions
from hbac_utils.metric import floored_log, kl_by_class, resampled_means
from hbac_utils.models.augmentation import MIRROR
from hbac_utils.models.classifier import load_classifier
from hbac_utils.recipe import TestTime
from hbac_utils.training.runs import fold_weights, read_recipe
from hbac_utils.utils.backend import keras

SHIFTS = (-1.0, 1.0)  # s, whose gain is measured
SPACES = ("probability", "log")


@dataclass(frozen=True)
class Variant:
    """One change of a window that keeps its class."""

    mirror: bool = False  # exchange the hemispheres
    polarity: bool = False  # change the sign of the EEG
    shift: float = 0.0  # s; samples from beyond the window are zero, as in training

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Change a batch: ``eeg`` (n, time, electrodes), ``spectrogram`` (n, time, bins)."""
        inputs = dict(inputs)
        if self.mirror:
            inputs = {name: value[..., MIRROR[name]] for name, value in inputs.items()}
        if "eeg" in inputs and self.polarity:
            inputs["eeg"] = -inputs["eeg"]
        if "eeg" in inputs and self.shift:
            samples = round(self.shift * SAMPLING_RATE)
            moved = np.roll(inputs["eeg"], -samples, axis=1)
            moved[:, slice(-samples, None) if samples > 0 else slice(-samples)] = 0
            inputs["eeg"] = moved
        return inputs


def variants(tta: TestTime) -> list[Variant]:
    """List all combinations of a recipe's changes; the unchanged window is the first."""
    mirror = (False, True) if tta.mirror else (False,)
    polarity = (False, True) if tta.polarity else (False,)
    return [Variant(*choice) for choice in itertools.product(mirror, polarity, (0.0, *tta.shifts))]


def average(predictions: Sequence[np.ndarray], space: str) -> np.ndarray:
    """Average probabilities (``probability``) or their logarithms (``log``), shape (n, 6)."""
    stacked = np.stack(predictions).astype(np.float64)
    if space == "log":
        return softmax(floored_log(stacked).mean(axis=0), axis=-1)
    return stacked.mean(axis=0)


def predict_batch(model: keras.Model, inputs: dict[str, np.ndarray], tta: TestTime) -> np.ndarray:
    """Predict a batch with all variants of a recipe, averaged; shape (n, 6)."""
    predictions = [model.predict_on_batch(variant(inputs)) for variant in variants(tta)]
    return average(predictions, tta.average)


def predict_stored(
    model: keras.Model, store: Store, rows: np.ndarray, inputs: tuple[str, ...], tta: TestTime
) -> dict[Variant, np.ndarray]:
    """Predict windows of a store with each variant of a recipe; shape (len(rows), 6) each."""
    found: dict[Variant, list[np.ndarray]] = {variant: [] for variant in variants(tta)}
    for batch in evaluation_dataset(store, rows, inputs):
        batch = {name: value.numpy() for name, value in batch.items()}
        for variant, parts in found.items():
            parts.append(model.predict_on_batch(variant(batch)))
    return {variant: np.concatenate(parts) for variant, parts in found.items()}


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
    windows = store.windows.iloc[np.concatenate(rows)]
    votes = windows[list(VOTE_COLUMNS)].to_numpy()
    counted = votes.sum(axis=1) >= RELIABLE_VOTES
    counted |= not counted.any()
    truth = vote_fractions(votes[counted])
    losses = {}
    for space in SPACES:
        for name, choice in choices(everything).items():
            predictions = [np.concatenate([p[v] for p in parts])[counted] for v in variants(choice)]
            losses[space, name] = kl_by_class(truth, average(predictions, space)).sum(axis=1)
    table = pd.DataFrame(losses)
    means = resampled_means(table, windows["patient_id"][counted])
    low, high = np.quantile(means - means[:, :1], (0.025, 0.975), axis=0)
    kl = table.mean()
    gains = pd.DataFrame({"kl": kl, "difference": kl - kl.iloc[0], "from": low, "to": high})
    return pd.concat({space: gains.loc[space] for space in SPACES}, axis=1)


def choices(everything: TestTime) -> dict[str, TestTime]:
    """Name the choices to compare: none, each change alone, all together."""
    tried = {"none": TestTime(), "mirror": TestTime(mirror=True)}
    if everything.polarity:  # the run reads EEGs
        seconds = ", ".join(f"{shift:+g}" for shift in everything.shifts)
        tried["polarity"] = TestTime(polarity=True)
        tried[f"shifts {seconds} s"] = TestTime(shifts=everything.shifts)
        tried["mirror, polarity"] = TestTime(mirror=True, polarity=True)
        tried["all"] = everything
    return tried


def describe_gains(table: pd.DataFrame) -> str:
    """Format the table of `measure`, with the greatest significant gain."""
    shown = table.copy()
    shown.columns = [f"{name}, {space}" for space, name in table.columns]
    text = shown.round(4).to_string()
    gains = [
        (row[space, "difference"], choice, space)
        for choice, row in table.iterrows()
        for space in SPACES
        if row[space, "to"] < 0
    ]
    if not gains:
        return f"{text}\nno change gains significantly (95 % interval): leave tta off"
    _, choice, space = min(gains)
    return (
        f"{text}\ngreatest significant gain: {choice}, averaged by {space}; write it into the "
        "recipe (tta:) and train again: complete folds are only predicted anew"
    )

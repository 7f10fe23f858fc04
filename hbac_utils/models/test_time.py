"""Test-time augmentation: predict changed copies of a window and average them."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from hbac_utils.data.dataset import evaluation_dataset
from hbac_utils.data.layout import SAMPLING_RATE
from hbac_utils.data.store import Store
from hbac_utils.metric import floored_log
from hbac_utils.models.augmentation import MIRROR
from hbac_utils.recipe import TestTime
from hbac_utils.utils.backend import keras


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
    return average(
        [model.predict_on_batch(variant(inputs)) for variant in variants(tta)], tta.average
    )


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

"""Random changes of training inputs inside the model, drawn for every sample independently.

Each function here is registered in `hbac_utils.registry.AUGMENTATIONS`: called with its strength
and the layer that applies it, it returns a function of the inputs.
"""

from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from hbac_utils.data.layout import SAMPLING_RATE, SEGMENT_SECONDS, WINDOW_SECONDS
from hbac_utils.montage import (
    CHAINS,
    DOUBLE_BANANA,
    ELECTRODES,
    LEFT,
    MIDLINE,
    RIGHT,
    mirror_permutation,
)
from hbac_utils.recipe import Recipe
from hbac_utils.registry import AUGMENTATIONS

KEPT_FROM, KEPT_TO = (0.0, 2.0), (10.0, 20.0)  # Hz, ranges of the limits of `band_removal`
GAIN_KNOTS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # Hz, where `spectral_gain` is drawn
MIRRORED_CHAIN = {"LL": "RL", "RL": "LL", "LP": "RP", "RP": "LP"}


def _mirrored_bins() -> np.ndarray:
    chains, bins = list(CHAINS), np.arange(100)
    return np.concatenate([100 * chains.index(MIRRORED_CHAIN[c]) + bins for c in chains])


# index of the mirror image of each electrode or frequency bin, on the last axis
MIRROR = {"eeg": mirror_permutation(ELECTRODES), "spectrogram": _mirrored_bins()}
# index of the derivation at the same place of its chain counted from the other end
TURNED = {
    name: other
    for chain in (*CHAINS.values(), MIDLINE)
    for name, other in zip(chain, reversed(chain), strict=True)
}
FRONT_BACK = np.array([DOUBLE_BANANA.index(TURNED[name]) for name in DOUBLE_BANANA])
HEMISPHERE = np.array([0 if name in LEFT else 1 if name in RIGHT else 2 for name in DOUBLE_BANANA])


class Augmentation(keras.layers.Layer):
    """Applies augmentations in order, in training only.

    ``strengths`` are those of names in `AUGMENTATIONS`; ``channels`` counts derivations or chains:
    the last axis of a series, equal bands of rows of an image. If ``active`` is False when a
    training step is traced, the layer does nothing.
    """

    def __init__(self, strengths: dict[str, float], seed: int = 0, channels: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.seed, self.channels, self.active = seed, channels, True
        self.random = keras.random.SeedGenerator(seed)
        self.steps = [
            (AUGMENTATIONS[name].code or globals()[name])(strength, self)
            for name, strength in strengths.items()
            if strength
        ]

    def build(self, input_shape):
        """Create no weights."""

    def call(self, inputs, training=False):
        """Change the inputs in training."""
        if training and self.active:
            for step in self.steps:
                inputs = step(inputs)
        return inputs

    def compute_output_shape(self, input_shape):
        """Return the input's shape."""
        return input_shape

    def coins(self, inputs, probability: float):
        """Draw for each sample of a batch with a probability; bool, shape (batch, 1, 1)."""
        shape = (ops.shape(inputs)[0], 1, 1)
        return keras.random.uniform(shape, seed=self.random) < probability


def signal_augmentation(recipe: Recipe) -> Augmentation:
    """Make the layer between raw inputs, a dict, and the views."""
    strengths = _strengths(recipe, "signal", {"", *recipe.inputs})
    return Augmentation(strengths, recipe.seed, name="signal_augmentation", dtype="float32")


def view_augmentation(recipe: Recipe, number: int = 0) -> Augmentation:
    """Make the layer between the view of a branch and its backbone."""
    view = recipe.all_branches[number].view
    properties = {"", view.kind, view.input, "series" if view.is_series else "image"}
    strengths = _strengths(recipe, "view", properties)
    name = f"view_augmentation_{number}" if number else "view_augmentation"
    seed = recipe.seed + 1 + number
    return Augmentation(strengths, seed, view.channels, name=name, dtype="float32")


def _strengths(recipe: Recipe, on: str, properties: set[str]) -> dict[str, float]:
    return {
        name: getattr(recipe.augment, name)
        for name, part in AUGMENTATIONS.items()
        if part.on == on and part.needs in properties
    }


# -- raw inputs: a dict of (batch, time, electrode or frequency bin) ---------------


def mirror(probability: float, layer: Augmentation) -> Callable[[dict], dict]:
    """Exchange the hemispheres in all inputs of a sample."""

    def apply(signals):
        coins = layer.coins(next(iter(signals.values())), probability)
        return {
            name: ops.where(coins, ops.take(signal, MIRROR[name], axis=-1), signal)
            for name, signal in signals.items()
        }

    return apply


def reverse(probability: float, layer: Augmentation) -> Callable[[dict], dict]:
    """Reverse the time of all inputs of a sample."""

    def apply(signals):
        coins = layer.coins(next(iter(signals.values())), probability)
        return {
            name: ops.where(coins, ops.flip(signal, 1), signal) for name, signal in signals.items()
        }

    return apply


def polarity(probability: float, layer: Augmentation) -> Callable[[dict], dict]:
    """Change the sign of the EEG."""

    def apply(signals):
        eeg = signals["eeg"]
        return {**signals, "eeg": ops.where(layer.coins(eeg, probability), -eeg, eeg)}

    return apply


def band_removal(probability: float, layer: Augmentation) -> Callable[[dict], dict]:
    """Remove what lies below a random frequency up to 2 Hz and above one from 10 to 20 Hz.

    Limits as in the competition's 3rd place, which filters some derivations; here the spectrum of
    all electrodes is set to zero there. Zeros around a short recording stay.
    """

    def apply(signals):
        eeg = signals["eeg"]
        shape = (ops.shape(eeg)[0], 1, 1)
        low = keras.random.uniform(shape, *KEPT_FROM, seed=layer.random)
        high = keras.random.uniform(shape, *KEPT_TO, seed=layer.random)
        n = eeg.shape[1]
        hertz = np.arange(n // 2 + 1, dtype="float32") * SAMPLING_RATE / n
        kept = ops.cast(ops.logical_and(hertz >= low, hertz <= high), eeg.dtype)
        real, imaginary = ops.rfft(ops.transpose(eeg, (0, 2, 1)))
        filtered = ops.irfft((real * kept, imaginary * kept), n)
        filtered = ops.where(_present(eeg), ops.transpose(filtered, (0, 2, 1)), 0.0)
        return {**signals, "eeg": ops.where(layer.coins(eeg, probability), filtered, eeg)}

    return apply


def segment_only(probability: float, layer: Augmentation) -> Callable[[dict], dict]:
    """Set the EEG outside the labelled segment to zero, as if only that had been recorded."""

    def apply(signals):
        eeg = signals["eeg"]
        seconds = (np.arange(eeg.shape[1]) + 0.5) * WINDOW_SECONDS / eeg.shape[1]
        outside = np.abs(seconds - WINDOW_SECONDS / 2)[None, :, None] > SEGMENT_SECONDS / 2
        removed = ops.logical_and(layer.coins(eeg, probability), outside)
        return {**signals, "eeg": ops.where(removed, 0.0, eeg)}

    return apply


def gain(largest: float, layer: Augmentation) -> Callable[[dict], dict]:
    """Multiply the EEG by e^u, u uniform in ± the largest exponent."""

    def apply(signals):
        eeg = signals["eeg"]
        shape = (ops.shape(eeg)[0], 1, 1)
        exponents = keras.random.uniform(shape, -largest, largest, seed=layer.random)
        return {**signals, "eeg": eeg * ops.exp(exponents)}

    return apply


# -- views: images (batch, frequency, time, 1 or 3) or series (batch, time, derivation) --


def front_back(probability: float, layer: Augmentation) -> Callable:
    """Exchange the front and the back of the head in a series.

    A derivation gets the signal of the one at the same place of its chain counted from the other
    end, with the opposite sign, because it is then subtracted the other way round.
    """

    def apply(series):
        coins = layer.coins(series, probability)
        return ops.where(coins, -ops.take(series, FRONT_BACK, axis=-1), series)

    return apply


def spectral_gain(decibels: float, layer: Augmentation) -> Callable:
    """Multiply the spectrum of a series by a random smooth curve, the same for all derivations.

    The gain in dB is normally distributed at octaves (`GAIN_KNOTS`), with this standard deviation,
    and linear in between over the logarithm of the frequency. Zeros around a short recording stay.
    """

    def apply(series):
        n = series.shape[1]
        hertz = np.arange(n // 2 + 1) / WINDOW_SECONDS
        places = np.log(np.clip(hertz, GAIN_KNOTS[0], GAIN_KNOTS[-1]))
        knots, each = np.log(GAIN_KNOTS), np.eye(len(GAIN_KNOTS))
        curves = np.array([np.interp(places, knots, one) for one in each], np.float32)
        shape = (ops.shape(series)[0], len(knots))
        drawn = keras.random.normal(shape, stddev=decibels * np.log(10) / 20, seed=layer.random)
        gain = ops.exp(ops.matmul(drawn, curves))[:, None]
        real, imaginary = ops.rfft(ops.transpose(series, (0, 2, 1)))
        changed = ops.transpose(ops.irfft((real * gain, imaginary * gain), n), (0, 2, 1))
        return ops.where(_present(series), changed, 0.0)

    return apply


def stretch(largest: float, layer: Augmentation) -> Callable:
    """Stretch the time of a series about its middle by e^u, u uniform in ± the largest exponent.

    Values in between are interpolated linearly; what lies beyond the window is zero.
    """

    def apply(series):
        middle = (series.shape[1] - 1) / 2
        exponents = keras.random.uniform(
            (ops.shape(series)[0],), -largest, largest, seed=layer.random
        )
        slope = ops.exp(-exponents)
        one, none = ops.ones_like(slope), ops.zeros_like(slope)
        # an image one pixel wide: (x, y) gets the value at (x, slope * y + offset)
        rows = [one, none, none, none, slope, middle * (1 - slope), none, none]
        image = ops.expand_dims(series, 2)
        moved = ops.image.affine_transform(
            image, ops.stack(rows, axis=1), data_format="channels_last"
        )
        return ops.squeeze(moved, 2)

    return apply


def translation(share: float, layer: Augmentation) -> Callable:
    """Move an image in time, either way, by up to a share of its width."""
    return keras.layers.RandomTranslation(
        0.0, share, fill_mode="constant", interpolation="nearest", seed=layer.seed, dtype="float32"
    )


def cutout(share: float, layer: Augmentation) -> Callable:
    """Set a rectangle to zero; its sides are up to a share of the image's."""
    # Keras draws areas and takes their root: squares give sides up to `share`
    return keras.layers.RandomErasing(
        factor=(1.0, 1.0), scale=(0.0, share**2), fill_value=0.0, seed=layer.seed, dtype="float32"
    )


def frequency_mask(share: float, layer: Augmentation) -> Callable:
    """Set a band of frequencies to zero, up to a share of the axis (SpecAugment, 1904.08779)."""
    return lambda view: _mask(view, 1, share, layer)


def time_mask(share: float, layer: Augmentation) -> Callable:
    """Set a stretch of time to zero, up to a share of the axis long; see `frequency_mask`."""
    return lambda view: _mask(view, len(view.shape) - 2, share, layer)


def _mask(view, axis: int, widest: float, layer: Augmentation):
    length = view.shape[axis]
    draws = keras.random.uniform((2, ops.shape(view)[0], 1), seed=layer.random)
    width = draws[0] * widest * length
    start = draws[1] * (length - width)
    place = ops.expand_dims(ops.arange(length, dtype="float32") + 0.5, 0)
    keep = ops.logical_or(place < start, place >= start + width)
    return view * ops.cast(ops.reshape(keep, _along(view, axis)), view.dtype)


def channel_shuffle(probability: float, layer: Augmentation) -> Callable:
    """Permute the derivations within each hemisphere."""

    def apply(view):
        n, channels, axis = ops.shape(view)[0], layer.channels, _channel_axis(view)
        hemisphere = HEMISPHERE[:channels]
        # sorted by hemisphere first, randomly within it
        noise = keras.random.uniform((n, channels), seed=layer.random)
        drawn = ops.argsort(noise + hemisphere, axis=1)
        places = np.argsort(np.argsort(hemisphere, kind="stable"), kind="stable")
        source = ops.take(drawn, places, axis=1)
        stays = keras.random.uniform((n, 1), seed=layer.random) >= probability
        source = ops.where(stays, np.arange(channels)[None], ops.cast(source, "int32"))
        rows = view.shape[axis] // channels
        source = ops.expand_dims(source, -1) * rows + np.arange(rows)
        return ops.take_along_axis(view, ops.reshape(source, _along(view, axis)), axis=axis)

    return apply


def channel_mask(highest: float, layer: Augmentation) -> Callable:
    """Set channels to zero; each sample draws its probability of it from 0 to the highest."""

    def apply(view):
        n, axis = ops.shape(view)[0], _channel_axis(view)
        probability = keras.random.uniform((n, 1), 0, highest, seed=layer.random)
        coins = keras.random.uniform((n, layer.channels), seed=layer.random)
        length = view.shape[axis]
        channel_of_row = np.arange(length) * layer.channels // length
        keep = ops.take(ops.cast(coins >= probability, view.dtype), channel_of_row, axis=1)
        return view * ops.reshape(keep, _along(view, axis))

    return apply


def _present(series):
    return ops.any(ops.not_equal(series, 0), axis=-1, keepdims=True)


def _channel_axis(view) -> int:
    return 1 if len(view.shape) == 4 else 2


def _along(view, axis: int) -> list[int]:
    """Shape that broadcasts (batch, length of the axis) against a view."""
    return [-1] + [view.shape[i] if i == axis else 1 for i in range(1, len(view.shape))]

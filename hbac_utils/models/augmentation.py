"""Augmentations of the input alone: layers that act in training only, sample by sample.

What also mixes labels (MixUp) or chooses another window (shift) is in
`hbac_utils.data.dataset`.
"""

import keras
import numpy as np
from keras import ops

from hbac_utils.montage import (
    CHAINS,
    DOUBLE_BANANA,
    ELECTRODES,
    LEFT,
    RIGHT,
    mirror_permutation,
)
from hbac_utils.recipe import Recipe

MIRRORED_CHAIN = {"LL": "RL", "RL": "LL", "LP": "RP", "RP": "LP"}


def _mirrored_bins() -> np.ndarray:
    chains, bins = list(CHAINS), np.arange(100)
    return np.concatenate([100 * chains.index(MIRRORED_CHAIN[c]) + bins for c in chains])


MIRROR = {"eeg": mirror_permutation(ELECTRODES), "spectrogram": _mirrored_bins()}
"""Where each electrode or frequency bin finds its mirror image on the last axis."""

HEMISPHERE = np.array([0 if name in LEFT else 1 if name in RIGHT else 2 for name in DOUBLE_BANANA])


class TrainingOnly(keras.layers.Layer):
    """A layer that changes its input in training, unless a stage has switched it off.

    ``active`` is read when a training step is traced: set it before the first one.
    """

    def __init__(self, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        self.random = keras.random.SeedGenerator(seed)
        self.active = True

    def build(self, input_shape):
        """Hold no weights."""

    def call(self, inputs, training=False):
        """Pass the input through, changed in training."""
        return self.augment(inputs) if training and self.active else inputs

    def compute_output_shape(self, input_shape):
        """Return the input's shape."""
        return input_shape

    def _coins(self, inputs, probability):
        """Throw a coin for each sample; shape (batch, 1, 1)."""
        shape = (ops.shape(inputs)[0], 1, 1)
        return keras.random.uniform(shape, seed=self.random) < probability


class SignalAugmentation(TrainingOnly):
    """Changes of the raw input that leave its classes as they are.

    Mirroring and reversing act on all inputs of a sample alike, which are looks at one head.

    Parameters
    ----------
    mirror : float
        Probability of exchanging the hemispheres.
    reverse : float
        Probability of reversing the time.
    polarity : float
        Probability of changing the sign of the EEG.
    gain : float
        The EEG is multiplied by e^u, u uniform in ±gain.

    Input and output: a dict of ``"eeg"``, ``"spectrogram"`` or both, of shape
    ``(batch, time, electrodes or bins)``.
    """

    def __init__(self, mirror=0.0, polarity=0.0, reverse=0.0, gain=0.0, **kwargs):
        super().__init__(**kwargs)
        self.mirror, self.polarity, self.reverse, self.gain = mirror, polarity, reverse, gain

    def augment(self, signals):
        """Change each sample by its own coins."""
        signals = dict(signals)
        any_input = next(iter(signals.values()))
        if self.mirror:
            coins = self._coins(any_input, self.mirror)
            for name, signal in signals.items():
                mirrored = ops.take(signal, MIRROR[name], axis=-1)
                signals[name] = ops.where(coins, mirrored, signal)
        if self.reverse:
            coins = self._coins(any_input, self.reverse)
            for name, signal in signals.items():
                signals[name] = ops.where(coins, ops.flip(signal, 1), signal)
        if "eeg" in signals:
            signals["eeg"] = self._changed_voltage(signals["eeg"])
        return signals

    def _changed_voltage(self, eeg):
        if self.polarity:
            eeg = ops.where(self._coins(eeg, self.polarity), -eeg, eeg)
        if self.gain:
            shape = (ops.shape(eeg)[0], 1, 1)
            exponents = keras.random.uniform(shape, -self.gain, self.gain, seed=self.random)
            eeg = eeg * ops.exp(exponents)
        return eeg


class ViewAugmentation(TrainingOnly):
    """Masks, translation and cutout of what the backbone sees; what is taken away becomes 0.

    Parameters
    ----------
    channel_shuffle : float
        Probability of permuting the derivations within each hemisphere.
    channel_mask : float
        Highest probability with which each channel is masked; a sample's own is uniform from
        0 to it.
    channels : int
        How many there are: the last axis of a series, equal bands of rows of an image.
    time_mask, frequency_mask : float
        Widest share of the axis that is masked; the width is uniform from 0 to it (Park et
        al. 2019, SpecAugment, arXiv:1904.08779).
    translation : float
        Widest share of the width by which an image moves in time, either way.
    cutout : float
        Widest share of each side of the rectangle that is cut out.

    Input and output shape: ``(batch, frequency, time, channels)`` for an image,
    ``(batch, time, channels)`` for a series.
    """

    def __init__(
        self,
        time_mask=0.0,
        frequency_mask=0.0,
        translation=0.0,
        cutout=0.0,
        channel_shuffle=0.0,
        channel_mask=0.0,
        channels=1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.channel_shuffle, self.channel_mask = channel_shuffle, channel_mask
        self.channels = channels
        self.time_mask, self.frequency_mask = time_mask, frequency_mask
        self.translation, self.cutout = translation, cutout
        self._translate = keras.layers.RandomTranslation(
            0.0, translation, fill_mode="constant", interpolation="nearest", seed=self.seed
        )
        # Keras draws areas and takes their root: squares give sides up to `cutout`
        self._cut_out = keras.layers.RandomErasing(
            factor=(1.0, 1.0), scale=(0.0, cutout**2), fill_value=0.0, seed=self.seed
        )

    def augment(self, view):
        """Change each sample by its own draws."""
        if self.translation:
            view = self._translate(view, training=True)
        if self.cutout:
            view = self._cut_out(view, training=True)
        if self.frequency_mask:
            view = self._mask(view, 1, self.frequency_mask)
        if self.time_mask:
            view = self._mask(view, len(view.shape) - 2, self.time_mask)
        if self.channel_shuffle:
            view = self._shuffle_channels(view)
        if self.channel_mask:
            view = self._mask_channels(view)
        return view

    def _mask(self, view, axis, widest):
        length = view.shape[axis]
        n = ops.shape(view)[0]
        draws = keras.random.uniform((2, n, 1), seed=self.random)
        width = draws[0] * widest * length
        start = draws[1] * (length - width)
        place = ops.expand_dims(ops.arange(length, dtype="float32") + 0.5, 0)
        keep = ops.logical_or(place < start, place >= start + width)
        shape = [-1] + [length if i == axis else 1 for i in range(1, len(view.shape))]
        return view * ops.cast(ops.reshape(keep, shape), view.dtype)

    def _shuffle_channels(self, view):
        n, axis = ops.shape(view)[0], 1 if len(view.shape) == 4 else 2
        hemisphere = HEMISPHERE[: self.channels]
        # sorted by hemisphere first, by chance within it
        noise = keras.random.uniform((n, self.channels), seed=self.random)
        drawn = ops.argsort(noise + hemisphere, axis=1)
        places = np.argsort(np.argsort(hemisphere, kind="stable"), kind="stable")
        source = ops.take(drawn, places, axis=1)
        stays = keras.random.uniform((n, 1), seed=self.random) >= self.channel_shuffle
        source = ops.where(stays, np.arange(self.channels)[None], ops.cast(source, "int32"))
        rows = view.shape[axis] // self.channels
        source = ops.expand_dims(source, -1) * rows + np.arange(rows)
        source = ops.reshape(source, (-1, self.channels * rows))
        shape = [-1] + [self.channels * rows if i == axis else 1 for i in range(1, len(view.shape))]
        return ops.take_along_axis(view, ops.reshape(source, shape), axis=axis)

    def _mask_channels(self, view):
        n = ops.shape(view)[0]
        probability = keras.random.uniform((n, 1), 0, self.channel_mask, seed=self.random)
        coins = keras.random.uniform((n, self.channels), seed=self.random)
        axis = 1 if len(view.shape) == 4 else 2
        length = view.shape[axis]
        channel_of_row = np.arange(length) * self.channels // length
        keep = ops.take(ops.cast(coins >= probability, view.dtype), channel_of_row, axis=1)
        shape = [-1] + [length if i == axis else 1 for i in range(1, len(view.shape))]
        return view * ops.reshape(keep, shape)


def signal_augmentation(recipe: Recipe) -> SignalAugmentation:
    """Build the layer between the raw inputs and the views."""
    augment = recipe.augment
    return SignalAugmentation(
        mirror=augment.mirror,
        polarity=augment.polarity,
        reverse=augment.reverse,
        gain=augment.gain,
        seed=recipe.seed,
        name="signal_augmentation",
        dtype="float32",
    )


def view_augmentation(recipe: Recipe, number: int = 0) -> ViewAugmentation:
    """Build the layer between a view and its backbone; ``number`` is the look's."""
    augment, look = recipe.augment, recipe.looks[number]
    image = {} if look.is_series else {
        "frequency_mask": augment.frequency_mask,
        "translation": augment.translation,
        "cutout": augment.cutout,
    }  # fmt: skip
    return ViewAugmentation(
        **image,
        time_mask=augment.time_mask,
        channel_shuffle=augment.channel_shuffle if look.view.kind == "waveform" else 0.0,
        channel_mask=augment.channel_mask,
        channels=look.view.channels,
        seed=recipe.seed + 1 + number,
        name=f"view_augmentation_{number}" if number else "view_augmentation",
        dtype="float32",
    )

"""Augmentations of the input alone: layers that act in training only, sample by sample.

What also mixes labels (MixUp) or chooses another window (shift) is in
`hbac_utils.data.windows`.
"""

import keras
import numpy as np
from keras import ops

from hbac_utils.montage import CHAINS, ELECTRODES, mirror_permutation
from hbac_utils.recipe import Recipe

MIRRORED_CHAIN = {"LL": "RL", "RL": "LL", "LP": "RP", "RP": "LP"}


def _mirror_of(input_name: str) -> np.ndarray:
    """Where each electrode or frequency bin finds its mirror image on the last axis."""
    if input_name == "eeg":
        return mirror_permutation(ELECTRODES)
    chains = list(CHAINS)
    bins = np.arange(100)
    return np.concatenate([100 * chains.index(MIRRORED_CHAIN[c]) + bins for c in chains])


class TrainingOnly(keras.layers.Layer):
    """A layer that changes its input in training, unless a stage has switched it off.

    ``active`` is read when a training step is traced: set it before ``compile``.
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


@keras.saving.register_keras_serializable("hbac_utils")
class SignalAugmentation(TrainingOnly):
    """Changes of the raw input that leave its classes as they are.

    Parameters
    ----------
    input_name : {"eeg", "spectrogram"}
    mirror : float
        Probability of exchanging the hemispheres.
    polarity, reverse : float
        Probability of changing the sign, and of reversing the time, of the EEG.

    Input and output shape: ``(batch, time, electrodes or bins)``.
    """

    def __init__(self, input_name="eeg", mirror=0.0, polarity=0.0, reverse=0.0, **kwargs):
        super().__init__(**kwargs)
        self.input_name = input_name
        self.mirror, self.polarity, self.reverse = mirror, polarity, reverse
        self._permutation = _mirror_of(input_name)

    def augment(self, signal):
        """Change each sample by its own coins."""
        if self.mirror:
            mirrored = ops.take(signal, self._permutation, axis=-1)
            signal = ops.where(self._coins(signal, self.mirror), mirrored, signal)
        if self.polarity:
            signal = ops.where(self._coins(signal, self.polarity), -signal, signal)
        if self.reverse:
            signal = ops.where(self._coins(signal, self.reverse), ops.flip(signal, 1), signal)
        return signal

    def get_config(self):
        """Return the arguments of the constructor."""
        names = ("seed", "input_name", "mirror", "polarity", "reverse")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable("hbac_utils")
class ViewAugmentation(TrainingOnly):
    """Masks, translation and cutout of what the backbone sees; what is taken away becomes 0.

    Parameters
    ----------
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

    def __init__(self, time_mask=0.0, frequency_mask=0.0, translation=0.0, cutout=0.0, **kwargs):
        super().__init__(**kwargs)
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

    def get_config(self):
        """Return the arguments of the constructor."""
        names = ("seed", "time_mask", "frequency_mask", "translation", "cutout")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def signal_augmentation(recipe: Recipe, input_name: str) -> SignalAugmentation:
    """Build the layer between the raw input and the view."""
    augment = recipe.augment
    return SignalAugmentation(
        input_name,
        mirror=augment.mirror,
        polarity=augment.polarity,
        reverse=augment.reverse,
        seed=recipe.seed,
        name=f"{input_name}_augmentation",
    )


def view_augmentation(recipe: Recipe) -> ViewAugmentation:
    """Build the layer between the view and the backbone."""
    augment = recipe.augment
    return ViewAugmentation(
        time_mask=augment.time_mask,
        frequency_mask=augment.frequency_mask,
        translation=augment.translation,
        cutout=augment.cutout,
        seed=recipe.seed + 1,
        name="view_augmentation",
    )

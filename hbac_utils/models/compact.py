"""A small left–right symmetric network over waveforms, for a CPU.

One encoder with shared weights reads the left and the right half of the head. The features of the
halves are combined by symmetric functions only (mean, absolute difference, product), so the
output does not change when the hemispheres are exchanged. The product is large where both halves
do the same at the same time, which separates generalized from lateralized patterns.

The labelled segment is read at full resolution, the whole window at a quarter of it, because an
expert's vote is about the segment, with the rest as context. In addition to pooled features, the
network uses the power spectrum over time of the segment's first features: the frequency and
regularity at which a filter responds define rhythmic and periodic patterns.

A short recording is surrounded by zeros. Features are pooled only where there is a signal, so that
the network reads ten seconds alone almost as well as fifty.
"""

import keras
import numpy as np
from keras import layers, ops

from hbac_utils.data.layout import SEGMENT_SECONDS, WINDOW_SECONDS
from hbac_utils.montage import DOUBLE_BANANA, LEFT, MIDLINE, RIGHT
from hbac_utils.parts import Compact

MARGIN_SECONDS = 1  # read at full resolution on either side of the labelled segment
CONTEXT_POOLING = 4  # the whole window is averaged by this before its encoder
STEM_STRIDE = 4
RHYTHMS = 16  # features whose spectrum is computed
MOMENTUM = 0.9  # of batch normalisation: small data makes few steps


class Hemispheres(layers.Layer):
    """Stacks the left and the right half of the head, each with the midline, as rows of an image.

    The rows share the weights of every ``(1, k)`` convolution.

    Input shape: ``(batch, time, 18)``, derivations in the order of ``DOUBLE_BANANA``.
    Output shape: ``(batch, 2, time, 10)``.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        # multiplying by a 0/1 matrix is several times faster than gathering on a CPU
        identity = np.eye(len(DOUBLE_BANANA), dtype=np.float32)
        self._halves = [
            identity[:, [DOUBLE_BANANA.index(name) for name in (*side, *MIDLINE)]]
            for side in (LEFT, RIGHT)
        ]

    def call(self, series):
        """Split the head."""
        return ops.stack([ops.matmul(series, half) for half in self._halves], axis=1)


class Present(layers.Layer):
    """Tells where a series holds a signal: a short recording is surrounded by zeros.

    Input shape: ``(batch, time, derivations)``.
    Output shape: ``(batch, 1, time, 1)``: 1 where any derivation is not zero.
    """

    def call(self, series):
        """Compare with zero."""
        present = ops.any(ops.not_equal(series, 0), axis=-1)
        return ops.cast(present, series.dtype)[:, None, :, None]


class PoolPresent(layers.Layer):
    """Mean and maximum over time of non-negative features, where there is a signal.

    Input shapes: ``(batch, 1, time, features)``, and the weights ``(batch, 1, time, 1)``.
    Output shape: ``(batch, 2 * features)``.
    """

    def call(self, inputs):
        """Pool."""
        features, present = inputs
        features = features * present
        total = ops.maximum(ops.sum(present, axis=(1, 2)), 1e-3)
        mean = ops.sum(features, axis=(1, 2)) / total
        return ops.concatenate([mean, ops.max(features, axis=(1, 2))], axis=-1)


class CombineHalves(layers.Layer):
    """Combines the features of the two halves by functions symmetric in left and right.

    Input shape: ``(batch, 2, time, features)``.
    Output shape: ``(batch, 1, time, 3 * features)``: mean, absolute difference, product.
    """

    def call(self, features):
        """Combine the halves."""
        left, right = features[:, :1], features[:, 1:]
        parts = [(left + right) / 2, ops.abs(left - right), left * right]
        return ops.concatenate(parts, axis=-1)


class FeatureSpectrum(layers.Layer):
    """Log power spectrum of each feature over time, at logarithmically spaced frequencies.

    A Hann window is applied. ``rate`` is that of the features, Hz; ``band`` in Hz.

    Input shape: ``(batch, rows, time, features)``.
    Output shape: ``(batch, rows, bins, features)``.
    """

    FLOOR = 1e-4  # of power; a hundredth of a feature's unit

    def __init__(self, rate, band=(0.3, 6.0), bins=40, **kwargs):
        super().__init__(**kwargs)
        self.rate, self.band, self.bins = rate, tuple(band), bins

    def build(self, input_shape):
        """Compute cosines and sines."""
        n_times = input_shape[2]
        window = np.hanning(n_times + 2)[1:-1]
        times = np.arange(n_times) / self.rate
        phase = 2 * np.pi * np.outer(times, np.geomspace(*self.band, self.bins))
        waves = np.concatenate([np.cos(phase), np.sin(phase)], axis=1)
        self._waves = (waves * window[:, None] / window.sum()).astype(np.float32)

    def call(self, features):
        """Compute the spectra."""
        centred = features - ops.mean(features, axis=2, keepdims=True)
        waves = ops.cast(self._waves, features.dtype)
        coefficients = ops.square(ops.einsum("brtf,tk->brkf", centred, waves))
        power = coefficients[:, :, : self.bins] + coefficients[:, :, self.bins :]
        return ops.log(power + self.FLOOR)


def build(backbone: Compact, input_shape: tuple, pretrained: bool = True) -> keras.Model:
    """Build the network, from ``(batch, time, 18)`` to ``(batch, 4 * width)``."""
    n_times, width = input_shape[0], backbone.width
    series = keras.Input((n_times, len(DOUBLE_BANANA)))
    segment, context = segment_and_context(series)
    segment_stem = halves_stem(segment, width, "segment")
    context_stem = halves_stem(context, width // 2, "context")
    features = [
        encode(segment_stem, Present(name="segment_present")(segment), width, "segment"),
        _rhythm(segment_stem, width, n_times / WINDOW_SECONDS / STEM_STRIDE),
        encode(context_stem, Present(name="context_present")(context), width // 2, "context"),
    ]
    x = layers.Concatenate(name="segment_and_context")(features)
    return keras.Model(series, layers.Dense(4 * width, "relu", name="joint")(x), name="compact")


def segment_and_context(series):
    """Crop the labelled segment with its margins, and average the window for its context."""
    n_times = series.shape[1]
    fine = n_times * (SEGMENT_SECONDS + 2 * MARGIN_SECONDS) // WINDOW_SECONDS
    segment = layers.Cropping1D((n_times - fine) // 2, name="segment")(series)
    return segment, layers.AveragePooling1D(CONTEXT_POOLING, name="context")(series)


def halves_stem(series, width: int, name: str):
    """Convolve the series of the two halves of the head, at a quarter of its rate."""
    x = Hemispheres(name=f"{name}_hemispheres")(series)
    return convolve(x, width, 15, f"{name}_stem", strides=STEM_STRIDE)


def _rhythm(x, width: int, rate: float):
    x = layers.Conv2D(RHYTHMS, 1, use_bias=False, name="rhythm_features")(x)
    x = FeatureSpectrum(rate, dtype="float32", name="rhythm")(x)
    x = layers.BatchNormalization(momentum=MOMENTUM, name="rhythm_norm")(x)
    x = CombineHalves(name="rhythm_meet")(x)
    x = convolve(x, 2 * width, 5, "rhythm_0")
    x = layers.AveragePooling2D((1, 2), name="rhythm_pool")(x)
    x = layers.Flatten(name="rhythm_flat")(convolve(x, width, 3, "rhythm_1"))
    x = layers.Dropout(0.3, seed=0, name="rhythm_dropout")(x)
    return layers.Dense(2 * width, "relu", name="rhythm_joint")(x)


def encode(x, present, width: int, name: str, combine=CombineHalves, mixed: int | None = None):
    """Encode rows of an image, combine them, and pool: mean and maximum of ``mixed`` features."""
    present = layers.AveragePooling2D((1, STEM_STRIDE), padding="same", name=f"{name}_weight")(
        present
    )
    for i, channels in enumerate((width, 2 * width, 2 * width, 2 * width)):
        x = convolve(x, channels, 5, f"{name}_{i}")
        x = layers.AveragePooling2D((1, 2), name=f"{name}_pool{i}")(x)
        present = layers.AveragePooling2D((1, 2), name=f"{name}_weight{i}")(present)
    x = combine(name=f"{name}_meet")(x)
    x = convolve(x, mixed or 3 * width, 1, f"{name}_mix")
    return PoolPresent(name=f"{name}_features")([x, present])


def convolve(x, channels: int, kernel: int, name: str, strides: int = 1):
    """Convolve each row over time; batch normalisation and ReLU."""
    x = layers.Conv2D(
        channels, (1, kernel), (1, strides), padding="same", use_bias=False, name=f"{name}_conv"
    )(x)
    x = layers.BatchNormalization(momentum=MOMENTUM, name=f"{name}_norm")(x)
    return layers.ReLU(name=name)(x)

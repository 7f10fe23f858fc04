"""A left–right symmetric network over single derivations, for a CPU and few patients.

One encoder with shared weights reads each of the 18 derivations by itself, so that its filters
learn from 18 signals per window instead of two halves of the head. Features of the derivations are
combined by functions symmetric in left and right, so the output does not change when the
hemispheres are exchanged. The power spectrum over time of the first features is likewise computed
and judged for each derivation before they are combined.

The labelled segment, the context and zeros around a short recording are treated as in the compact
network, which also reads the context here.
"""

import keras
import numpy as np
from keras import layers, ops

from hbac_utils.data.layout import WINDOW_SECONDS
from hbac_utils.models.compact import (
    MOMENTUM,
    STEM_STRIDE,
    FeatureSpectrum,
    Present,
    convolve,
    encode,
    halves_stem,
    segment_and_context,
)
from hbac_utils.montage import DOUBLE_BANANA, LEFT, MIDLINE, RIGHT
from hbac_utils.parts import Derivations

ROWS = (*LEFT, *RIGHT, *MIDLINE)
SIDE = len(LEFT)


class DerivationRows(layers.Layer):
    """Makes a row of an image of each derivation: left, right, midline.

    Input shape: ``(batch, time, 18)``, derivations in the order of ``DOUBLE_BANANA``.
    Output shape: ``(batch, 18, time, 1)``.
    """

    def call(self, series):
        """Sort the derivations and transpose."""
        order = np.array([DOUBLE_BANANA.index(name) for name in ROWS])
        rows = ops.transpose(ops.take(series, order, axis=2), (0, 2, 1))
        return ops.expand_dims(rows, -1)


class CombineDerivations(layers.Layer):
    """Combines the features of the derivations by functions symmetric in left and right.

    These are the mean of all derivations; the larger and the smaller of the two sides' maxima; the
    absolute difference of the sides' means; and the mean product of a derivation and its mirror
    image.

    Input shape: ``(batch, 18, time, features)``, rows of `DerivationRows`.
    Output shape: ``(batch, 1, time, 5 * features)``.
    """

    def call(self, features):
        """Combine the derivations."""
        left, right = features[:, :SIDE], features[:, SIDE : 2 * SIDE]
        highest = [ops.max(side, axis=1, keepdims=True) for side in (left, right)]
        means = [ops.mean(side, axis=1, keepdims=True) for side in (left, right)]
        parts = [
            ops.mean(features, axis=1, keepdims=True),
            ops.maximum(*highest),
            ops.minimum(*highest),
            ops.abs(means[0] - means[1]),
            ops.mean(left * right, axis=1, keepdims=True),
        ]
        return ops.concatenate(parts, axis=-1)


def build(backbone: Derivations, input_shape: tuple, pretrained: bool = True) -> keras.Model:
    """Build the network, from ``(batch, time, 18)`` to ``(batch, 8 * width)``."""
    n_times, width = input_shape[0], backbone.width
    series = keras.Input((n_times, len(DOUBLE_BANANA)))
    segment, context = segment_and_context(series)
    rows = DerivationRows(name="segment_derivations")(segment)
    stem = convolve(rows, width, 15, "segment_stem", strides=STEM_STRIDE)
    present = Present(name="segment_present")(segment)
    around = halves_stem(context, width, "context")
    features = [
        encode(stem, present, width, "segment", CombineDerivations, 6 * width),
        _rhythm(stem, width, n_times / WINDOW_SECONDS / STEM_STRIDE),
        encode(around, Present(name="context_present")(context), width, "context"),
    ]
    x = layers.Concatenate(name="segment_and_context")(features)
    return keras.Model(series, layers.Dense(8 * width, "relu", name="joint")(x), name="derivations")


def _rhythm(x, width: int, rate: float):
    x = layers.Conv2D(width // 2, 1, use_bias=False, name="rhythm_features")(x)
    x = FeatureSpectrum(rate, dtype="float32", name="rhythm")(x)
    x = layers.BatchNormalization(momentum=MOMENTUM, name="rhythm_norm")(x)
    x = convolve(x, 2 * width, 5, "rhythm_0")
    x = layers.AveragePooling2D((1, 2), name="rhythm_pool")(x)
    x = convolve(x, 2 * width, 3, "rhythm_1")
    x = CombineDerivations(name="rhythm_meet")(x)
    x = layers.Flatten(name="rhythm_flat")(convolve(x, 2 * width, 1, "rhythm_mix"))
    x = layers.Dropout(0.3, seed=0, name="rhythm_dropout")(x)
    return layers.Dense(4 * width, "relu", name="rhythm_joint")(x)

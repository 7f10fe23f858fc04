"""A small network over waveforms that treats both hemispheres alike, for a CPU.

One encoder reads the left and the right half of the head with the same weights. Their
features meet only through functions in which left and right can be exchanged (mean,
absolute difference, product), so mirroring the head changes nothing: an exact invariance
that other networks have to learn from mirrored examples. The product is large where both
halves do the same at the same time, which separates generalized from lateralized.

The labelled segment is seen finely, the whole window coarsely, for an expert's vote is
about the segment and takes the rest as context.
"""

import keras
import numpy as np
from keras import layers, ops

from hbac_utils.data.competition import SEGMENT_SECONDS, WINDOW_SECONDS
from hbac_utils.montage import DOUBLE_BANANA, LEFT, MIDLINE, RIGHT

MARGIN_SECONDS = 1  # seen finely on either side of the labelled segment
CONTEXT_POOLING = 4  # the whole window is averaged by this before its encoder
MOMENTUM = 0.9  # of batch normalisation: small data makes few steps


@keras.saving.register_keras_serializable("hbac_utils")
class Hemispheres(layers.Layer):
    """Lay the left and the right half of the head, each with the midline, one over the other.

    As rows of an image they share every ``(1, k)`` convolution's weights.

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


@keras.saving.register_keras_serializable("hbac_utils")
class Meet(layers.Layer):
    """Bring the halves' features together by functions symmetric in left and right.

    Input shape: ``(batch, 2, time, features)``.
    Output shape: ``(batch, 1, time, 3 * features)``: mean, absolute difference, product.
    """

    def call(self, features):
        """Combine the halves."""
        left, right = features[:, :1], features[:, 1:]
        parts = [(left + right) / 2, ops.abs(left - right), left * right]
        return ops.concatenate(parts, axis=-1)


def build_compact(n_times: int, width: int) -> keras.Model:
    """Build the network.

    Parameters
    ----------
    n_times : int
        Time steps of the 50-s series.
    width : int
        Channels after the stem of the segment's encoder; the context's has half of them.

    Returns
    -------
    keras.Model
        From ``(batch, n_times, 18)`` to ``(batch, 4 * width)``.
    """
    series = keras.Input((n_times, len(DOUBLE_BANANA)))
    seen_finely = n_times * (SEGMENT_SECONDS + 2 * MARGIN_SECONDS) // WINDOW_SECONDS
    segment = layers.Cropping1D((n_times - seen_finely) // 2, name="segment")(series)
    context = layers.AveragePooling1D(CONTEXT_POOLING, name="context")(series)
    features = [_encode(segment, width, "segment"), _encode(context, width // 2, "context")]
    x = layers.Concatenate(name="segment_and_context")(features)
    return keras.Model(series, layers.Dense(4 * width, "relu", name="joint")(x), name="compact")


def _encode(series, width: int, name: str):
    x = Hemispheres(name=f"{name}_hemispheres")(series)
    x = _convolve(x, width, 15, f"{name}_stem", strides=4)
    for i, channels in enumerate((width, 2 * width, 2 * width, 2 * width)):
        x = _convolve(x, channels, 5, f"{name}_{i}")
        x = layers.AveragePooling2D((1, 2), name=f"{name}_pool{i}")(x)
    x = Meet(name=f"{name}_meet")(x)
    x = _convolve(x, 3 * width, 1, f"{name}_mix")
    pooled = [
        layers.GlobalAveragePooling2D(name=f"{name}_mean")(x),
        layers.GlobalMaxPooling2D(name=f"{name}_max")(x),
    ]
    return layers.Concatenate(name=f"{name}_features")(pooled)


def _convolve(x, channels: int, kernel: int, name: str, strides: int = 1):
    x = layers.Conv2D(
        channels, (1, kernel), (1, strides), padding="same", use_bias=False, name=f"{name}_conv"
    )(x)
    x = layers.BatchNormalization(momentum=MOMENTUM, name=f"{name}_norm")(x)
    return layers.ReLU(name=name)(x)

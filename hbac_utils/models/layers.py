"""Learnable resampling of a waveform image: each row becomes a mixture of its derivation's phases.

A waveform image folds 50 ms of a derivation into rows, a row per phase. Mixing the phases of a
derivation is a convolution over time whose stride is its length (VIPEEGNet, npj Digit. Med.
8:768, 2025). It begins as the identity, so at first it changes nothing.
"""

import keras
import numpy as np
from keras import layers, ops

from hbac_utils.labels import CLASSES


class UnitSum(keras.constraints.Constraint):
    """Keeps weights at zero or above, and their sum over the first axis at one."""

    def __call__(self, weights):
        """Project the weights."""
        positive = ops.maximum(weights, 0.0)
        return positive / (ops.sum(positive, axis=0, keepdims=True) + 1e-7)


class PhaseMixing(keras.layers.Layer):
    """Mixes the phases of every derivation into three channels, by the same weights for all.

    Parameters
    ----------
    channels : int
        Derivations, each a band of rows.

    Input shape: ``(batch, channels * phases, columns, 1)``.
    Output shape: ``(batch, channels * phases, columns, 3)``.
    """

    def __init__(self, channels, **kwargs):
        super().__init__(**kwargs)
        self.channels = channels

    def build(self, input_shape):
        """Begin with the identity."""
        phases = input_shape[1] // self.channels
        identity = np.repeat(np.eye(phases, dtype="float32")[..., None], 3, axis=-1)
        self.kernel = self.add_weight(
            shape=(phases, phases, 3),
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(identity, dtype),
            constraint=UnitSum(),
            name="kernel",
        )

    def call(self, image):
        """Mix."""
        phases, columns = self.kernel.shape[0], image.shape[2]
        bands = ops.reshape(image, (-1, self.channels, phases, columns))
        mixed = ops.einsum("bdpt,pqc->bdqtc", bands, self.kernel)
        return ops.reshape(mixed, (-1, self.channels * phases, columns, 3))

    def compute_output_shape(self, input_shape):
        """Return the input's shape with three channels."""
        return (*input_shape[:3], 3)


QUESTIONS = ("pattern", "ictal", "periodic", "lateral if periodic", "lateral if rhythmic")

ANSWERS = {
    "Seizure": {"pattern": True, "ictal": True},
    "LPD": {"pattern": True, "ictal": False, "periodic": True, "lateral if periodic": True},
    "GPD": {"pattern": True, "ictal": False, "periodic": True, "lateral if periodic": False},
    "LRDA": {"pattern": True, "ictal": False, "periodic": False, "lateral if rhythmic": True},
    "GRDA": {"pattern": True, "ictal": False, "periodic": False, "lateral if rhythmic": False},
    "Other": {"pattern": False},
}
"""The way to each class."""


class Questions(layers.Layer):
    """From the answers' logits to the classes' probabilities.

    A class's probability is the product of the answers' on the way to it, summed as logarithms.

    Input shape: ``(batch, 5)``, a logit for each of `QUESTIONS`.
    Output shape: ``(batch, 6)``, probabilities that sum to one.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        steps = [(question, answer) for answer in (True, False) for question in QUESTIONS]
        ways = [[ANSWERS[name].get(q) is answer for name in CLASSES] for q, answer in steps]
        self._ways = np.array(ways, dtype=np.float32)

    def call(self, logits):
        """Follow the ways."""
        answers = [ops.log_sigmoid(logits), ops.log_sigmoid(-logits)]
        return ops.exp(ops.matmul(ops.concatenate(answers, axis=-1), self._ways))

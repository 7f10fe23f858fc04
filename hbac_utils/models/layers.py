"""Layers with a meaning of their own: learned resampling of waveforms, hierarchical softmax."""

import keras
import numpy as np
from keras import layers, ops

from hbac_utils.labels import CLASSES, DECISION_PATHS


class UnitSum(keras.constraints.Constraint):
    """Keeps weights non-negative and their sum over the first axis at one."""

    def __call__(self, weights):
        """Project the weights."""
        positive = ops.maximum(weights, 0.0)
        return positive / (ops.sum(positive, axis=0, keepdims=True) + 1e-7)


class PolyphaseConv(keras.layers.Layer):
    """Learned resampling of a waveform image: mixes the phases of every derivation.

    A waveform image folds 50 ms of a derivation into one row per phase. A mixture of the phases is
    a convolution over time with a stride of its length. The kernel starts as the identity and is
    shared by all derivations (as in VIPEEGNet, npj Digit. Med. 8:768, 2025).

    Input shape: ``(batch, channels * phases, columns, 1)``, where a channel is a derivation.
    Output shape: ``(batch, channels * phases, columns, 3)``.
    """

    def __init__(self, channels: int, **kwargs):
        super().__init__(**kwargs)
        self.channels = channels

    def build(self, input_shape):
        """Create the kernel."""
        phases = input_shape[1] // self.channels
        identity = np.repeat(np.eye(phases, dtype="float32")[..., None], 3, axis=-1)
        self.kernel = self.add_weight(
            shape=(phases, phases, 3),
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(identity, dtype),
            constraint=UnitSum(),
            name="kernel",
        )

    def call(self, image):
        """Mix the phases."""
        phases, columns = self.kernel.shape[0], image.shape[2]
        bands = ops.reshape(image, (-1, self.channels, phases, columns))
        mixed = ops.einsum("bdpt,pqc->bdqtc", bands, self.kernel)
        return ops.reshape(mixed, (-1, self.channels * phases, columns, 3))

    def compute_output_shape(self, input_shape):
        """Return the input's shape with three channels."""
        return (*input_shape[:3], 3)


def decision_nodes() -> np.ndarray:
    """Inner nodes of the terminology's decision tree on the path to each class.

    Returns shape (5 nodes, 6 classes): 1 or −1 where the class lies beyond the node's yes or no,
    0 if not beyond it. Nodes are in the order of their first use: pattern, ictal, periodic,
    lateral of periodic patterns, lateral of rhythmic ones.
    """
    nodes: dict[tuple, list[int]] = {}
    for column, name in enumerate(CLASSES):
        path: tuple = ()
        for decision, answer in DECISION_PATHS[name].items():
            row = nodes.setdefault((*path, decision), [0] * len(CLASSES))
            row[column] = 1 if answer else -1
            path = (*path, (decision, answer))
    return np.array(list(nodes.values()))


N_DECISIONS = len(decision_nodes())


class HierarchicalSoftmax(layers.Layer):
    """Class probabilities from binary decisions along the terminology's tree.

    A class's probability is the product of the decisions on the path to it (nested dichotomies),
    computed as a sum of logarithms.

    Input shape: ``(batch, 5)``, a logit for each of `decision_nodes`.
    Output shape: ``(batch, 6)``; rows sum to one.
    """

    def call(self, logits):
        """Multiply the decisions on each path."""
        nodes = decision_nodes()
        on_path = np.concatenate([nodes == 1, nodes == -1]).astype(np.float32)
        answers = [ops.log_sigmoid(logits), ops.log_sigmoid(-logits)]
        return ops.exp(ops.matmul(ops.concatenate(answers, axis=-1), on_path))

"""A head that asks the questions of the terminology one after the other.

Experts do not choose among six names: they ask whether there is a pattern at all, whether it is
ictal, whether its discharges stand apart, and whether it keeps to one side (Hirsch et al. 2021,
doi:10.1097/WNP.0000000000000806). Five yes-or-no answers along that tree give every distribution
over the six classes, as a softmax does; but what two classes share, such as LPD and GPD, is
learned from both of them. (Nested dichotomies: Frank and Kramer 2004, doi:10.1145/1015330.1015363.)
"""

import keras
import numpy as np
from keras import layers, ops

from hbac_utils.labels import CLASSES

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


@keras.saving.register_keras_serializable("hbac_utils")
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

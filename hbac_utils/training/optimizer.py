"""Adam with decoupled weight decay, and a learning rate of its own below the head."""

import keras
from keras import ops

from hbac_utils.models.classifier import HEAD


class TwoRateAdamW(keras.optimizers.Adam):
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) whose rate is lower below the head.

    All variables but the head's are updated, and decayed, with ``backbone_rate`` times the learning
    rate; zero keeps them as they are. It may be changed between two steps.

    The momentum of averaged weights is min(``ema_momentum``, (1 + t)/(10 + t)) after t steps, so
    that early weights are forgotten soon.
    """

    def __init__(self, learning_rate: float, decay: float = 0.0, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.decay = decay
        self.backbone_rate = keras.Variable(1.0, trainable=False, name="backbone_rate")
        self._in_head: list[bool] = []

    def build(self, variables):
        """Note which variables are the head's."""
        super().build(variables)
        self._in_head = [variable.path.startswith(HEAD) for variable in variables]

    def update_step(self, gradient, variable, learning_rate):
        """Update one variable."""
        rate = ops.cast(learning_rate, variable.dtype)
        if not self._in_head[self._get_variable_index(variable)]:
            rate = rate * ops.cast(self.backbone_rate, variable.dtype)
        if self.decay:
            self.assign_sub(variable, variable * (rate * self.decay))
        super().update_step(gradient, variable, rate)

    def _update_model_variables_moving_average(self, trainable_variables):
        t = ops.cast(self.iterations, "float32")
        momentum = ops.minimum(self.ema_momentum, (1 + t) / (10 + t)) * ops.cast(t > 0, "float32")
        for variable in trainable_variables:
            average = self._model_variables_moving_average[self._get_variable_index(variable)]
            average.assign(momentum * average + (1 - momentum) * variable)

"""Model and optimizer of a run: built once, reset for each fold and stage, copied to resume.

Tracing a training step takes as long as dozens of steps of a small model, and a minute for a
large one. It is done once with and once without augmentation.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from hbac_utils.data.dataset import FoldData
from hbac_utils.models.classifier import build_classifier, compile_classifier, set_augmentation
from hbac_utils.recipe import Recipe, Stage
from hbac_utils.training.optimizer import TwoRateAdamW
from hbac_utils.utils.backend import keras, tf

STATISTICS_BATCHES = 20  # that batch normalisation's statistics of averaged weights are from


class TrainingState:
    """A recipe's model with its optimizer; by default the work is shared by all GPUs."""

    def __init__(self, recipe: Recipe, strategy: tf.distribute.Strategy | None = None):
        self.recipe = recipe
        if strategy is None and len(tf.config.list_logical_devices("GPU")) > 1:
            strategy = tf.distribute.MirroredStrategy()
        self.strategy = strategy or tf.distribute.get_strategy()
        with self.strategy.scope():
            self.model = build_classifier(recipe)
        # variables, not weights: the states of the random generators are among them
        self._variables = list(self.model.variables)
        self._initial = [variable.numpy() for variable in self._variables]
        self._optimizer: TwoRateAdamW  # Keras wraps it where it scales the loss
        self._new_optimizer: list[np.ndarray] = []  # its variables before the first step
        self._augment: bool | None = None
        self._steps: dict = {}
        self._statistics: tuple[int, list[np.ndarray]] | None = None  # of `end_stage`, with step

    def begin_fold(self) -> None:
        """Reset the model."""
        _assign(self._variables, self._initial)

    def begin_stage(self, stage: Stage) -> None:
        """Reset the optimizer and select the traced training step, with or without augmentation."""
        if not self._new_optimizer:
            with self.strategy.scope():
                self._optimizer = self._new(stage)
                compile_classifier(self.model, self._optimizer)
            self._new_optimizer = [variable.numpy() for variable in self.model.optimizer.variables]
        if stage.augment != self._augment:
            self._steps[self._augment] = self.model.train_function
            self.model.train_function = self._steps.get(stage.augment)
            set_augmentation(self.model, stage.augment)
            self._augment = stage.augment
        self._statistics = None
        _assign(self.model.optimizer.variables, self._new_optimizer)
        self._optimizer.backbone_rate.assign(stage.backbone_rate)

    def end_stage(self, data: FoldData, stage: int) -> None:
        """Replace the weights by their running average, if the recipe keeps one.

        Batch normalisation gets the statistics of the averaged weights, from the first training
        batches of the stage (Izmailov et al. 2018, arXiv:1803.05407): those of the changing weights
        do not fit, nor does their average. The rest, optimizer included, is left as it is.
        """
        # `fit` does so too, but a stage that is resumed after its last epoch does not call it
        if not self.recipe.ema:
            return
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
        norms = [
            layer
            for layer in self.model._flatten_layers()
            if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
        ]
        moving = [v for norm in norms for v in (norm.moving_mean, norm.moving_variance)]
        step = int(self.model.optimizer.iterations)
        if self._statistics is None or self._statistics[0] != step:  # else of the last epoch
            self._statistics = step, self._new_statistics(norms, moving, data, stage)
        _assign(moving, self._statistics[1])

    def _new_statistics(
        self, norms: list, moving: list, data: FoldData, stage: int
    ) -> list[np.ndarray]:
        """Compute the moving averages of batch normalisation over training batches."""
        kept = self.arrays()
        _assign(moving, [np.zeros(v.shape) for v in moving])
        # steps at rate zero: the traced step need not be traced again for the forward pass alone
        n = min(STATISTICS_BATCHES, data.steps_per_epoch(stage))
        dataset = data.training_dataset(stage).take(n)
        batches = iter(self.strategy.experimental_distribute_dataset(dataset))
        self.model.optimizer.learning_rate = 0.0
        self.model.make_train_function()
        for _ in range(n):
            self.model.train_function(batches)
        # a moving average that began at zero has 1 − momentumⁿ of its weight
        shares = [1 - norm.momentum**n for norm in norms for _ in range(2)]
        statistics = [v.numpy() / share for v, share in zip(moving, shares, strict=True)]
        self.restore(kept)
        return statistics

    @contextmanager
    def averaged(self, data: FoldData, stage: int) -> Iterator[None]:
        """Use the running average of the weights inside the block; see `end_stage`."""
        if not self.recipe.ema:
            yield
            return
        kept = self.arrays()
        self.end_stage(data, stage)
        try:
            yield
        finally:
            self.restore(kept)

    def arrays(self) -> list[np.ndarray]:
        """Copy everything that changes in training: weights, random generators, optimizer."""
        return [v.numpy() for v in (*self._variables, *self.model.optimizer.variables)]

    def restore(self, arrays: list[np.ndarray]) -> None:
        """Restore a copy made by `arrays`, with the same recipe and in the same stage."""
        _assign([*self._variables, *self.model.optimizer.variables], arrays)

    def _new(self, stage: Stage) -> TwoRateAdamW:
        average = {"use_ema": True, "ema_momentum": self.recipe.ema} if self.recipe.ema else {}
        return TwoRateAdamW(stage.peak_learning_rate, self.recipe.weight_decay, **average)


def _assign(variables: list, values: list[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)

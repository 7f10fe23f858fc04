"""Model and optimizer of a run: built once, reset for each fold and stage, copied to resume.

Tracing a training step takes as long as dozens of steps of a small model, and a minute for a
large one. It is done once with and once without augmentation.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import psutil

from hbac_utils.models.classifier import build_classifier, compile_classifier, set_augmentation
from hbac_utils.recipe import Recipe, Stage
from hbac_utils.utils.backend import keras, tf
from hbac_utils.utils.errors import InputError


def set_precision() -> None:
    """Use half precision for the layers that are built next, if there is a GPU.

    Views and the head are always float32.
    """
    policy = "mixed_float16" if tf.config.list_physical_devices("GPU") else "float32"
    keras.config.set_dtype_policy(policy)


def all_devices() -> tf.distribute.Strategy:
    """Return the strategy that trains on all GPUs, or on the only device."""
    if len(tf.config.list_logical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


class TrainingState:
    """A recipe's model with its optimizer.

    Parameters
    ----------
    recipe : Recipe
    strategy : tf.distribute.Strategy, optional
        Devices that share the work; all GPUs by default.

    Raises
    ------
    InputError
        If pretrained weights are not found, or a training step would need more memory than
        there is.
    """

    def __init__(self, recipe: Recipe, strategy: tf.distribute.Strategy | None = None):
        self.recipe = recipe
        self.strategy = all_devices() if strategy is None else strategy
        set_precision()
        with self.strategy.scope():
            self.model = build_classifier(recipe)
        check_memory(self.model, max(stage.batch_size for stage in recipe.stages))
        # variables, not weights: the states of the random generators are among them
        self._variables = list(self.model.variables)
        self._initial = [variable.numpy() for variable in self._variables]
        self._new_optimizer: list[np.ndarray] = []  # its variables before the first step
        self._augment: bool | None = None
        self._steps: dict = {}

    def begin_fold(self) -> None:
        """Reset the model."""
        _assign(self._variables, self._initial)

    def begin_stage(self, stage: Stage) -> None:
        """Reset the optimizer and select the traced training step, with or without augmentation."""
        if not self._new_optimizer:
            with self.strategy.scope():
                compile_classifier(self.model, self._optimizer(stage))
                self.model.optimizer.build(self.model.trainable_variables)
            self._new_optimizer = [variable.numpy() for variable in self.model.optimizer.variables]
        if stage.augment != self._augment:
            self._steps[self._augment] = self.model.train_function
            self.model.train_function = self._steps.get(stage.augment)
            set_augmentation(self.model, stage.augment)
            self._augment = stage.augment
        _assign(self.model.optimizer.variables, self._new_optimizer)

    def end_stage(self) -> None:
        """Replace the weights by their running average, if the recipe keeps one.

        Keras does so at the end of `fit`, but a stage that is resumed after its last epoch does
        not call it.
        """
        if self.recipe.ema:
            self.model.optimizer.finalize_variable_values(self.model.trainable_variables)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Use the running average of the weights, if the recipe keeps one, inside the block."""
        if not self.recipe.ema:
            yield
            return
        weights = [variable.numpy() for variable in self.model.trainable_variables]
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
        try:
            yield
        finally:
            _assign(self.model.trainable_variables, weights)

    def arrays(self) -> list[np.ndarray]:
        """Copy everything that changes in training: weights, random generators, optimizer."""
        variables = [*self._variables, *self.model.optimizer.variables]
        return [variable.numpy() for variable in variables]

    def restore(self, arrays: list[np.ndarray]) -> None:
        """Restore a copy made by `arrays`, with the same recipe and in the same stage."""
        _assign([*self._variables, *self.model.optimizer.variables], arrays)

    def _optimizer(self, stage: Stage) -> keras.optimizers.Optimizer:
        average = {"use_ema": True, "ema_momentum": self.recipe.ema} if self.recipe.ema else {}
        if self.recipe.weight_decay:
            decay = self.recipe.weight_decay
            return keras.optimizers.AdamW(stage.peak_learning_rate, weight_decay=decay, **average)
        return keras.optimizers.Adam(stage.peak_learning_rate, **average)


def _assign(variables: list, values: list[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def check_memory(model: keras.Model, batch_size: int) -> None:
    """Refuse a batch that needs more memory than is free, on machines without a GPU.

    Raises
    ------
    InputError
    """
    if tf.config.list_physical_devices("GPU"):
        return
    needed, available = training_bytes(model, batch_size), psutil.virtual_memory().available
    if needed > available:
        raise InputError(
            f"a training step with batch_size {batch_size} needs about {needed / 2**30:.1f} GB of "
            f"memory, {available / 2**30:.1f} GB are free; lower stages.*.batch_size or the "
            "view's size"
        )


def training_bytes(model: keras.Model, batch_size: int) -> int:
    """Estimate the memory of a training step.

    The outputs of all layers are kept for the backward pass; weights, gradients and Adam's two
    moments are four copies of the parameters.
    """
    outputs = sum(_output_size(layer) for layer in model.layers)
    return 4 * (batch_size * outputs + 4 * model.count_params())


def _output_size(layer: keras.layers.Layer) -> int:
    if isinstance(layer, keras.Model):
        return sum(_output_size(inner) for inner in layer.layers)
    outputs = keras.tree.flatten(layer.output)
    return sum(int(np.prod([side or 1 for side in output.shape[1:]])) for output in outputs)

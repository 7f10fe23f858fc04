"""The model and the optimizer of a run: built once, set back for each fold, put away and restored.

Tracing a training step takes as long as dozens of steps of a small model, and a minute for a
large one; so it is done once for the stages that augment, and once for those that do not.
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
    """Let the layers that are built next compute in half precision if there is a GPU.

    Views and the head stay float32 in any case.
    """
    policy = "mixed_float16" if tf.config.list_physical_devices("GPU") else "float32"
    keras.config.set_dtype_policy(policy)


def all_devices() -> tf.distribute.Strategy:
    """Choose the strategy that trains on all GPUs of the machine, or on its one device."""
    if len(tf.config.list_logical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


class Workbench:
    """A recipe's model with its optimizer.

    Parameters
    ----------
    recipe : Recipe
    strategy : tf.distribute.Strategy, optional
        Which devices share the work; all GPUs by default.

    Raises
    ------
    InputError
        If the recipe's pretrained weights are not to be found, or a training step would, by
        estimate, need more memory than there is.
    """

    def __init__(self, recipe: Recipe, strategy: tf.distribute.Strategy | None = None):
        self.recipe = recipe
        self.strategy = all_devices() if strategy is None else strategy
        set_precision()
        with self.strategy.scope():
            self.model = build_classifier(recipe)
        check_memory(self.model, max(stage.batch_size for stage in recipe.stages))
        # the variables, not the weights: the states of the random generators are among them
        self._variables = list(self.model.variables)
        self._initial = [variable.numpy() for variable in self._variables]
        self._blank: list[np.ndarray] = []  # the optimizer's variables before the first step
        self._augment: bool | None = None
        self._steps: dict = {}

    def begin_fold(self) -> None:
        """Set the model back to its first state."""
        _assign(self._variables, self._initial)

    def begin_stage(self, stage: Stage) -> None:
        """Set the optimizer back, and take the training step that the stage needs."""
        if not self._blank:
            with self.strategy.scope():
                compile_classifier(self.model, self._optimizer(stage))
                self.model.optimizer.build(self.model.trainable_variables)
            self._blank = [variable.numpy() for variable in self.model.optimizer.variables]
        if stage.augment != self._augment:
            # whether layers augment is read when a step is traced: there is one step of each kind
            self._steps[self._augment] = self.model.train_function
            self.model.train_function = self._steps.get(stage.augment)
            set_augmentation(self.model, stage.augment)
            self._augment = stage.augment
        _assign(self.model.optimizer.variables, self._blank)

    def end_stage(self) -> None:
        """Put the running average in the place of the weights for good.

        Keras does so at the end of `fit`, which a stage that is taken up after its last epoch
        does not come to.
        """
        if self.recipe.ema:
            self.model.optimizer.finalize_variable_values(self.model.trainable_variables)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Put the running average of the weights in their place, if the recipe keeps one."""
        if not self.recipe.ema:
            yield
            return
        own = [variable.numpy() for variable in self.model.trainable_variables]
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
        try:
            yield
        finally:
            _assign(self.model.trainable_variables, own)

    def state(self) -> list[np.ndarray]:
        """Copy all that changes in training: weights, random generators, optimizer."""
        variables = [*self._variables, *self.model.optimizer.variables]
        return [variable.numpy() for variable in variables]

    def restore(self, state: list[np.ndarray]) -> None:
        """Take up a `state` again, of the same recipe in the same stage."""
        _assign([*self._variables, *self.model.optimizer.variables], state)

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
    """Refuse a batch that the machine has no memory for, where there is no GPU.

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

    Every layer's output is kept for the backward pass; weights, gradients and Adam's two
    moments make four copies of the parameters.

    Parameters
    ----------
    model : keras.Model
    batch_size : int

    Returns
    -------
    int
    """
    outputs = sum(_output_size(layer) for layer in model.layers)
    return 4 * (batch_size * outputs + 4 * model.count_params())


def _output_size(layer: keras.layers.Layer) -> int:
    if isinstance(layer, keras.Model):
        return sum(_output_size(inner) for inner in layer.layers)
    outputs = keras.tree.flatten(layer.output)
    return sum(int(np.prod([side or 1 for side in output.shape[1:]])) for output in outputs)

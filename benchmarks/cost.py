"""Count each recipe's operations and memory; estimate its hours on Kaggle's T4 × 2.

    python benchmarks/cost.py [recipe …]                # a row per recipe; default: all in recipes/
    python benchmarks/cost.py --check [recipe …]        # measure steps of reduced recipes here
    python benchmarks/cost.py --sweeps sweeps/backbone.yaml …   # a row per trial

Counted, without executing the model: the operations of a forward pass over one window (by
TensorFlow's profiler; a multiply-add is two), and the tensors that its gradient keeps, in the
precision of a GPU. A batch needs them once per window, and 16 bytes per parameter (weight,
gradient, two moments of Adam); the buffers of single operations come on top. Several GPUs share a
batch. A training step takes three times the operations of a forward pass. Assumed, not measured:
the real competition's windows, and a T4 × 2 that reaches a third of its 2 × 8.1 · 10¹² operations
per second in single precision.
"""

import argparse
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from measuring import take_turns

from hbac_utils.data.dataset import SHAPES
from hbac_utils.labels import N_CLASSES
from hbac_utils.models import classifier
from hbac_utils.recipe import Recipe, Stage, load_recipe
from hbac_utils.sweeps.config import SweepPlan, describe, load_sweep
from hbac_utils.training.state import TrainingState
from hbac_utils.utils.backend import keras, tf, use_own_settings

# windows of an epoch by votes at least: four fifths of the groups; and one fifth, of all
TRAINED, HELD_OUT = {1: 16_000, 3: 11_700, 8: 5_080}, 4_100
FOLDS = 5
SPEED = 2 * 8.1e12 / 3  # operations a second
PARAMETER_BYTES = 16
GOAL = 1.5  # greatest error of a predicted ratio between two recipes' steps
ALIASES = {"Identity", "IdentityN", "Reshape", "Squeeze", "ExpandDims", "StopGradient"}


def main(arguments: list[str] | None = None) -> None:
    """Print a line per recipe, trial or measured step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", help="default: all in recipes/")
    parser.add_argument("--check", action="store_true", help="measure steps on this machine")
    parser.add_argument("--sweeps", nargs="+", type=Path, default=[])
    options = parser.parse_args(arguments)
    every = sorted(path.stem for path in Path("recipes").glob("*.yaml"))
    if options.check:
        reduced = [name for name in every if load_recipe(name) != load_recipe(name, reduced=True)]
        check(options.recipes or ["compact", *reduced])
    for path in options.sweeps:
        plan = SweepPlan(load_sweep(path, reduced=False))
        rows = [{"trial": describe(s)} | estimate(plan.recipe(s), folds=1) for s in plan.grid]
        table = pd.DataFrame(rows)
        print(f"{path}, one fold each: {table['T4 × 2 hours'].sum():.1f} hours in all")
        _show(table)
    if not (options.check or options.sweeps):
        print(f"T4 × 2 hours: estimated, {FOLDS} folds on the whole competition")
        rows = [{"recipe": name} | estimate(load_recipe(name)) for name in options.recipes or every]
        _show(pd.DataFrame(rows))


def _show(table: pd.DataFrame) -> None:
    print(table.to_string(index=False, float_format="{:,.2f}".format), flush=True)


def estimate(recipe: Recipe, folds: int = FOLDS) -> dict:
    """Make a recipe's row of the table; GB are of the stage with the largest batch."""
    model, operations, kept = _counts(recipe.model_copy(update={"stages": recipe.stages[:1]}))
    images = [layer.input for layer in model.layers if isinstance(layer, keras.Model)]
    batch = max(stage.batch_size for stage in recipe.stages)
    parameters = model.count_params()
    return {
        "input": " + ".join("×".join(str(size) for size in x.shape[1:]) for x in images),
        "parameters": f"{parameters:,}",
        "GFLOP": operations / 1e9,
        "MB/window": kept / 1e6,
        "batch": batch,
        "GB": (batch * kept + PARAMETER_BYTES * parameters) / 1e9,
        "T4 × 2 hours": folds * fold_seconds(recipe, operations) / 3600,
    }


def fold_seconds(recipe: Recipe, operations: int) -> float:
    """Estimate the seconds of one fold: epochs of training and of scoring the held-out windows."""
    simulated = recipe.data.simulated

    def windows(stage: Stage) -> int:
        if simulated:
            return simulated.windows
        return TRAINED[max(votes for votes in TRAINED if votes <= stage.min_votes)]

    seen = sum(stage.epochs * (3 * windows(stage) + HELD_OUT) for stage in recipe.stages)
    return seen * operations / SPEED


# -- counting --------------------------------------------------------------------


@cache
def _counts(recipe: Recipe) -> tuple[keras.Model, int, int]:
    use_own_settings("mixed_float16")  # as on a GPU; what is traced is not executed
    try:
        model = classifier._assemble(recipe, pretrained=False)
        classifier.set_augmentation(model, active=False)  # it has no gradient
        return model, count_operations(model), count_kept_bytes(model)
    finally:
        use_own_settings()


def _signature(model: keras.Model) -> dict[str, tf.TensorSpec]:
    inputs = model.input.items()
    return {name: tf.TensorSpec((1, *x.shape[1:]), x.dtype) for name, x in inputs}


def count_operations(model: keras.Model) -> int:
    """Count the floating-point operations of a forward pass over one window."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
    from tensorflow.python.profiler.model_analyzer import profile
    from tensorflow.python.profiler.option_builder import ProfileOptionBuilder

    forward = tf.function(lambda inputs: model(inputs, training=False))
    traced = forward.get_concrete_function(_signature(model))
    options = ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    graph = convert_variables_to_constants_v2(traced).graph
    return profile(graph, options=options).total_float_ops


def count_kept_bytes(model: keras.Model) -> int:
    """Count the bytes that the gradient keeps of a forward pass over one window.

    These are the tensors of the forward pass that an operation of the backward pass reads. A layer
    with layers inside, as KerasCV's blocks, keeps more than its output.
    """

    def loss(inputs):
        value = tf.reduce_sum(tf.math.log(model(inputs, training=True)))
        graph = tf.compat.v1.get_default_graph()
        forward.update(operation.name for operation in graph.get_operations())
        tf.gradients(value, [variable.value for variable in model.trainable_variables])

    forward: set[str] = set()
    graph = tf.function(loss).get_concrete_function(_signature(model)).graph
    backward = [op for op in graph.get_operations() if op.name not in forward]
    read = [_source(tensor) for operation in backward for tensor in operation.inputs]
    kept = {tensor.name: tensor for tensor in read if tensor.op.name in forward}
    weights = {"ReadVariableOp", "Const"}
    return sum(
        tensor.dtype.size * tensor.shape.num_elements()
        for tensor in kept.values()
        if tensor.dtype.is_floating
        and tensor.op.type not in weights
        # a weight in half precision
        and not (tensor.op.type == "Cast" and _source(tensor.op.inputs[0]).op.type in weights)
    )


def _source(tensor: tf.Tensor) -> tf.Tensor:
    """Follow operations that share the memory of their input."""
    while tensor.op.type in ALIASES:
        tensor = tensor.op.inputs[tensor.value_index]
    return tensor


# -- measuring -------------------------------------------------------------------


def check(names: list[str], turns: int = 5) -> pd.DataFrame:
    """Compare measured with predicted times of a window in training, relative to the first.

    Recipes are reduced. Times are of the processor, not of the clock, and recipes take turns: both
    make other load on the machine matter less.
    """
    recipes = {name: load_recipe(name, reduced=True) for name in names}
    measured = take_turns(turns, {name: training_step(r) for name, r in recipes.items()})
    table = pd.DataFrame({"recipe": names})
    seconds = np.array([np.median(measured[name]) for name in names])
    operations = np.array([_counts(recipe)[1] for recipe in recipes.values()])
    table["GFLOP"], table["CPU ms"] = operations / 1e9, 1e3 * seconds
    table["predicted"], table["measured"] = operations / operations[0], seconds / seconds[0]
    ratio = table["measured"] / table["predicted"]
    table["measured/predicted"] = ratio
    _show(table)
    worst = ratio.max() / ratio.min()
    print(f"between two recipes the prediction is off by {worst:.2f} at most (goal: {GOAL})")
    return table


def training_step(recipe: Recipe) -> Callable[[], float]:
    """Trace a recipe's training step; returns a function that times it, CPU seconds per window."""
    state, stage = TrainingState(recipe), recipe.stages[0]
    state.begin_fold()
    state.begin_stage(stage)
    random = np.random.default_rng(0)
    inputs = {
        name: random.normal(
            scale=30 if name == "eeg" else 2, size=(stage.batch_size, *SHAPES[name])
        )
        for name in recipe.inputs
    }
    batch = {name: tf.constant(values, tf.float16) for name, values in inputs.items()}
    truth = tf.constant(random.dirichlet(np.ones(N_CLASSES), stage.batch_size), tf.float32)
    state.model.train_on_batch(batch, truth)

    def step() -> float:
        begun = time.process_time()
        state.model.train_on_batch(batch, truth)
        return (time.process_time() - begun) / stage.batch_size

    return step


if __name__ == "__main__":
    main()

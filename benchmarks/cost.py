"""Count each recipe's operations and memory; estimate its hours on Kaggle's T4 × 2.

    python benchmarks/cost.py [recipe …]                # a row per recipe; default: all in recipes/
    python benchmarks/cost.py --check [recipe …]        # measure steps of reduced recipes here
    python benchmarks/cost.py --sweeps sweeps/backbone.yaml …   # a row per trial

Counted, without executing the model: the operations of TensorFlow in a training step, and for each
its floating-point operations (a multiply-add is two) and the bytes that it reads and writes. By the
roofline model (Williams et al. 2009, doi:10.1145/1498765.1498785) an operation takes the longer of
the times for the one and for the other, here plus a fixed time for starting it. Convolutions are
bound by operations; depthwise ones, batch normalisation and activations by memory.

A batch needs the memory that its gradient keeps once per window, and 16 bytes per parameter
(weight, gradient, two moments of Adam); the buffers of single operations come on top. Several GPUs
share a batch. Assumed, not measured: the real competition's windows, and the share of the T4's
peaks that is reached. ``--check`` measures the machine's speed on three operations of its own, not
on the recipes.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
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
PARAMETER_BYTES = 16
# of Keras' Adam, whose 13 operations on a variable read or write arrays of its size 32 times
UPDATE_BYTES, UPDATE_OPERATIONS = 4 * 32, 13
GOAL = 1.5  # greatest error of a predicted ratio between two recipes' steps
ALIASES = {"Identity", "IdentityN", "Reshape", "Squeeze", "ExpandDims", "StopGradient"}
WEIGHTS = {"ReadVariableOp", "Const"}
IDLE = ALIASES | WEIGHTS | {"Placeholder", "Shape", "ShapeN", "Size"}  # they move no data


@dataclass(frozen=True)
class Machine:
    """Speed of a machine."""

    half: float  # operations a second, half precision
    single: float
    bandwidth: float  # bytes a second
    start: float  # s, of an operation of TensorFlow


# A T4 does at most 65 and 8.1 · 10¹² operations and moves 320 · 10⁹ bytes a second (NVIDIA's data
# sheet). Assumed: a third and two thirds of these, and the time of a start.
T4_PAIR = Machine(2 * 65e12 / 3, 2 * 8.1e12 / 3, 2 * 320e9 * 2 / 3, 10e-6)


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
    counts = count(recipe.model_copy(update={"stages": recipe.stages[:1]}))
    images = [layer.input for layer in counts.model.layers if isinstance(layer, keras.Model)]
    batch = max(stage.batch_size for stage in recipe.stages)
    parameters = counts.model.count_params()
    times = [counts.seconds(T4_PAIR, training=training) for training in (True, False)]
    return {
        "input": " + ".join("×".join(str(size) for size in x.shape[1:]) for x in images),
        "parameters": f"{parameters:,}",
        "GFLOP": counts.flops / 1e9,
        "MB/window": counts.kept / 1e6,
        "batch": batch,
        "GB": (batch * counts.kept + PARAMETER_BYTES * parameters) / 1e9,
        "T4 × 2 hours": folds * fold_seconds(recipe, *times) / 3600,
    }


def fold_seconds(recipe: Recipe, training: float, forward: float) -> float:
    """Estimate the seconds of one fold: epochs of training and of scoring the held-out windows.

    ``training`` and ``forward`` are seconds per window.
    """
    simulated = recipe.data.simulated

    def windows(stage: Stage) -> int:
        if simulated:
            return simulated.windows
        return TRAINED[max(votes for votes in TRAINED if votes <= stage.min_votes)]

    epochs = sum(stage.epochs for stage in recipe.stages)
    seen = sum(stage.epochs * windows(stage) for stage in recipe.stages)
    return seen * training + epochs * HELD_OUT * forward


# -- counting --------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """An operation of TensorFlow in a training step, for the whole batch."""

    kind: str
    flops: int
    bytes: int  # of what it reads and writes
    half: bool  # precision
    forward: bool

    def seconds(self, machine: Machine) -> float:
        """Time by the roofline, and that of starting it."""
        rate = machine.half if self.half else machine.single
        return max(self.flops / rate, self.bytes / machine.bandwidth) + machine.start


@dataclass(frozen=True)
class Counts:
    """What a recipe's training step needs."""

    model: keras.Model
    batch: int
    works: list[Work]
    kept: int  # bytes per window

    @property
    def flops(self) -> float:
        """Operations of a forward pass over one window."""
        return sum(work.flops for work in self.works if work.forward) / self.batch

    def seconds(self, machine: Machine, training: bool = True) -> float:
        """Estimate the seconds per window of training, or of the forward pass alone."""
        works = [work for work in self.works if training or work.forward]
        step = sum(work.seconds(machine) for work in works)
        if training:
            variables = self.model.trainable_variables
            size = sum(int(np.prod(variable.shape)) for variable in variables)
            step += UPDATE_BYTES * size / machine.bandwidth
            step += UPDATE_OPERATIONS * len(variables) * machine.start
        return step / self.batch


@cache
def count(recipe: Recipe, policy: str = "mixed_float16") -> Counts:
    """Count a recipe's training step, by default in the precision of a GPU."""
    use_own_settings(policy)  # what is traced is not executed
    try:
        model = classifier._assemble(recipe, pretrained=False)
        classifier.set_augmentation(model, active=recipe.stages[0].augment)
        return count_step(model, recipe.stages[0].batch_size)
    finally:
        use_own_settings()


def count_step(model: keras.Model, batch: int) -> Counts:
    """Count the operations, and the bytes that the gradient keeps, of a training step.

    Kept are the tensors of the forward pass that an operation of the backward pass reads. A layer
    with layers inside, as KerasCV's blocks, keeps more than its output.
    """

    def loss(inputs):
        value = tf.reduce_sum(tf.math.log(model(inputs, training=True)))
        graph = tf.compat.v1.get_default_graph()
        forward.update(operation.name for operation in graph.get_operations())
        return tf.gradients(value, [variable.value for variable in model.trainable_variables])

    forward: set[str] = set()
    signature = {
        name: tf.TensorSpec((batch, *x.shape[1:]), x.dtype) for name, x in model.input.items()
    }
    operations = _executed(tf.function(loss).get_concrete_function(signature).graph)
    works = [_work(operation, operation.name in forward) for operation in operations]
    backward = [operation for operation in operations if operation.name not in forward]
    read = [_source(tensor) for operation in backward for tensor in operation.inputs]
    kept = {tensor.name: tensor for tensor in read if tensor.op.name in forward}
    kept_bytes = sum(
        _size(tensor)
        for tensor in kept.values()
        if tensor.op.type not in WEIGHTS
        # a weight in half precision
        and not (tensor.op.type == "Cast" and _source(tensor.op.inputs[0]).op.type in WEIGHTS)
    )
    return Counts(model, batch, [work for work in works if work], kept_bytes // batch)


def _executed(graph: tf.Graph) -> list[tf.Operation]:
    """List the operations that results or variables depend on: no gradients of constants."""
    found: dict[str, tf.Operation] = {}
    waiting = [tensor.op for tensor in graph.outputs] + list(graph.control_outputs)
    while waiting:
        operation = waiting.pop()
        if operation.name not in found:
            found[operation.name] = operation
            waiting += [tensor.op for tensor in operation.inputs] + list(operation.control_inputs)
    return list(found.values())


def _work(operation: tf.Operation, forward: bool) -> Work | None:
    """Count an operation; None if it computes nothing with floating-point numbers."""
    tensors = [*operation.inputs, *operation.outputs]
    moved = sum(_size(tensor) for tensor in tensors)
    if operation.type in IDLE or not moved:
        return None
    half = any(tensor.dtype == tf.float16 for tensor in operation.outputs)
    return Work(operation.type, _flops(operation), moved, half, forward)


def _flops(operation: tf.Operation) -> int:
    if operation.type.startswith("DepthwiseConv2dNativeBackprop"):  # unknown to TensorFlow
        gradient = operation.inputs[2]
        kernel = operation.outputs[0] if operation.type.endswith("Filter") else operation.inputs[1]
        return 2 * kernel.shape[0] * kernel.shape[1] * gradient.shape.num_elements()
    from tensorflow.python.framework.ops import get_stats_for_node_def

    counted = get_stats_for_node_def(operation.graph, operation.node_def, "flops")
    return counted.value or 0


def _size(tensor: tf.Tensor) -> int:
    """Bytes of a floating-point tensor."""
    return (tensor.shape.num_elements() or 0) * tensor.dtype.size if tensor.dtype.is_floating else 0


def _source(tensor: tf.Tensor) -> tf.Tensor:
    """Follow operations that share the memory of their input."""
    while tensor.op.type in ALIASES:
        tensor = tensor.op.inputs[tensor.value_index]
    return tensor


# -- measuring -------------------------------------------------------------------


def check(names: list[str], turns: int = 5) -> pd.DataFrame:
    """Compare measured with predicted times of a window in training.

    Recipes are reduced. Times are of the processor, not of the clock; recipes and the operations
    by which the machine's speed is measured take turns: both make other load matter less.
    """
    recipes = {name: load_recipe(name, reduced=True) for name in names}
    steps = {name: training_step(recipe) for name, recipe in recipes.items()}
    measured = take_turns(turns, reference_operations() | steps)
    speed = {name: float(np.median(seconds)) for name, seconds in measured.items()}
    rate, bandwidth, start = (1 / speed["flop"], 1 / speed["byte"], speed["start"])
    print(
        f"this machine: {rate / 1e9:.0f} · 10⁹ operations and {bandwidth / 1e9:.1f} GB a second, "
        f"{1e6 * start:.0f} µs for starting one of TensorFlow"
    )
    machine = Machine(rate, rate, bandwidth, start)
    counted = [count(recipe, "float32") for recipe in recipes.values()]
    table = pd.DataFrame({"recipe": names, "GFLOP": [counts.flops / 1e9 for counts in counted]})
    table["predicted ms"] = [1e3 * counts.seconds(machine) for counts in counted]
    table["measured ms"] = [1e3 * speed[name] for name in names]
    ratio = table["measured/predicted"] = table["measured ms"] / table["predicted ms"]
    _show(table)
    worst = ratio.max() / ratio.min()
    print(f"between two recipes the prediction is off by {worst:.2f} at most (goal: {GOAL})")
    return table


def reference_operations(starts: int = 200) -> dict[str, Callable[[], float]]:
    """Make functions that time a floating-point operation, a byte and a start, in CPU seconds.

    In turn: both gradients of a dense 3×3 convolution, a product with a number per channel, and
    a chain of ``starts`` small operations.
    """
    image, kernel = tf.random.normal((16, 32, 32, 64)), tf.random.normal((3, 3, 64, 64))
    flops = 2 * 2 * 9 * 64 * 64 * 16 * 32 * 32

    @tf.function
    def convolve():
        return tf.gradients(tf.nn.conv2d(image, kernel, 1, "SAME"), [image, kernel], [image])

    @tf.function
    def scale(features):
        return features * kernel[0, 0, 0]

    @tf.function
    def chain(x):
        for _ in range(starts):
            x = tf.sin(x)
        return x

    def timed(function: Callable, units: int, *arguments) -> Callable[[], float]:
        def measure() -> float:
            begun = time.process_time()
            function(*arguments)
            return (time.process_time() - begun) / units

        measure()  # traced
        return measure

    features = tf.random.normal((16, 64, 32, 64))
    return {
        "flop": timed(convolve, flops),
        "byte": timed(scale, 2 * 4 * 16 * 64 * 32 * 64, features),
        "start": timed(chain, starts, tf.zeros(1)),
    }


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

"""Estimate GPU hours of the paper's sweeps from floating-point operations.

    python benchmarks/cost.py [sweeps/backbone.yaml …]

TensorFlow's profiler counts the operations of a forward pass over one window (a multiply-add is
two); a training step takes three times as many. Assumed, not measured: the real competition's
windows, and Kaggle's T4 × 2 that reach a third of their 2 × 8.1 · 10¹² operations per second in
single precision.
"""

import argparse
from functools import cache
from pathlib import Path

import pandas as pd

from hbac_utils.models.classifier import build_classifier
from hbac_utils.recipe import Recipe, override
from hbac_utils.sweeps.config import SweepPlan, describe, load_sweep
from hbac_utils.utils.backend import tf

SWEEPS = ("backbone", "batch-size", "kernel-size", "epochs")
TRAINED, HELD_OUT = 16_000, 4_100  # windows of an epoch: four fifths, and one fifth
SPEED = 2 * 8.1e12 / 3  # operations a second


def main(arguments: list[str] | None = None) -> None:
    """Print a line per trial, and the sum of each sweep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "sweeps", nargs="*", default=[f"sweeps/{name}.yaml" for name in SWEEPS], type=Path
    )
    for path in parser.parse_args(arguments).sweeps:
        plan = SweepPlan(load_sweep(path, reduced=False))
        trials = []
        for settings in plan.grid:
            gigaflops, hours = estimate(plan.recipe(settings))
            trials.append({"trial": describe(settings), "GFLOP": gigaflops, "hours": hours})
        table = pd.DataFrame(trials)
        print(f"{path}: {table['hours'].sum():.1f} hours in all")
        print(table.round(2).to_string(index=False), flush=True)


def estimate(recipe: Recipe) -> tuple[float, float]:
    """Count GFLOP of a window's forward pass, and estimate the hours of one fold."""
    once = override(recipe, {"backbone.weights": "none"})
    operations = _operations(once.model_copy(update={"stages": once.stages[:1]}))
    epochs = sum(stage.epochs for stage in recipe.stages)
    seconds = epochs * operations * (3 * TRAINED + HELD_OUT) / SPEED
    return operations / 1e9, seconds / 3600


@cache
def _operations(recipe: Recipe) -> int:
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
    from tensorflow.python.profiler.model_analyzer import profile
    from tensorflow.python.profiler.option_builder import ProfileOptionBuilder

    model = build_classifier(recipe)
    inputs = {
        name: tf.TensorSpec((1, *value.shape[1:]), value.dtype)
        for name, value in model.input.items()
    }
    forward = tf.function(lambda given: model(given, training=False))
    graph = convert_variables_to_constants_v2(forward.get_concrete_function(inputs)).graph
    options = ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    return profile(graph, options=options).total_float_ops


if __name__ == "__main__":
    main()

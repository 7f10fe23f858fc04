"""Lines of the benchmark about steps of models: through the pipeline against a batch in memory."""

import time
from collections.abc import Callable
from functools import partial

import numpy as np
from bench_windows import FILL, Effort, training_data
from measuring import Line, ratio, take_turns

from hbac_utils.data.dataset import SHAPES, evaluation_dataset
from hbac_utils.data.store import Store
from hbac_utils.models.classifier import build_classifier, compile_classifier
from hbac_utils.recipe import Recipe, load_recipe, override
from hbac_utils.utils.backend import keras, tf


class Clock(keras.callbacks.Callback):
    """Records wall and processor time at the end of each step of ``fit`` or ``predict``."""

    def set_params(self, params):
        """Start anew."""
        self.ends: list[tuple[float, float]] = []

    def on_train_batch_end(self, batch, logs=None):
        """Record a step."""
        self.ends.append((time.perf_counter(), time.process_time()))

    on_predict_batch_end = on_train_batch_end

    def seconds_per_step(self) -> np.ndarray:
        """Mean after the pipeline has filled: wall, processor."""
        return (np.array(self.ends[-1]) - self.ends[FILL - 1]) / (len(self.ends) - FILL)


def training_step(model: keras.Model, dataset: tf.data.Dataset, steps: int) -> np.ndarray:
    """Time a training step."""
    clock = Clock()
    model.fit(dataset, steps_per_epoch=FILL + steps, callbacks=[clock], shuffle=False, verbose=0)
    return clock.seconds_per_step()


def prediction_step(model: keras.Model, dataset: tf.data.Dataset, steps: int) -> np.ndarray:
    """Time the prediction of a batch."""
    clock = Clock()
    model.predict(dataset, steps=FILL + steps, callbacks=[clock], verbose=0)
    return clock.seconds_per_step()


def deep_recipe(effort: Effort) -> Recipe:
    """EfficientNetV2-B0 on EEG spectrograms."""
    bins, frames = effort.image
    changes = {
        "stages.0.batch_size": effort.deep_batch, "view.bins": bins, "view.frames": frames,
        "backbone.weights": "none",
    }  # fmt: skip
    return override(load_recipe("eeg-spectrogram"), changes)


def model_lines(store: Store, effort: Effort) -> list[Line]:
    """Training and prediction through the pipeline against a batch in memory."""
    deep = deep_recipe(effort)
    return [
        *_model_lines("compact", store, load_recipe("compact"), effort.steps, effort.turns),
        *_model_lines("EfficientNetV2-B0", store, deep, effort.deep_steps, effort.turns),
    ]


def _model_lines(name: str, store: Store, recipe: Recipe, steps: int, turns: int) -> list[Line]:
    model, size = build_classifier(recipe), recipe.stages[0].batch_size
    compile_classifier(model, keras.optimizers.Adam(1e-4))
    rows = np.resize(store.evaluation_windows(), (FILL + steps) * size)
    lines = []
    for step, dataset, floor in (
        (training_step, training_data(store, recipe).training_dataset(0), 0.95),
        (prediction_step, evaluation_dataset(store, rows, recipe.inputs, size), 0.90),
    ):
        memory = tf.data.Dataset.from_tensors(next(iter(dataset))).repeat()
        step(model, dataset, 1)  # traces, and compiles MixUp
        cases = {"memory": memory, "pipeline": dataset}
        timed = take_turns(turns, {k: partial(step, model, v, steps) for k, v in cases.items()})
        wall, processor = ({k: [t[i] for t in v] for k, v in timed.items()} for i in (0, 1))
        ms, own = ({k: 1e3 * np.median(v) for k, v in x.items()} for x in (wall, processor))
        note = f"{ms['memory']:.0f} : {ms['pipeline']:.0f} ms per batch of {size}; processors "
        note += f"{own['memory']:.0f} : {own['pipeline']:.0f} ms"
        what = f"{step.__name__.replace('_', ' ')}, {name}: pipeline : memory"
        lines.append(Line(what, ratio(wall, "memory", "pipeline"), floor, note=note))
    return lines


def view_line(effort: Effort) -> Line:
    """Time the EEG spectrogram's layers against the backbone's forward pass."""
    recipe = deep_recipe(effort)
    view = recipe.view.build("view")
    raw = tf.random.normal((effort.deep_batch, *SHAPES["eeg"]), stddev=3.0)
    seen = tf.repeat(view(raw), 3, axis=-1)
    network = recipe.backbone.build(tuple(seen.shape[1:]))

    def seconds(function: Callable, value: tf.Tensor) -> float:
        begun = time.perf_counter()
        np.asarray(function(value))
        return time.perf_counter() - begun

    cases = {
        "view": partial(seconds, tf.function(view), raw),
        "backbone": partial(seconds, tf.function(lambda x: network(x, training=False)), seen),
    }
    take_turns(1, cases)  # traces
    measured = take_turns(effort.turns, cases)
    ms = {k: 1e3 * np.median(v) for k, v in measured.items()}
    size = "×".join(str(n) for n in seen.shape[1:3])
    note = f"{ms['view']:.0f} : {ms['backbone']:.0f} ms per {effort.deep_batch} windows"
    name = f"view EEG spectrogram, {size} : forward pass of EfficientNetV2-B0"
    return Line(name, ratio(measured, "view", "backbone"), ceiling=0.35, note=note)

"""Lines of the benchmark about batches of windows; its sizes, and the public starter's steps."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from cost import T4_PAIR, count
from measuring import Line, ratio, take_turns

from hbac_utils.data.dataset import SHAPES, FoldData
from hbac_utils.data.store import Store
from hbac_utils.recipe import Data, Recipe, load_recipe, override
from hbac_utils.synthetic.components import open_components
from hbac_utils.synthetic.mixtures import Mixtures
from hbac_utils.utils.backend import tf

JOBS = 2  # worker processes of packing and of its reference
FILL = 4  # batches before the clock starts, while the pipeline fills
TIMES_FASTER = 4  # than the public starter
# processor cores of Kaggle's T4 × 2, and those that the steps of two GPUs themselves use, which is
# assumed
CORES, STEP_CORES = 4, 2


@dataclass(frozen=True)
class Effort:
    """Sizes of the measurements."""

    growth: tuple[int, ...] = (100, 200, 400)
    plans: tuple[int, ...] = (1_000, 4_000, 17_089)  # EEGs whose simulation is planned
    eegs: int = 200  # of the lines other than growth
    turns: int = 5
    members: tuple[int, int] = (50, 107_000)  # of the blend, and their rows
    cached: int = 256  # windows in the starter's cache, 1.4 MB each
    windows: int = 3_000  # per turn of the lines about batches
    steps: int = 12  # per turn of the lines about the compact model
    deep_steps: int = 4  # and about EfficientNetV2-B0
    deep_batch: int = 16
    reduced: bool = False  # `vipeegnet` of the T4 line
    image: tuple[int, int] = (32, 256)  # bins of a chain, frames


QUICK = Effort(
    (4, 12),
    (4, 12),
    12,
    turns=1,
    members=(0, 0),
    cached=64,
    windows=96,
    steps=2,
    deep_steps=1,
    deep_batch=2,
    reduced=True,
    image=(8, 32),
)


# -- the public starter --------------------------------------------------------
# "HMS-HBAC: KerasCV Starter Notebook" by awsaf49 on Kaggle, its steps written anew


def seconds_of_starter(paths: list[Path], folder: Path) -> float:
    """Time its conversion of spectrograms into .npy files."""
    folder.mkdir(exist_ok=True)

    def convert(path: Path) -> None:
        values = pd.read_parquet(path).fillna(0).to_numpy()[:, 1:].T
        np.save(folder / f"{path.stem}.npy", values.astype("float32"))

    begun = time.perf_counter()
    joblib.Parallel(n_jobs=JOBS)(joblib.delayed(convert)(path) for path in paths)
    return time.perf_counter() - begun


def starter_dataset(store: Store, windows: int, batch: int, mixup: bool) -> tf.data.Dataset:
    """Make its batches from a cache in memory: images (batch, 400, 300, 3), float32."""
    starts = np.resize(store.windows["spectrogram_start"], windows)
    images = np.stack([store.spectrogram[i : i + 300].T for i in starts]).astype(np.float32)

    def image(log):
        log -= tf.reduce_mean(log)
        log /= tf.math.reduce_std(log) + 1e-6
        return tf.tile(log[..., None], [1, 1, 3]), tf.ones(6) / 6

    def mixed(values, labels):
        size = tf.shape(values)[0]
        a, b = (tf.random.gamma([size], 2.0) for _ in range(2))
        share, order = a / (a + b), tf.random.shuffle(tf.range(size))
        own, other = share[:, None, None, None], tf.gather(values, order)
        labels = share[:, None] * labels + (1 - share)[:, None] * tf.gather(labels, order)
        return own * values + (1 - own) * other, labels

    auto = tf.data.AUTOTUNE
    data = tf.data.Dataset.from_tensor_slices(images).map(image, auto).cache().repeat()
    data = data.shuffle(windows, seed=0).batch(batch)
    return (data.map(mixed, auto) if mixup else data).prefetch(auto)


# -- windows -------------------------------------------------------------------


def training_data(store: Store, recipe: Recipe, **changes) -> FoldData:
    """All windows of a store, for more epochs than are measured."""
    endless = {"stages.0.epochs": 1_000_000, **changes}
    return FoldData(store, override(recipe, endless))


def copy_speed(store: Store, data: FoldData, n: int) -> float:
    """Windows per second that numpy copies into one batch's memory."""
    (name,) = data.recipe.inputs
    source, starts = getattr(store, name), store.windows[f"{name}_start"].to_numpy()
    rows = starts[np.resize(data.rows_of_epoch(0, 0), n)]
    batch = np.zeros((data.recipe.stages[0].batch_size, *SHAPES[name]), np.float16)
    begun = time.perf_counter()
    for i, start in enumerate(rows):
        batch[i % len(batch)] = source[start : start + batch.shape[1]]
    return n / (time.perf_counter() - begun)


def batch_speed(data: FoldData, n: int) -> float:
    """Windows per second in ready batches."""
    return dataset_speed(data.training_dataset(0), n)


def dataset_speed(dataset: tf.data.Dataset, n: int, clock: Callable = time.perf_counter) -> float:
    """Windows per second of a clock."""
    batches = iter(dataset)
    for _ in range(FILL):
        next(batches)
    begun, seen = clock(), 0
    while seen < n:
        seen += next(batches)[1].shape[0]
    return seen / (clock() - begun)


def warm_up(data: FoldData) -> None:
    """Run an epoch, which compiles for the last, smaller batch too."""
    batch_speed(data, len(data.rows_of_epoch(0, 0)))


def window_lines(store: Store, effort: Effort) -> list[Line]:
    """EEG windows into batches against copying; Kaggle spectrograms against the starter."""
    compact, paper = load_recipe("compact"), load_recipe("paper-efficientnetv2b2")
    moved, unmixed = {"augment.shift": 5.0}, {"augment.mixup": 0.0}
    windows = {
        "plain": training_data(store, compact, **moved, **unmixed),
        "mixed": training_data(store, compact, **moved, **{"augment.mixup": 0.5}),
        "Kaggle, MixUp": training_data(store, paper),
        "Kaggle, plain": training_data(store, paper, **unmixed),
    }
    for value in windows.values():
        warm_up(value)
    n, batch = effort.windows, paper.stages[0].batch_size
    cases = {name: partial(batch_speed, value, n) for name, value in windows.items()}
    cases["numpy"] = partial(copy_speed, store, windows["plain"], n)
    for name in ("MixUp", "plain"):
        data = starter_dataset(store, effort.cached, batch, name == "MixUp")
        cases[f"starter, {name}"] = partial(dataset_speed, data, n)
    measured = take_turns(effort.turns, cases)
    speed = {name: float(np.median(values)) for name, values in measured.items()}
    compared = [
        ("EEG windows into batches : numpy copying", "plain", "numpy", 0.5),
        ("EEG windows into batches, MixUp : numpy copying", "mixed", "numpy", 0.2),
        *(
            (f"Kaggle windows into batches, {x} : starter", f"Kaggle, {x}", f"starter, {x}", 4)
            for x in ("MixUp", "plain")
        ),
    ]
    return [
        Line(
            name, ratio(measured, over, under), floor,
            note=f"{speed[over]:,.0f} : {speed[under]:,.0f} windows/s",
        )
        for name, over, under, floor in compared
    ]  # fmt: skip


def gpu_line(store: Store, effort: Effort) -> Line:
    """Windows that four cores deliver beside the steps, against those that T4 × 2 train."""
    recipe = load_recipe("vipeegnet", reduced=effort.reduced)
    data = training_data(store, recipe)
    warm_up(data)

    def windows_per_core() -> float:
        return dataset_speed(data.training_dataset(0), effort.windows, time.process_time)

    per_core = float(np.median(take_turns(effort.turns, {"": windows_per_core})[""]))
    delivered, needed = per_core * (CORES - STEP_CORES), 1 / count(recipe).seconds(T4_PAIR)
    note = f"{delivered:,.0f} windows/s ({per_core:,.0f} a core × {CORES - STEP_CORES}) : "
    note += f"{needed:,.0f}"
    return Line("vipeegnet on T4 × 2, windows delivered : needed", delivered / needed, 1, note=note)


def mixture_line(work: Path, turns: int, n: int = 32) -> Line:
    """Windows mixed from simulated components, in one thread."""
    mixtures = Mixtures(
        open_components(work / "components", n, 0, Data().band, progress=False), 1024
    )

    def windows_per_second() -> float:
        begun = time.perf_counter()
        mixtures.batch(np.random.default_rng(0), n)
        return n / (time.perf_counter() - begun)

    measured = take_turns(1 + turns, {"mix": windows_per_second})["mix"][1:]
    return Line("simulated windows mixed per s", float(np.median(measured)), 400)

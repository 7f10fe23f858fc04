"""Memory of packing and of one epoch of training: neither may grow with the data.

    python benchmarks/memory.py --data <competition> --out <folder> [--recipe compact]

Packs in a child process, trains an epoch in this one, and writes ``memory.png`` and
``memory.json``.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np
import psutil
from footprint import anonymous, growth
from measuring import write_report

mpl.use("Agg")
import matplotlib.pyplot as plt

from hbac_utils.data.dataset import FoldData
from hbac_utils.data.store import open_store
from hbac_utils.recipe import load_recipe, override
from hbac_utils.training.state import TrainingState
from hbac_utils.utils.backend import keras

PERIOD = 0.5  # seconds between two samples of the packing processes
SETTLED = 0.3  # share of an epoch after which buffers and pools have their size


def measure_packing(data: Path, store: Path, recipe: str) -> np.ndarray:
    """Pack; returns seconds, MB of the largest worker and of all processes, shape (n, 3)."""
    command = [sys.executable, "-m", "hbac_utils", "pack", "--data", str(data)]
    child = subprocess.Popen([*command, "--recipe", recipe, "--out", str(store)])
    begun, seen = time.monotonic(), []
    while child.poll() is None:
        try:
            workers = psutil.Process(child.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            break
        sizes = [anonymous(worker.pid) for worker in workers] or [0.0]
        seen.append((time.monotonic() - begun, max(sizes), sum(sizes) + anonymous(child.pid)))
        time.sleep(PERIOD)
    if child.wait():
        raise SystemExit(child.returncode)
    return np.array(seen)


class Memory(keras.callbacks.Callback):
    """Records the memory after every step."""

    def __init__(self):
        super().__init__()
        self.samples: list[float] = []

    def on_train_batch_end(self, batch, logs=None):
        """Record a sample."""
        self.samples.append(anonymous())


def measure_training(store: Path, name: str) -> np.ndarray:
    """Train one epoch on all windows; returns MB after each step."""
    recipe = override(load_recipe(name), {"stages.0.epochs": 1})
    data, state, memory = FoldData(open_store(store), recipe), TrainingState(recipe), Memory()
    state.begin_fold()
    state.begin_stage(recipe.stages[0])
    state.model.fit(
        data.training_dataset(0), steps_per_epoch=data.steps_per_epoch(0), callbacks=[memory],
        shuffle=False, verbose=0,
    )  # fmt: skip
    return np.array(memory.samples)


def describe(sizes: np.ndarray) -> dict[str, float]:
    """Slope and its error, MB per 1,000 samples, of the settled part; and the peak, MB."""
    settled = sizes[int(SETTLED * len(sizes)) :]
    slope, error = growth(settled, len(settled) / 1000)
    return {"slope": slope, "error": error, "peak": float(sizes.max())}


def draw(packing: np.ndarray, training: np.ndarray, path: Path) -> None:
    """Plot memory over time."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2))
    left.plot(packing[:, 0], packing[:, 1], label="largest worker")
    left.plot(packing[:, 0], packing[:, 2], label="all processes")
    left.set(title="packing", xlabel="seconds", ylabel="anonymous memory (MB)", ylim=(0, None))
    left.legend(frameon=False)
    right.plot(training)
    right.set(title="one epoch of training", xlabel="step", ylim=(0, None))
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", default="compact")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    packing = measure_packing(arguments.data, arguments.out / "store", arguments.recipe)
    training = measure_training(arguments.out / "store", arguments.recipe)
    result = {"packing, largest worker": describe(packing[:, 1]), "training": describe(training)}
    write_report(arguments.out / "memory.json", result)
    draw(packing, training, arguments.out / "memory.png")
    for name, numbers in result.items():
        print(
            f"{name}: peak {numbers['peak']:.0f} MB, "
            f"{numbers['slope']:+.1f} ± {numbers['error']:.1f} MB per 1,000 samples"
        )


if __name__ == "__main__":
    main()

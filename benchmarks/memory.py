"""Watch the memory of packing and of an epoch of training: neither may grow with the data.

    python benchmarks/memory.py --data <competition> --out <folder> [--recipe compact]

Packs the competition in a process of its own, trains one epoch in this one, and writes
``memory.png`` and ``memory.json``. What counts as memory is said in ``footprint.py``.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np
import psutil
from footprint import anonymous, growth

mpl.use("Agg")
import matplotlib.pyplot as plt

from hbac_utils.data.dataset import FoldData
from hbac_utils.data.store import open_store
from hbac_utils.recipe import load_recipe, override
from hbac_utils.training.state import TrainingState
from hbac_utils.utils.backend import keras

PERIOD = 0.5  # seconds between two looks at the packing processes
SETTLED = 0.3  # of an epoch: after it buffers and pools have their size


def watch_packing(data: Path, store: Path, recipe: str) -> np.ndarray:
    """Pack, and look at the processes.

    Returns
    -------
    array, shape (n, 3)
        Seconds, MB of the largest worker, MB of all processes.
    """
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


class MemoryLog(keras.callbacks.Callback):
    """Notes the memory after every step."""

    def __init__(self):
        super().__init__()
        self.seen: list[float] = []

    def on_train_batch_end(self, batch, logs=None):
        """Note the memory."""
        self.seen.append(anonymous())


def watch_training(store: Path, name: str) -> np.ndarray:
    """Train one epoch on all windows; returns MB after each step."""
    recipe = override(load_recipe(name), {"stages.0.epochs": 1})
    data, state, log = FoldData(open_store(store), recipe), TrainingState(recipe), MemoryLog()
    state.begin_fold()
    state.begin_stage(recipe.stages[0])
    state.model.fit(
        data.training_dataset(0), steps_per_epoch=data.steps_per_epoch(0), callbacks=[log],
        shuffle=False, verbose=0,
    )  # fmt: skip
    return np.array(log.seen)


def describe(sizes: np.ndarray) -> dict[str, float]:
    """Describe the settled part.

    Returns
    -------
    dict
        ``slope`` and its standard ``error``, MB per 1,000 steps (or looks), and ``peak``, MB.
    """
    settled = sizes[int(SETTLED * len(sizes)) :]
    slope, error = growth(settled, len(settled) / 1000)
    return {"slope": slope, "error": error, "peak": float(sizes.max())}


def draw(packing: np.ndarray, training: np.ndarray, path: Path) -> None:
    """Draw both courses."""
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
    """Watch, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", default="compact")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    packing = watch_packing(arguments.data, arguments.out / "store", arguments.recipe)
    training = watch_training(arguments.out / "store", arguments.recipe)
    result = {"packing, largest worker": describe(packing[:, 1]), "training": describe(training)}
    (arguments.out / "memory.json").write_text(json.dumps(result, indent=2) + "\n")
    draw(packing, training, arguments.out / "memory.png")
    for name, numbers in result.items():
        print(
            f"{name}: peak {numbers['peak']:.0f} MB, "
            f"{numbers['slope']:+.1f} ± {numbers['error']:.1f} MB per 1,000 looks"
        )


if __name__ == "__main__":
    main()

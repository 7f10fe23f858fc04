"""Memory of packing and of one epoch of training.

    python benchmarks/memory.py --data <competition> --out <folder> [--recipe compact]

Packs with a process per core, trains an epoch on all windows, and writes ``memory.json``.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from measuring import peak_memory, write_report

from hbac_utils.data.dataset import FoldData
from hbac_utils.data.store import open_store
from hbac_utils.recipe import load_recipe, override
from hbac_utils.training.state import TrainingState


def train_epoch(store: Path, name: str) -> None:
    """Train one epoch on all windows."""
    recipe = override(load_recipe(name), {"stages.0.epochs": 1})
    data, state = FoldData(open_store(store), recipe), TrainingState(recipe)
    state.begin_fold()
    state.begin_stage(recipe.stages[0])
    state.model.fit(
        data.training_dataset(0), steps_per_epoch=data.steps_per_epoch(0), shuffle=False, verbose=0
    )


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", default="compact")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    store = options.out / "store"
    pack = [sys.executable, "-m", "hbac_utils", "pack", "--data", options.data]
    pack += ["--recipe", options.recipe, "--out", store]
    report = {}
    for name, work in (
        ("packing, the largest process", lambda: subprocess.run([*map(str, pack)], check=True)),
        ("an epoch of training", lambda: train_epoch(store, options.recipe)),
    ):
        begun = time.perf_counter()
        _, megabytes = peak_memory(work, children=name.startswith("packing"))
        report[name] = {"megabytes": megabytes, "seconds": time.perf_counter() - begun}
        print(f"{name}: {megabytes:.0f} MB at most, {report[name]['seconds']:.0f} s", flush=True)
    write_report(options.out / "memory.json", report)


if __name__ == "__main__":
    main()

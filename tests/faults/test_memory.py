"""Memory does not grow with the number of steps, nor with that of predictions."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hbac_utils.recipe import load_recipe, override

pytestmark = pytest.mark.faults

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
ALLOWED = 5.0
"""MB per 1,000. An epoch costs some 30 kB whatever its steps, as TensorFlow keeps numbers that were
made tensors; of steps that kept their batches a thousand would take 760 MB."""

STEPS = 2_000
TRAINING = """
import json, sys
sys.path.insert(0, sys.argv[1])
from footprint import footprint, growth
from hbac_utils.data.store import open_store
from hbac_utils.recipe import load_recipe, override
from hbac_utils.training.trainer import train

store, run, steps = open_store(sys.argv[2]), sys.argv[3], int(sys.argv[4])
recipe = override(load_recipe("compact"), json.loads(sys.argv[5]))
_, megabytes = footprint(lambda: train(recipe, store, run, folds=[0]))
settled = megabytes[len(megabytes) // 4 :]
slope, error = growth(settled, 0.75 * steps / 1000)
print(json.dumps({"slope": slope, "error": error, "megabytes": megabytes.tolist()}))
"""


@pytest.mark.fault("memory, 2,000 training steps")
def test_memory_is_flat_over_training_steps(store, tmp_path, record_property):
    from hbac_utils.data.dataset import FoldData

    small = {"data.folds": 2, "stages.0.batch_size": 2, "stages.0.epochs": 1}
    recipe = override(load_recipe("compact"), small)
    an_epoch = FoldData(store, recipe, 0).steps_per_epoch(0)
    epochs = -(-STEPS // an_epoch)
    settings = json.dumps(small | {"stages.0.epochs": epochs})
    command = [
        "-c",
        TRAINING,
        BENCHMARKS,
        store.path,
        tmp_path / "run",
        epochs * an_epoch,
        settings,
    ]
    found = json.loads(_python(*command, settings).splitlines()[-1])
    record_property("figure", f"{epochs * an_epoch:,} steps, {epochs} epochs: {_described(found)}")
    assert found["slope"] - 2 * found["error"] < ALLOWED


@pytest.mark.fault("memory, 2,700 predictions")
def test_memory_is_flat_over_predictions(competition, store, tmp_path, record_property):
    from hbac_utils.training.trainer import train

    recipe = override(load_recipe("compact"), {"data.folds": 2, "stages.0.epochs": 1})
    train(recipe, store, tmp_path / "run")
    out = tmp_path / "out"
    command = [BENCHMARKS / "rerun.py", "--data", competition.path, "--run", tmp_path / "run"]
    _python(*command, "--out", out)
    found = json.loads((out / "rerun.json").read_text())
    record_property(
        "figure", f"{found['eegs']:,} EEGs, {found['models']} models: {_described(found)}"
    )
    assert found["slope"] - 2 * found["error"] < ALLOWED


def _python(*arguments) -> str:
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def _described(found: dict) -> str:
    return (
        f"{found['slope']:+.2f} ± {found['error']:.2f} MB per 1,000, "
        f"{max(found['megabytes']):.0f} MB at most"
    )

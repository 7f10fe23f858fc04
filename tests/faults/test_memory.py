"""Memory does not grow with the number of steps, nor with that of predictions."""

import numpy as np
import psutil
import pytest

from hbac_utils.recipe import load_recipe, override

pytestmark = pytest.mark.faults

ALLOWED = 150.0
"""MB, between the second quarter and the last; 1,000 kept batches would take 760 MB."""


def own_memory() -> float:
    """Memory of this process, MB, without mapped files, which belong to the kernel's cache."""
    memory = psutil.Process().memory_info()
    return (memory.rss - getattr(memory, "shared", 0)) / 2**20


def assert_flat(megabytes: list[float]) -> None:
    quarter = len(megabytes) // 4
    grown = np.median(megabytes[-quarter:]) - np.median(megabytes[quarter : 2 * quarter])
    assert grown < ALLOWED, np.round(megabytes)


@pytest.mark.fault("memory, 2,000 training steps")
def test_memory_is_flat_over_training_steps(store, tmp_path):
    from hbac_utils.training.trainer import train

    changes = {"data.folds": 2, "stages.0.batch_size": 2, "stages.0.epochs": 170}  # of 12 steps
    changes["backbone.width"] = 4
    megabytes = []
    train(
        override(load_recipe("compact"), changes), store, tmp_path / "run", folds=[0],
        on_epoch=lambda history: megabytes.append(own_memory()),
    )  # fmt: skip
    assert_flat(megabytes)


@pytest.mark.fault("memory, 2,400 predictions")
def test_memory_is_flat_over_predictions(competition, run):
    from hbac_utils.inference.predict import open_runs, predict

    runs, megabytes = open_runs([run]), []
    for _ in range(300):
        predict(runs, competition, progress=False)
        megabytes.append(own_memory())
    assert_flat(megabytes)

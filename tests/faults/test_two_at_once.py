"""Two processes do the same in the same place: both end well, and so does what they have made."""

import time

import pytest
from fault_table import seeded
from operations import inference, pack, replayed_sweep, scripted_training
from processes import Operation, running

pytestmark = pytest.mark.faults


def both(operation: Operation, scratch, key: int) -> None:
    folder = scratch / "both"
    folder.mkdir()
    command = operation.command(folder)
    with running(command, scratch / "first.log") as first:
        time.sleep(seeded(12, key).uniform(0, 0.5) * operation.seconds)
        with running(command, scratch / "second.log") as second:
            results = [second.wait(), first.wait()]
    for result in results:
        assert result.code == 0, result.errors[-3000:]
    operation.check(folder)


@pytest.mark.fault("two at once, one store")
@pytest.mark.parametrize("seed", range(3))
def test_pack(seed, competition, tmp_path):
    both(pack(competition, tmp_path / "one"), tmp_path, seed)


@pytest.mark.fault("two at once, one run")
def test_training(tiny, store, tmp_path):
    both(scripted_training(tiny, store, tmp_path / "one"), tmp_path, 3)


@pytest.mark.fault("two at once, one folder of predictions")
def test_inference(competition, run, tmp_path):
    both(inference(competition, run, tmp_path / "one"), tmp_path, 4)


@pytest.mark.fault("two at once, one sweep")
@pytest.mark.parametrize("workers", [1, 2])
def test_sweep(workers, tiny, competition, store, run, tmp_path):
    operation = replayed_sweep(tiny, competition, store, run, tmp_path / "one", workers)
    both(operation, tmp_path, 4 + workers)

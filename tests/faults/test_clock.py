"""A wall clock that is put a year forward and then a day back in the middle: nothing notices."""

import os
from pathlib import Path

import pytest
from fault_table import seeded
from operations import inference, pack, replayed_sweep, scripted_training
from processes import ROOT, Operation, running

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(
        not list(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")),
        reason="no libfaketime here: apt-get install faketime",
    ),
]

HERE = Path(__file__).parent
JUMPS = ("+1y", "-1d")


def turn(operation: Operation, scratch: Path, key: int) -> None:
    clock, folder = scratch / "clock", scratch / "turned"
    clock.write_text("+0")
    folder.mkdir()
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    environment = {
        "LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1", "DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1",
        "PYTHONPATH": os.pathsep.join([str(HERE / "sleeping"), str(ROOT)]),
    }  # fmt: skip
    moments = seeded(11, key).uniform(0.2, 0.6, len(JUMPS)) * operation.seconds
    with running(operation.command(folder), scratch / "log", env=environment) as started:
        for jump, moment in zip(JUMPS, moments, strict=True):
            started.wait_at_most(moment)
            draft = clock.with_suffix(".draft")
            draft.write_text(jump)
            os.replace(draft, clock)  # noqa: PTH105
        result = started.wait()
    assert result.code == 0, result.errors[-3000:]
    operation.check(folder)


@pytest.mark.fault("clock that jumps, pack")
def test_pack(competition, tmp_path, record_property):
    record_property("tries", len(JUMPS))
    turn(pack(competition, tmp_path / "one"), tmp_path, 0)


@pytest.mark.fault("clock that jumps, training")
def test_training(tiny, store, tmp_path, record_property):
    record_property("tries", len(JUMPS))
    turn(scripted_training(tiny, store, tmp_path / "one", hours=1), tmp_path, 1)


@pytest.mark.fault("clock that jumps, inference")
def test_inference(competition, run, tmp_path, record_property):
    record_property("tries", len(JUMPS))
    turn(inference(competition, run, tmp_path / "one"), tmp_path, 2)


@pytest.mark.fault("clock that jumps, sweep")
@pytest.mark.parametrize("workers", [1, 2])
def test_sweep(workers, tiny, competition, store, run, tmp_path, record_property):
    record_property("tries", len(JUMPS))
    operation = replayed_sweep(
        tiny, competition, store, run, tmp_path / "one", workers, budget={"hours": 1}
    )
    turn(operation, tmp_path, 2 + workers)

"""Ctrl-C and SIGTERM end every verb with one line, and what it had done is not lost."""

import signal

import pytest
from fault_table import seeded
from operations import inference, pack, sweep, training
from processes import Result, Running

pytestmark = pytest.mark.faults

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
told = pytest.mark.parametrize("told", list(CODES), ids=lambda told: told.name)


def disturb(operation, told, scratch, key, times):
    def strike(started: Running) -> None:
        started.process.send_signal(told)

    def ends(result: Result) -> bool:
        return result.code == CODES[told] and result.said == "stopped"

    operation.disturb(scratch, seeded(*key, int(told)), times, strike, ends, after=2.0)


@pytest.mark.fault("Ctrl-C or SIGTERM, pack")
@told
def test_pack(told, competition, tmp_path, record_property):
    record_property("tries", 3)
    disturb(pack(competition, tmp_path / "one"), told, tmp_path, (7,), 3)


@pytest.mark.fault("Ctrl-C or SIGTERM, training")
@told
def test_training(told, tiny, competition, store, tmp_path, record_property):
    record_property("tries", 2)
    disturb(training(tiny, competition, store, tmp_path / "one"), told, tmp_path, (8,), 2)


@pytest.mark.fault("Ctrl-C or SIGTERM, inference")
@told
def test_inference(told, competition, run, tmp_path, record_property):
    record_property("tries", 2)
    disturb(inference(competition, run, tmp_path / "one"), told, tmp_path, (9,), 2)


@pytest.mark.fault("Ctrl-C or SIGTERM, sweep")
@told
def test_sweep(told, tiny, competition, store, tmp_path):
    disturb(sweep(tiny, competition, store, tmp_path / "one"), told, tmp_path, (10,), 1)

"""SIGKILL, Ctrl-C and SIGTERM at random moments, and two processes at once.

The same command then ends as if nothing had happened.
"""

import signal
import time

import pytest
from fault_table import seeded
from operations import Operation, Result, Running, infer, pack, running, sweep, train

pytestmark = pytest.mark.faults


def killed(operation: Operation, key: int, times: int, what: str = "all") -> None:
    operation.disturb(
        seeded(key), times, lambda started: started.kill(what), lambda result: result.code == -9
    )


@pytest.mark.fault("SIGKILL, pack")
@pytest.mark.parametrize("what", ["all", "verb"])
def test_a_killed_pack(what, competition, tmp_path, record_property):
    record_property("tries", 6)
    killed(pack(competition, tmp_path), 1, 6, what)


@pytest.mark.fault("SIGKILL, training")
def test_a_killed_training(rich, competition, store, tmp_path, record_property):
    record_property("tries", 8)
    killed(train(rich, competition, store, tmp_path), 2, 8)


@pytest.mark.fault("SIGKILL, training")
def test_a_killed_training_in_the_notebook(tiny, competition, store, tmp_path):
    killed(train(tiny, competition, store, tmp_path, notebook=True), 3, 1)


@pytest.mark.fault("SIGKILL, inference")
def test_a_killed_inference(competition, run, tmp_path, record_property):
    record_property("tries", 4)
    killed(infer(competition, run, tmp_path), 4, 4)


@pytest.mark.fault("SIGKILL, sweep")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_sweep(workers, tiny, competition, store, tmp_path, record_property):
    record_property("tries", 6)
    killed(sweep(tiny, competition, store, tmp_path, workers), 5, 6)


CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


@pytest.mark.fault("Ctrl-C or SIGTERM")
@pytest.mark.parametrize("number", list(CODES), ids=lambda number: number.name)
@pytest.mark.parametrize("name", ["pack", "training", "inference", "sweep"])
def test_an_interrupted_verb_ends_in_one_line(
    name, number, tiny, competition, store, run, tmp_path, record_property
):
    operation = {
        "pack": lambda: pack(competition, tmp_path),
        "training": lambda: train(tiny, competition, store, tmp_path, notebook=True),
        "inference": lambda: infer(competition, run, tmp_path, notebook=True),
        "sweep": lambda: sweep(tiny, competition, store, tmp_path, 1),
    }[name]()
    record_property("tries", 2)

    def strike(started: Running) -> None:
        time.sleep(2)  # before that, Python is still importing
        started.process.send_signal(number)

    def may_end(result: Result) -> bool:
        return result.code == CODES[number] and result.last == "stopped"

    operation.disturb(seeded(6, int(number)), 2, strike, may_end)


@pytest.mark.fault("two at once")
@pytest.mark.parametrize("name", ["pack", "training", "inference", "sweep"])
def test_two_processes_at_once_in_one_folder(name, tiny, competition, store, run, tmp_path):
    operation = {
        "pack": lambda: pack(competition, tmp_path),
        "training": lambda: train(tiny, competition, store, tmp_path),
        "inference": lambda: infer(competition, run, tmp_path),
        "sweep": lambda: sweep(tiny, competition, store, tmp_path, 2),
    }[name]()
    folder = tmp_path / "both"
    folder.mkdir()
    command = operation.command(folder)
    with running(command, tmp_path / "first.log") as first:
        time.sleep(seeded(7).uniform(0, 0.5) * operation.seconds)
        with running(command, tmp_path / "second.log") as second:
            results = [second.wait(), first.wait()]
    for result in results:
        assert result.code == 0, result.errors[-3000:]
    operation.finish(folder)

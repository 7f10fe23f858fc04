"""SIGKILL at random moments; the same command again ends as if nothing had been."""

import pytest
from fault_table import seeded
from operations import (
    inference,
    pack,
    replayed_sweep,
    scripted_inference,
    scripted_training,
    sweep,
    training,
)
from processes import Result, Running

pytestmark = pytest.mark.faults


def kill(what: str):
    def strike(started: Running) -> None:
        started.kill(what)

    return strike


def ends(what: str):
    """Tell how the verb may end; if its notebook's process dies it says so in one line."""

    def may(result: Result) -> bool:
        if what != "children":
            return result.code == -9
        return result.code == 1 and result.said.startswith("error: ")

    return may


@pytest.mark.fault("SIGKILL, pack")
@pytest.mark.parametrize(("seed", "what"), [(0, "all"), (1, "verb")])
def test_pack(seed, what, competition, tmp_path, record_property):
    record_property("tries", 10)
    operation = pack(competition, tmp_path / "one")
    operation.disturb(tmp_path, seeded(1, seed), 10, kill(what), ends(what))


@pytest.mark.fault("SIGKILL, training")
@pytest.mark.parametrize("seed", [0, 1])
def test_training(seed, rich, store, tmp_path, record_property):
    record_property("tries", 9)
    operation = scripted_training(rich, store, tmp_path / "one")
    operation.disturb(tmp_path, seeded(2, seed), 9, kill("all"), ends("all"))


@pytest.mark.fault("SIGKILL, training")
@pytest.mark.parametrize("what", ["all", "verb", "children"])
def test_training_in_the_notebook(what, tiny, competition, store, tmp_path):
    operation = training(tiny, competition, store, tmp_path / "one")
    operation.disturb(tmp_path, seeded(3, len(what)), 1, kill(what), ends(what))


@pytest.mark.fault("SIGKILL, inference")
@pytest.mark.parametrize("seed", [0, 1])
def test_inference(seed, competition, run, tmp_path, record_property):
    record_property("tries", 7)
    operation = scripted_inference(competition, run, tmp_path / "one")
    operation.disturb(tmp_path, seeded(4, seed), 7, kill("all"), ends("all"))


@pytest.mark.fault("SIGKILL, inference")
@pytest.mark.parametrize("what", ["all", "verb", "children"])
def test_inference_in_the_notebook(what, competition, run, tmp_path, record_property):
    record_property("tries", 2)
    operation = inference(competition, run, tmp_path / "one")
    operation.disturb(tmp_path, seeded(7, len(what)), 2, kill(what), ends(what))


@pytest.mark.fault("SIGKILL, sweep")
@pytest.mark.parametrize("workers", [1, 2])
def test_sweep_of_replayed(workers, tiny, competition, store, run, tmp_path, record_property):
    record_property("tries", 9)
    operation = replayed_sweep(tiny, competition, store, run, tmp_path / "one", workers)
    operation.disturb(tmp_path, seeded(5, workers), 9, kill("all"), ends("all"))


@pytest.mark.fault("SIGKILL, sweep")
def test_sweep_of_real_trials(tiny, competition, store, tmp_path, record_property):
    record_property("tries", 2)
    operation = sweep(tiny, competition, store, tmp_path / "one")
    operation.disturb(tmp_path, seeded(6), 2, kill("all"), ends("all"))

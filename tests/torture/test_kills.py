"""SIGKILL at random moments; the same command again ends as if nothing had been."""

import sys
from pathlib import Path

import pytest
import yaml
from faults import seeded
from processes import Operation, done, timed, verb
from states import (
    assert_same_run,
    assert_same_store,
    assert_same_submission,
    assert_same_sweep,
)

pytestmark = pytest.mark.torture
TORTURE = Path(__file__).parent

RUN_MARKS = (
    ".draft.recipe.json", "recipe.json", "fold0/history.csv", "fold?/.draft.progress.npz",
    "fold?/progress.npz", "fold?/predictions_*.parquet", "fold?/.draft.model.keras",
    "fold?/model.keras", "oof.parquet", "metrics.json", ".training.lock",
)  # fmt: skip


def operation(scratch: Path, command, compare, marks) -> Operation:
    """Do it once undisturbed, to know how long it takes and what it leaves."""
    expected = scratch / "undisturbed"
    expected.mkdir(parents=True)

    def undisturbed() -> None:
        result = done(command(expected), scratch / "log")
        assert result.code == 0, result.errors[-2000:]

    seconds = timed(undisturbed)
    return Operation(command, lambda folder: compare(folder, expected), marks, seconds)


def kill(what: str):
    return lambda started: started.kill(what)


def killed(result) -> bool:
    return result.code == -9


@pytest.mark.fault("SIGKILL, pack")
@pytest.mark.parametrize(("seed", "what"), [(0, "all"), (1, "verb")])
def test_pack(seed, what, competition, tmp_path, record_property):
    record_property("tries", 12)
    pack = operation(
        tmp_path / "one",
        lambda folder: verb("pack", "--data", competition.path, "--out", folder / "store"),
        lambda folder, expected: assert_same_store(folder / "store", expected / "store"),
        (".store.partial/plan.json", ".store.partial/*/eeg.npy", ".store.partial/journal.jsonl",
         ".store.partial/*/windows.parquet", ".store.partial/*/store.json", "store"),
    )  # fmt: skip
    pack.disturb(tmp_path, seeded(1, seed), 12, kill(what), killed)


def scripted(recipe: Path, store, scratch: Path) -> Operation:
    script = [sys.executable, str(TORTURE / "train_run.py"), str(recipe), str(store.path)]
    return operation(
        scratch,
        lambda folder: [*script, str(folder / "run")],
        lambda folder, expected: assert_same_run(folder / "run", expected / "run"),
        [f"run/{mark}" for mark in (*RUN_MARKS, "run/fold?/labels1.npy", "run/fold?/last.keras")],
    )


@pytest.mark.fault("SIGKILL, training")
@pytest.mark.parametrize("seed", [0, 1])
def test_training(seed, rich, store, tmp_path, record_property):
    record_property("tries", 9)
    training = scripted(rich, store, tmp_path / "one")
    training.disturb(tmp_path, seeded(2, seed), 9, kill("all"), killed)


def noted(recipe: Path, competition, store, scratch: Path) -> Operation:
    """Train by the verb, in the notebook."""
    return operation(
        scratch,
        lambda folder: verb(
            "train", "--data", competition.path, "--store", store.path, "--recipe", recipe,
            "--run", folder / "run",
        ),
        lambda folder, expected: assert_same_run(folder / "run", expected / "run"),
        [f"run/{mark}" for mark in (*RUN_MARKS, "training.ipynb", "training.html")],
    )  # fmt: skip


@pytest.mark.fault("SIGKILL, training")
@pytest.mark.parametrize("what", ["all", "verb", "children"])
def test_training_in_the_notebook(what, tiny, competition, store, tmp_path, record_property):
    record_property("tries", 3)
    training = noted(tiny, competition, store, tmp_path / "one")
    training.disturb(tmp_path, seeded(3, len(what)), 3, kill(what), ends(what))


def ends(what: str):
    """A verb whose notebook's process dies says so in one line."""
    if what != "children":
        return killed
    return lambda result: result.code == 1 and result.said.startswith("error: ")


@pytest.mark.fault("SIGKILL, inference")
@pytest.mark.parametrize(("what", "times"), [("all", 8), ("verb", 7), ("children", 7)])
def test_inference(what, times, competition, run, tmp_path, record_property):
    record_property("tries", times)
    arguments = ["--data", competition.path, "--run", run]
    inference = operation(
        tmp_path / "one",
        lambda folder: verb("infer", *arguments, "--out", folder / "out"),
        lambda folder, expected: assert_same_submission(folder / "out", expected / "out"),
        ("out/inference.ipynb", "out/submission.csv", "out/.draft.submission.csv",
         "out/inference_report.json", "out/inference.html"),
    )  # fmt: skip
    inference.disturb(tmp_path, seeded(4, len(what)), times, kill(what), ends(what))


SWEEP_MARKS = (
    "sweeps/small/journal.log", "sweeps/small/.alive/*", "sweeps/small/results.csv",
    "sweeps/small/trials/00?/fold0/history.csv", "sweeps/small/trials/00?/metrics.json",
    "sweeps/small/report.html",
)  # fmt: skip


def sweep_file(path: Path, tiny: Path, **content) -> Path:
    """Write a small sweep."""
    axes = {"grid": {"dropout": [0.3, 0.1, 0.2]}, "folds": [0], "objective": "kl_all"}
    path.write_text(yaml.safe_dump({"name": "small", "recipe": str(tiny), **axes, **content}))
    return path


@pytest.mark.fault("SIGKILL, sweep")
@pytest.mark.parametrize("workers", [1, 2])
def test_sweep_of_replayed_trials(
    workers, tiny, competition, store, run, tmp_path, record_property
):
    record_property("tries", 9)
    file = sweep_file(tmp_path / "small.yaml", tiny, workers=workers)
    script = [TORTURE / "replay_sweep.py", file, competition.path, store.path, run]
    sweep = operation(
        tmp_path / "one",
        lambda folder: [sys.executable, *map(str, script), str(folder / "sweeps")],
        lambda folder, expected: assert_same_sweep(
            folder / "sweeps" / "small", expected / "sweeps" / "small"
        ),
        SWEEP_MARKS,
    )
    # three killed workers are what a trial bears, so there are more trials than that
    sweep.disturb(tmp_path, seeded(5, workers), 9, kill("all"), killed)


@pytest.mark.fault("SIGKILL, sweep")
def test_sweep_of_real_trials(tiny, competition, store, tmp_path, record_property):
    record_property("tries", 4)
    grid = {"dropout": [0.3, 0.1]}
    file = sweep_file(tmp_path / "small.yaml", tiny, grid=grid)
    data = ["--data", competition.path, "--store", store.path]
    sweep = operation(
        tmp_path / "one",
        lambda folder: verb("sweep", file, *data, "--out", folder / "sweeps"),
        lambda folder, expected: assert_same_sweep(
            folder / "sweeps" / "small", expected / "sweeps" / "small"
        ),
        SWEEP_MARKS,
    )
    sweep.disturb(tmp_path, seeded(6), 4, kill("all"), killed)

"""What is disturbed: packing, training, sweeping, predicting, and what each leaves undisturbed."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml
from processes import Operation, done, timed, verb
from states import (
    assert_same_run,
    assert_same_store,
    assert_same_submission,
    assert_same_sweep,
)

HERE = Path(__file__).parent

RUN_MARKS = (
    ".draft.recipe.json", "recipe.json", "fold0/history.csv", "fold?/.draft.progress.npz",
    "fold?/progress.npz", "fold?/predictions_*.parquet", "fold?/.draft.model.weights.h5",
    "fold?/model.weights.h5", "fold?/last.weights.h5", "fold?/labels1.npy",
    "oof.parquet", "metrics.json", "training.ipynb", "training.html",
)  # fmt: skip

AGAIN = "--retry-failed"
"""A trial whose worker was killed three times is given up unless one asks for it."""

SWEEP_MARKS = (
    "journal.log", "trials/.00?.lock", "results.csv", "report.html", "trials/00?/fold0/history.csv",
    "trials/00?/metrics.json",
)  # fmt: skip


def pack(competition, scratch: Path) -> Operation:
    """Pack a competition."""
    return _operation(
        scratch,
        lambda folder: verb("pack", "--data", competition.path, "--out", folder / "store"),
        lambda folder, expected: assert_same_store(folder / "store", expected / "store"),
        (".store.partial/plan.json", ".store.partial/*/eeg.npy", ".store.partial/journal.jsonl",
         ".store.partial/*/windows.parquet", ".store.partial/*/store.json", "store"),
    )  # fmt: skip


def scripted_training(recipe: Path, store, scratch: Path, hours: float = 0) -> Operation:
    """Train without a notebook, which begins sooner."""
    script = _script("without_notebook.py", "train", "--recipe", recipe, "--store", store.path)
    return _operation(
        scratch,
        lambda folder: [*script, "--run", str(folder / "run"), "--max-hours", str(hours)],
        lambda folder, expected: assert_same_run(folder / "run", expected / "run"),
        [f"run/{mark}" for mark in RUN_MARKS],
    )


def training(recipe: Path, competition, store, scratch: Path) -> Operation:
    """Train by the verb."""
    return _operation(
        scratch,
        lambda folder: verb(
            "train", "--data", competition.path, "--store", store.path, "--recipe", recipe,
            "--run", folder / "run",
        ),
        lambda folder, expected: assert_same_run(folder / "run", expected / "run"),
        [f"run/{mark}" for mark in RUN_MARKS],
    )  # fmt: skip


def inference(competition, run: Path, scratch: Path) -> Operation:
    """Predict by the verb."""
    return _inference(scratch, verb("infer", "--data", competition.path, "--run", run))


def scripted_inference(competition, run: Path, scratch: Path) -> Operation:
    """Predict without a notebook, which begins sooner."""
    arguments = ["--data", competition.path, "--run", run]
    return _inference(scratch, _script("without_notebook.py", "infer", *arguments))


def _inference(scratch: Path, command: list[str]) -> Operation:
    return _operation(
        scratch,
        lambda folder: [*command, "--out", str(folder / "out")],
        lambda folder, expected: assert_same_submission(folder / "out", expected / "out"),
        ("out/inference.ipynb", "out/submission.csv", "out/.draft.submission.csv",
         "out/inference_report.json", "out/inference.html"),
    )  # fmt: skip


def replayed_sweep(
    tiny: Path, competition, store, run: Path, scratch: Path, workers: int = 1, **content
) -> Operation:
    """Sweep with fake trials, by as many workers."""
    file = _sweep_file(scratch, tiny, workers=workers, **content)
    data = ["--data", competition.path, "--store", store.path]
    script = _script("replay_sweep.py", 0.3, file, *data)
    return _sweep(scratch, lambda out: [*script, "--out", str(out), AGAIN])


def sweep(tiny: Path, competition, store, scratch: Path) -> Operation:
    """Sweep by the verb, with two trainings."""
    file = _sweep_file(scratch, tiny, grid={"dropout": [0.3, 0.1]})
    data = ["--data", competition.path, "--store", store.path]
    return _sweep(scratch, lambda out: verb("sweep", file, *data, "--out", out, AGAIN))


def _script(name: str, *arguments: object) -> list[str]:
    return [sys.executable, str(HERE / name), *map(str, arguments)]


def _sweep(scratch: Path, command: Callable[[Path], list[str]]) -> Operation:
    return _operation(
        scratch,
        lambda folder: command(folder / "sweeps"),
        lambda folder, expected: assert_same_sweep(
            folder / "sweeps" / "small", expected / "sweeps" / "small"
        ),
        [f"sweeps/small/{mark}" for mark in SWEEP_MARKS],
    )


def _sweep_file(scratch: Path, tiny: Path, **content) -> Path:
    axes = {"grid": {"dropout": [0.3, 0.1, 0.2]}, "folds": [0], "objective": "kl_all"}
    scratch.mkdir(exist_ok=True)
    path = scratch / "small.yaml"
    path.write_text(yaml.safe_dump({"name": "small", "recipe": str(tiny), **axes, **content}))
    return path


def _operation(
    scratch: Path,
    command: Callable[[Path], list[str]],
    compare: Callable[[Path, Path], None],
    marks: Sequence[str],
) -> Operation:
    """Do it once undisturbed, to know how long it takes and what it leaves."""
    expected = scratch / "undisturbed"
    expected.mkdir(parents=True)

    def undisturbed() -> None:
        result = done(command(expected), scratch / "log")
        assert result.code == 0, result.errors[-2000:]

    seconds = timed(undisturbed)
    return Operation(command, lambda folder: compare(folder, expected), marks, seconds)

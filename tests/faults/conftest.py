"""Shared by the fault tests: the commands that they disturb, random moments, a table of tries.

A test marked ``fault("SIGKILL, training", tries=8)`` is so many tries of that row; the table is
printed at the end. ``SEED`` draws other moments.
"""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from operations import HBAC, QUICK, Operation

from hbac_utils.labels import VOTE_COLUMNS
from hbac_utils.recipe import Recipe, override, save_recipe

SEED = int(os.environ.get("SEED") or 0)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if marker := item.get_closest_marker("fault"):
            # travels with the report, from the processes of pytest-xdist too
            item.user_properties.append(("fault", (*marker.args, marker.kwargs.get("tries", 1))))


def pytest_terminal_summary(terminalreporter) -> None:
    survived, lost = Counter(), Counter()
    for counts, outcome in ((survived, "passed"), (lost, "failed"), (lost, "error")):
        for report in terminalreporter.stats.get(outcome, ()):
            for _, (fault, tries) in report.user_properties:
                counts[fault] += tries
    if rows := sorted({*survived, *lost}, key=str.casefold):
        terminalreporter.section(f"faults, seed {SEED}")
        terminalreporter.write_line("| fault | tries | lost |\n|---|---:|---:|")
        for fault in rows:
            tries = survived[fault] + lost[fault]
            terminalreporter.write_line(f"| {fault} | {tries} | {lost[fault]} |")


@pytest.fixture
def random(request) -> np.random.Generator:
    """Random numbers of this test alone."""
    return np.random.default_rng([SEED, *request.node.name.encode()])


@pytest.fixture(scope="session")
def tiny_recipe(compact_recipe) -> Recipe:
    """The compact network: other processes do not know the tests' own."""
    return compact_recipe


@pytest.fixture(scope="session")
def run(compact_run) -> Path:
    """The folder of a run of the compact network."""
    return compact_run


@pytest.fixture
def rich(tiny_recipe, tmp_path) -> Path:
    """A recipe that averages weights, keeps the best epoch, relabels, predicts with changes."""
    stages = [stage.model_dump(mode="json") for stage in tiny_recipe.stages]
    stages[1] |= {"pseudo_labels": {"share": 0.5, "below": 10}}
    changes = {"stages": stages, "select": "best", "ema": 0.8, "tta": {"mirror": True}}
    save_recipe(override(tiny_recipe, changes), tmp_path / "rich.json")
    return tmp_path / "rich.json"


@pytest.fixture
def operation(request, competition, store, run, rich, tmp_path) -> Operation:
    """The command of the parameter, a name."""
    data = ["--data", competition.path, "--store", store.path]
    training = [*data, "--recipe", rich]

    def blend() -> list:
        other = pd.read_parquet(run / "oof.parquet")
        other[list(VOTE_COLUMNS)] = 0.7 * other[list(VOTE_COLUMNS)] + 0.3 / 6
        other.to_parquet(tmp_path / "other.parquet")
        return [*HBAC, "blend", run, tmp_path / "other.parquet", *data[:2]]

    def sweep() -> list:
        content = {
            "name": "small", "recipe": str(rich), "grid": {"dropout": [0.3, 0.1, 0.2]},
            "folds": [0], "objective": "kl_all", "workers": 2,
        }  # fmt: skip
        (tmp_path / "small.yaml").write_text(yaml.safe_dump(content))
        # a trial whose worker was killed three times is given up unless one asks for it
        return [*QUICK, "sweep", tmp_path / "small.yaml", *data, "--retry-failed"]

    commands = {
        "pack": lambda: ([*HBAC, "pack", *data[:2], "--out"], "store", "store/*"),
        "train": lambda: ([*QUICK, "train", *training, "--run"], "run", "run/**/*"),
        "train, notebook": lambda: ([*HBAC, "train", *training, "--run"], "run", "run/**/*"),
        "infer": lambda: ([*HBAC, "infer", *data[:2], "--run", run, "--out"], "out", "out/*"),
        "blend": lambda: ([*blend(), "--out"], "out", "out/*"),
        "sweep": lambda: ([*sweep(), "--out"], "sweeps", "sweeps/small/results.csv"),
    }
    command, place, outputs = commands[request.param]()
    return Operation(lambda folder: [*command, folder / place], outputs, tmp_path)

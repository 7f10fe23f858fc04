"""One small synthetic competition, packed once, and one quickly trained run, for all tests.

Most of the time of a short training is the tracing of its step, which grows with the number of
layers. Tests within this process therefore train `tiny_recipe`, whose network has few; notebooks
and other processes, which do not know it, train `compact_recipe`.
"""

import io
import os
import shutil
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "agg")
# joblib starts processes, each of which imports the library, only where a test names their number
os.environ.setdefault("LOKY_MAX_CPU_COUNT", "1")

import pytest
from networks import Tiny

from hbac_utils.data.competition import Competition, open_competition
from hbac_utils.data.packing import pack
from hbac_utils.data.store import Store
from hbac_utils.recipe import Recipe, override, parse_recipe
from hbac_utils.registry import register
from hbac_utils.synthetic.render import synthesize

REAL_EEG = Path(__file__).parents[2] / "shared" / "real_eeg"


@pytest.fixture(scope="session")
def competition(tmp_path_factory) -> Competition:
    """Forty training EEGs of sixteen patients, eight test EEGs; do not change it."""
    folder = tmp_path_factory.mktemp("data") / "competition"
    return synthesize(folder, eegs=40, patients=16, test_eegs=8, seed=5, progress=False)


@pytest.fixture
def own_competition(competition, tmp_path) -> Competition:
    """A copy of the competition that a test may spoil."""
    return open_competition(shutil.copytree(competition.path, tmp_path / "competition"))


@pytest.fixture(scope="session")
def compact_recipe() -> Recipe:
    """The compact network at its smallest, two folds, two epochs."""
    return parse_recipe(
        {
            "name": "tiny",
            "data": {"folds": 2},
            "view": {"kind": "waveform", "rate": 40},
            "augment": {"shift": 2, "mixup": 0.2, "polarity": 0.5},
            "backbone": {"kind": "compact", "width": 4},
            "stages": [
                {"epochs": 1, "batch_size": 16, "learning_rate": 2e-3, "warmup_epochs": 0},
                {"epochs": 1, "batch_size": 16, "learning_rate": 1e-3, "warmup_epochs": 0,
                 "weight": "votes"},
            ],
            "select": "last",
        }
    )  # fmt: skip


@pytest.fixture(scope="session")
def tiny_recipe(compact_recipe) -> Recipe:
    """One convolution in place of the compact network; the second stage without augmentation."""
    register(Tiny)
    return override(compact_recipe, {"backbone": {"kind": "tiny"}, "stages.1.augment": False})


@pytest.fixture(scope="session")
def store(competition, tiny_recipe, tmp_path_factory) -> Store:
    """The competition, packed; do not change it."""
    return pack(
        competition, tmp_path_factory.mktemp("stores") / "store", tiny_recipe.data, progress=False
    )


@pytest.fixture(scope="session")
def run(store, tiny_recipe, tmp_path_factory) -> Path:
    """The folder of a run of the tiny recipe; do not change it."""
    from hbac_utils.training.trainer import train

    folder = tmp_path_factory.mktemp("runs") / "tiny"
    train(tiny_recipe, store, folder)
    return folder


@pytest.fixture(scope="session")
def compact_run(store, compact_recipe, tmp_path_factory) -> Path:
    """The folder of a run of the compact network; do not change it."""
    from hbac_utils.training.trainer import train

    folder = tmp_path_factory.mktemp("runs") / "compact"
    train(compact_recipe, store, folder)
    return folder


@dataclass(frozen=True)
class Executed:
    """A notebook that a verb has executed: its page, and what the verb printed."""

    page: Path
    printed: str


def execute(verb: list, page: Path) -> Executed:
    from hbac_utils.cli import main

    printed = io.StringIO()
    with redirect_stdout(printed):
        assert main([str(argument) for argument in verb]) == 0
    return Executed(page, printed.getvalue())


@pytest.fixture(scope="session")
def eda_notebook(competition, tmp_path_factory) -> Path:
    """The page of the EDA notebook, executed with small samples."""
    from hbac_utils.notebooks import run_notebook

    out = tmp_path_factory.mktemp("notebooks") / "eda"
    return run_notebook("eda", {"data": str(competition.path), "sampled": 2, "files": 5}, out)


@pytest.fixture(scope="session")
def training_notebook(competition, compact_recipe, tmp_path_factory) -> Executed:
    """The training of the compact network with packing; the store is written beside the run."""
    from hbac_utils.recipe import save_recipe

    folder = tmp_path_factory.mktemp("notebooks")
    save_recipe(compact_recipe, folder / "tiny.json")
    verb = ["train", "--data", competition.path, "--recipe", folder / "tiny.json"]
    verb += ["--store", folder / "store", "--run", folder / "run"]
    return execute(verb, folder / "run" / "training.html")


@pytest.fixture(scope="session")
def inference_notebook(competition, training_notebook) -> Executed:
    """The prediction of the test EEGs with the run of `training_notebook`."""
    run = training_notebook.page.parent
    out = run.with_name("inference")
    verb = ["infer", "--data", competition.path, "--run", run, "--out", out]
    return execute(verb, out / "inference.html")


@pytest.fixture(scope="session")
def recording_notebook(training_notebook, tmp_path_factory) -> Path:
    """The page of the recording notebook, executed for a minute of EEG in an EDF file."""
    from hbac_utils.notebooks import run_notebook
    from hbac_utils.synthetic.hours import synthesize_hours

    out = tmp_path_factory.mktemp("notebooks")
    folder = synthesize_hours(out / "hours", hours=1 / 60, seed=3, progress=False)
    run = training_notebook.page.parent
    parameters = {"files": str(folder / "recording.edf"), "run": str(run), "out": str(out)}
    return run_notebook("recording", parameters, out / "recording")


@pytest.fixture
def browser():
    """Chromium, for one test: papermill does not run while playwright does."""
    from chromium import open_chromium

    with open_chromium() as chromium:
        yield chromium


@pytest.fixture
def real_eeg() -> Competition:
    """The real recordings, where they lie beside the repository."""
    if not REAL_EEG.is_dir():
        pytest.skip("no real recordings beside the repository")
    return open_competition(REAL_EEG)

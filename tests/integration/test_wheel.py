"""The wheel, installed in an environment of its own, gives an `hbac` that works in any folder."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from hbac_utils import __version__

pytest.importorskip("hatchling")  # constraints/build.txt, not part of the tools for tests

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from the sdist as an installer would."""
    out = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-d", str(out)]
    subprocess.run([*build, "-t", "sdist"], cwd=ROOT, check=True, capture_output=True)
    (sdist,) = out.glob("*.tar.gz")
    source = out / sdist.name.removesuffix(".tar.gz")
    subprocess.run(["tar", "xzf", sdist.name], cwd=out, check=True)
    subprocess.run([*build, "-t", "wheel"], cwd=source, check=True, capture_output=True)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The bin folder of a fresh environment that sees this one's packages, but not the checkout."""
    folder = tmp_path_factory.mktemp("venv") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    # the packages beside it; their own .pth files, such as an editable checkout's, are not read
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


@pytest.fixture
def hbac(installed, tmp_path):
    """Run the installed command in another folder; what it printed."""

    def run(*arguments: object, **environment: str) -> str:
        clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        clean["JUPYTER_PATH"] = str(Path(sys.prefix, "share", "jupyter"))  # nbconvert's templates
        command = [str(installed / "hbac"), *map(str, arguments)]
        done = subprocess.run(
            command, cwd=tmp_path, env=clean | environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_help_lists_the_verbs(hbac):
    assert f"hbac {__version__}" in hbac("--version")
    printed = hbac("--help")
    for verb in ("synth", "pack", "train", "infer", "blend", "sweep", "push"):
        assert f"\n  {verb} " in printed


def test_recipes_are_found_by_name(hbac, competition, tmp_path):
    hbac("pack", "--data", competition.path, "--recipe", "multiview", "--out", "s", "--jobs", 1)
    assert (tmp_path / "s" / "store.json").is_file()


def test_a_kernel_is_staged_with_the_installed_library(hbac, tmp_path):
    """Credentials come from the environment; nothing is sent."""
    hbac(
        "stage", "training", "--set", "recipe=compact", KAGGLE_USERNAME="alice", KAGGLE_KEY="0" * 32
    )
    notebook = (tmp_path / "build" / "training" / "training.ipynb").read_text()
    assert f"hbac_utils {__version__}, commit release" in notebook
    assert (
        "alice/hbac-training"
        in (tmp_path / "build" / "training" / "kernel-metadata.json").read_text()
    )


@pytest.mark.slow
def test_a_recipe_is_trained_by_name_and_predicts(hbac, tmp_path):
    hbac("synth", "--out", "data", "--eegs", 24, "--patients", 12, "--evidence", 5, "--jobs", 1)
    data = ("--data", "data", "--store", "store", "--recipe", "demo")
    assert "prior" in hbac("train", *data, "--run", "run", "--folds", "0")
    hbac("infer", "--data", "data", "--run", "run", "--out", "out")
    assert (tmp_path / "out" / "submission.csv").is_file()
    assert (tmp_path / "out" / "inference.html").is_file()

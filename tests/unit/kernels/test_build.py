"""Kernels as they would be pushed: parameters, attached models, the embedded library."""

import io
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest

from hbac_utils.kernels import build
from hbac_utils.kernels.build import build_kernel, bundle_library
from hbac_utils.utils.errors import InputError
from hbac_utils.utils.files import PACKAGE

KEY = "0123456789abcdef0123456789abcdef"


def build_with(name: str, *settings: str) -> build.Kernel:
    """Build a kernel as the commands do, from texts."""
    return build_kernel(name, dict(setting.split("=", 1) for setting in settings))


def test_settings_get_the_types_of_the_parameters():
    settings = ["recipe=demo", "folds=0", 'overrides={"stages.0.epochs": 1}', "max_hours=3"]
    assert build_with("training", *settings).parameters == {
        "recipe": "demo",
        "folds": "0",
        "overrides": {"stages.0.epochs": 1},
        "max_hours": 3,
    }


@pytest.mark.parametrize(
    ("name", "setting", "reason"),
    [
        ("training", "recipy=demo", "no parameter recipy; did you mean recipe"),
        ("training", "overrides=[1]", "overrides=[1]: list, and the parameter is dict"),
        ("training", "max_hours=long", "str, and the parameter is float"),
        ("training", "max_hours=true", "bool, and the parameter is float"),
        ("eda", "examples=1.5", "examples=1.5: float, and the parameter is int"),
        ("training", "recipe=nothing", "no such recipe"),
        ("training", "recipe=recipes/demo.yaml", "give its bare name"),
        ("training", 'overrides={"stages.0.epoch": 1}', "unknown key stages.0.epoch"),
    ],
)
def test_a_wrong_setting_is_refused(name, setting, reason):
    with pytest.raises(InputError) as refused:
        build_with(name, setting)
    assert reason in str(refused.value)


def test_training_ends_before_kaggles_session_by_default():
    assert build_with("training").parameters["max_hours"] == 8
    assert build_with("training", "max_hours=2").parameters["max_hours"] == 2


def test_pretrained_models_of_the_recipe_are_attached():
    kernel = build_with("training", "recipe=paper-resnet50v2")
    assert kernel.metadata.model_sources == ("keras/resnetv2/keras/resnet50_v2_imagenet/2",)


@pytest.mark.parametrize("name", ["inference", "training", "eda"])
def test_a_written_kernel_is_what_kaggle_accepts(name, tmp_path):
    folder = build_with(name).write("alice", (KEY,), tmp_path)
    notebook = nbformat.read(folder / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata["kernelspec"]["name"] == "python3"
    assert len(json.dumps(notebook)) < 600_000
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)
    metadata = json.loads((folder / "kernel-metadata.json").read_text())
    assert metadata["id"] == f"alice/hbac-{name}"
    assert metadata["code_file"] == f"{name}.ipynb"
    assert metadata["enable_internet"] is False


def test_parameters_follow_the_parameters_cell():
    cells = build_with("training").notebook.cells
    tags = [cell.metadata.get("tags") for cell in cells]
    injected = cells[tags.index(["parameters"]) + 1]
    assert injected.metadata.tags == ["injected-parameters"]
    assert "max_hours = 8" in injected.source


def test_a_notebook_that_is_too_large_is_refused(monkeypatch):
    size = build_with("eda").size
    monkeypatch.setattr(build, "MAX_NOTEBOOK_BYTES", size - 1)
    with pytest.raises(InputError, match=f"{size:,} bytes with the library, and Kaggle takes"):
        build_with("eda")


@pytest.mark.parametrize(
    ("settings", "secret"),
    [([f"out={KEY}"], KEY), ([], "def vote_fractions")],  # in the notebook, in the library
)
def test_credentials_are_never_written(tmp_path, settings, secret):
    kernel = build_with("inference", *settings)
    with pytest.raises(InputError, match="contains your Kaggle credentials"):
        kernel.write("alice", (secret,), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A few modules of the library in a repository of their own; a test may change them."""
    package = tmp_path_factory.mktemp("clone") / "hbac_utils"
    for name in ("__init__.py", "labels.py", "plots/__init__.py", "synthetic/__init__.py"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PACKAGE / name, package / name)
    git(package, "init", "--quiet", "..")
    git(package, "add", ".")
    git(package, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "all")
    return package


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_equal_files_give_equal_bytes(package):
    first = bundle_library(package)
    (package / "labels.py").touch()
    assert bundle_library(package) == first
    names = zipfile.ZipFile(io.BytesIO(first.data)).namelist()
    assert {"hbac_utils/labels.py", "hbac_utils/plots/__init__.py"} <= set(names)
    assert {path.suffix for path in map(Path, names)} == {".py", ".yaml"}
    assert "hbac_utils/synthetic/__init__.py" not in names, "no notebook needs it"


def test_uncommitted_files_are_listed(package):
    bundle = bundle_library(package)
    assert bundle.changed == ()
    assert bundle.commit == git(package, "rev-parse", "--short", "HEAD")
    path = package / "extra.py"
    path.write_text("")
    changed = bundle_library(package)
    path.unlink()
    assert changed.changed == ("hbac_utils/extra.py",)
    assert changed.commit == f"{bundle.commit}+changes"


def test_recipes_of_the_working_folder_are_included(package, tmp_path, monkeypatch):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "own.yaml").write_text("name: own")
    monkeypatch.chdir(tmp_path)
    names = zipfile.ZipFile(io.BytesIO(bundle_library(package).data)).namelist()
    assert {"recipes/own.yaml", "recipes/compact.yaml"} <= set(names)


def test_an_installed_library_is_named_by_its_release(package, tmp_path):
    installed = shutil.copytree(package, tmp_path / "hbac_utils")
    assert bundle_library(installed).changed == ("no git repository",)
    (installed / "_resources").mkdir()
    assert bundle_library(installed).changed == ()
    assert bundle_library(installed).commit == "release"


def run_cell(source: str, folder: Path) -> subprocess.CompletedProcess:
    """Run the cell in a bare interpreter, then import the library."""
    for name in ("unpacked", "working"):
        (folder / name).mkdir()
    source += "\nimport hbac_utils.labels; print(hbac_utils.labels.__file__)"
    return subprocess.run(
        [sys.executable, "-I", "-"], input=source, cwd=folder / "working",
        env={"TMPDIR": str(folder / "unpacked")}, capture_output=True, text=True,
    )  # fmt: skip


def test_the_cell_unpacks_the_library_outside_the_working_folder(package, tmp_path):
    bundle = bundle_library(package)
    done = run_cell(bundle.cell().source, tmp_path)
    assert done.returncode == 0, done.stderr
    title, module = done.stdout.splitlines()
    assert f"commit {bundle.commit}, sha256 {bundle.sha256[:12]}" in title
    folder = Path(module).parents[1]
    assert folder.parent == tmp_path / "unpacked"
    assert (folder / "recipes" / "compact.yaml").is_file()
    assert not list((tmp_path / "working").iterdir())


def test_the_cell_refuses_a_damaged_library(package, tmp_path):
    source = bundle_library(package).cell().source
    i = source.index('"""') + 500
    source = source[:i] + ("A" if source[i] != "A" else "B") + source[i + 1 :]
    done = run_cell(source, tmp_path)
    assert done.returncode != 0
    assert "the embedded library is damaged" in done.stderr

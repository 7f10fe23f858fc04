"""The embedded library: reproducible bytes, its commit, and a cell that unpacks and verifies it."""

import io
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from hbac_utils.kernels.bundle import bundle_library
from hbac_utils.utils.files import PACKAGE


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

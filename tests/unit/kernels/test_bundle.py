"""The embedded library: reproducible bytes, its commit, and a cell that unpacks and verifies it."""

import io
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from hbac_utils.kernels.bundle import bundle_library
from hbac_utils.utils.errors import InputError
from hbac_utils.utils.resources import resource_root


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A small repository with the same folders, committed; a test may change it."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("__init__.py", "labels.py", "plots/__init__.py", "synthetic/__init__.py"):
        (folder / "hbac_utils" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(resource_root() / "hbac_utils" / name, folder / "hbac_utils" / name)
    shutil.copytree(resource_root() / "recipes", folder / "recipes")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "all")
    return folder


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_equal_files_give_equal_bytes(clone):
    first = bundle_library(clone)
    (clone / "hbac_utils" / "labels.py").touch()
    assert bundle_library(clone) == first
    names = zipfile.ZipFile(io.BytesIO(first.data)).namelist()
    assert {"hbac_utils/labels.py", "hbac_utils/plots/__init__.py"} <= set(names)
    assert {path.suffix for path in map(Path, names)} == {".py", ".yaml"}
    assert "hbac_utils/synthetic/__init__.py" not in names, "no notebook needs it"


def test_uncommitted_files_are_listed(clone):
    bundle = bundle_library(clone)
    assert bundle.changed == ()
    assert bundle.label == git(clone, "rev-parse", "--short", "HEAD")
    for name in ("extra.py", "synthetic/extra.py"):
        path = clone / "hbac_utils" / name
        path.write_text("")
        changed = bundle_library(clone)
        path.unlink()
        expected = () if name.startswith("synthetic") else ("hbac_utils/extra.py",)
        assert changed.changed == expected
        assert changed.label.endswith("+changes") == bool(expected)


def test_an_installed_package_cannot_be_bundled(tmp_path):
    with pytest.raises(InputError, match="stage from a clone of the repository"):
        bundle_library(tmp_path)


def run_cell(source: str, folder: Path) -> subprocess.CompletedProcess:
    """Run the cell in a bare interpreter, then import the library."""
    for name in ("unpacked", "working"):
        (folder / name).mkdir()
    source += "\nimport hbac_utils.labels; print(hbac_utils.labels.__file__)"
    return subprocess.run(
        [sys.executable, "-I", "-"], input=source, cwd=folder / "working",
        env={"TMPDIR": str(folder / "unpacked")}, capture_output=True, text=True,
    )  # fmt: skip


def test_the_cell_unpacks_the_library_outside_the_working_folder(clone, tmp_path):
    bundle = bundle_library(clone)
    done = run_cell(bundle.cell().source, tmp_path)
    assert done.returncode == 0, done.stderr
    title, module = done.stdout.splitlines()
    assert f"commit {bundle.commit}, sha256 {bundle.sha256[:12]}" in title
    folder = Path(module).parents[1]
    assert folder.parent == tmp_path / "unpacked"
    assert (folder / "recipes" / "compact.yaml").is_file()
    assert not list((tmp_path / "working").iterdir())


def test_the_cell_refuses_a_damaged_library(clone, tmp_path):
    source = bundle_library(clone).cell().source
    i = source.index('"""') + 500
    source = source[:i] + ("A" if source[i] != "A" else "B") + source[i + 1 :]
    done = run_cell(source, tmp_path)
    assert done.returncode != 0
    assert "the embedded library is damaged" in done.stderr

"""Places in which a notebook finds the library: embedded, beside it, or in an attached data set."""

import ast
import io
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import nbformat
import pytest

from hbac_utils.kernels.build import Bundle, bundle_library
from hbac_utils.notebooks import FOLDER
from hbac_utils.utils.files import PACKAGE

NOTEBOOKS = {
    name: nbformat.read(FOLDER / f"{name}.ipynb", 4) for name in ("eda", "training", "inference")
}


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A few modules of the library in a repository of their own; a test may change them."""
    package = tmp_path_factory.mktemp("clone") / "hbac_utils"
    for name in ("__init__.py", "labels.py", "plots/__init__.py", "sweeps/__init__.py"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PACKAGE / name, package / name)
    git(package, "init", "--quiet", "..")
    git(package, "add", ".")
    git(package, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "all")
    return package


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def names_in(bundle: Bundle) -> list[str]:
    return tarfile.open(fileobj=io.BytesIO(bundle.data)).getnames()


def test_equal_files_give_equal_bytes(package):
    first = bundle_library(package)
    (package / "labels.py").touch()
    assert bundle_library(package) == first
    names = names_in(first)
    assert {"hbac_utils/labels.py", "hbac_utils/plots/__init__.py"} <= set(names)
    assert {path.suffix for path in map(Path, names)} == {".py", ".yaml"}
    assert "hbac_utils/sweeps/__init__.py" not in names, "no notebook needs it"


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
    assert {"recipes/own.yaml", "recipes/compact.yaml"} <= set(names_in(bundle_library(package)))


def test_the_commit_of_a_repository_around_the_library_is_not_taken_for_its_own(
    package, tmp_path, monkeypatch
):
    kit = tmp_path / "theirs" / "kit"
    shutil.copytree(package, kit / "hbac_utils")
    git(kit, "init", "--quiet", "..")
    git(kit, "add", ".")
    git(kit, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "theirs")
    bundle = bundle_library(kit / "hbac_utils")
    assert (bundle.commit, bundle.changed) == ("unknown+changes", ("no git repository of its own",))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "theirs" / ".git"))
    assert bundle_library(package).commit != git(kit, "rev-parse", "--short", "HEAD")


def test_an_installed_library_is_named_by_its_release(package, tmp_path):
    installed = shutil.copytree(package, tmp_path / "hbac_utils")
    assert bundle_library(installed).changed == ("no git repository",)
    (installed / "_resources").mkdir()
    assert bundle_library(installed).changed == ()
    assert bundle_library(installed).commit == "release"


def run_cell(source: str, folder: Path, *options: str) -> subprocess.CompletedProcess:
    """Run a cell in a bare interpreter, then import the library itself."""
    for name in ("unpacked", "working"):
        (folder / name).mkdir()
    source += "\nimport hbac_utils; print(hbac_utils.__file__)"
    return subprocess.run(
        [sys.executable, "-I", *options, "-"], input=source, cwd=folder / "working",
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


def test_the_embedded_library_is_enough_for_the_notebooks(tmp_path):
    """Each of its modules can be imported, and what the notebooks import, from it alone."""
    imports = [
        ast.unparse(node)
        for notebook in NOTEBOOKS.values()
        for cell in notebook.cells if cell.cell_type == "code"
        for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.ImportFrom)
    ]  # fmt: skip
    source = [
        bundle_library().cell().source,
        "import pkgutil, hbac_utils",
        "modules = pkgutil.walk_packages(hbac_utils.__path__, 'hbac_utils.')",
        "for module in modules: __import__(module.name)",
        *imports,
        "ours = [module for name, module in sys.modules.items() if name.startswith('hbac_utils')]",
        "assert all(module.__file__.startswith(_folder) for module in ours), ours",
        "hbac_utils.load_recipe('compact')",
    ]
    done = run_cell("\n".join(source), tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def find(package, tmp_path):
    """Run the notebooks' cell that searches, with a folder in place of /kaggle/input."""
    cells = {
        cell.source
        for notebook in NOTEBOOKS.values()
        for cell in notebook.cells
        if cell.metadata.get("tags") == ["library"]
    }
    (source,) = cells  # the same in all of them

    def find() -> subprocess.CompletedProcess:
        own = source.replace('"/kaggle/input"', repr(str(tmp_path / "input")))
        return run_cell(own, tmp_path, "-S")  # without installed packages

    return find


@pytest.mark.parametrize(
    "place",
    [
        "hbac_utils", "input/code/hbac_utils", "input/code/kit/hbac_utils",
        "input/datasets/bob/code/hbac_utils", "input/datasets/bob/code/kit-main/hbac_utils",
    ],
)  # fmt: skip
def test_the_library_is_found_in_a_folder(find, package, tmp_path, place):
    shutil.copytree(package, tmp_path / place)
    done = find()
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path / place / "__init__.py")


@pytest.mark.parametrize("place", ["input/code", "input/datasets/bob/code"])
def test_the_library_is_found_in_a_wheel(find, package, tmp_path, place):
    wheel = tmp_path / place / "hbac_utils-0.2.0-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    with zipfile.ZipFile(wheel, "w") as content:
        for path in package.rglob("*.py"):
            content.write(path, path.relative_to(package.parent))
    done = find()
    assert done.returncode == 0, done.stderr
    shown, module = done.stdout.splitlines()
    assert shown == f"hbac_utils from {wheel}"
    assert Path(module).is_relative_to(tmp_path / "unpacked")


def test_a_missing_library_is_one_line(find):
    done = find()
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("hbac_utils is missing: attach a data set with its wheel")

"""Staged kernels: what is refused before anything is sent, and what stands in those that are."""

import io
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import papermill
import pytest

from hbac_utils.data.layout import SLUG
from hbac_utils.kernels import push as staging
from hbac_utils.kernels.bundle import EPOCH, pack_library
from hbac_utils.kernels.metadata import load_metadata
from hbac_utils.kernels.push import (
    ROOT,
    Draft,
    described,
    draft,
    metadata_path,
    parse_settings,
    write_draft,
)
from hbac_utils.utils.errors import InputError

NAMES = ("inference", "training", "eda")
KEY = "0123456789abcdef0123456789abcdef"


def drafted(name: str, settings: list[str], root: Path = ROOT) -> Draft:
    """As the verbs stage and push do it."""
    return draft(name, parse_settings(described(name, root)[1], settings), root)


@pytest.fixture
def changed(tmp_path):
    """Write the inference kernel's metadata with changes and give its path."""

    def write(**changes) -> Path:
        content = json.loads(metadata_path("inference").read_text()) | changes
        kept = {key: value for key, value in content.items() if value is not ...}
        (tmp_path / "kernel-metadata.json").write_text(json.dumps(kept))
        return tmp_path / "kernel-metadata.json"

    return write


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A committed copy of what is staged, small, so that a test may change it."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("hbac_utils", "recipes", "notebooks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "kernel-metadata.json", folder)
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "all")
    return folder


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True)
    return done.stdout.decode().strip()


# -- metadata ----------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_kernels_are_described_as_kaggle_wants_it(name):
    metadata = load_metadata(metadata_path(name))
    assert metadata.slug == f"hbac-{name}"
    assert metadata.is_private
    assert not metadata.enable_internet
    assert metadata.enable_gpu == (name != "eda")
    assert metadata.competition_sources == [SLUG]
    assert (metadata_path(name).parent / metadata.code_file).is_file()


def test_the_inference_kernel_takes_the_training_kernels_output():
    inference, training = (load_metadata(metadata_path(n)) for n in ("inference", "training"))
    assert inference.kernel_sources == [training.id]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"enable_gpuu": True}, "unknown key enable_gpuu"),
        ({"id_no": 12345}, "unknown key id_no"),
        ({"enable_internet": ...}, "missing key enable_internet"),
        ({"enable_gpu": ...}, "missing key enable_gpu"),
        ({"is_private": ...}, "missing key is_private"),
        ({"id": ...}, "missing key id"),
        ({"title": ...}, "missing key title"),
        ({"code_file": ...}, "missing key code_file"),
        ({"enable_gpu": "true"}, "enable_gpu: Input should be a valid boolean"),
        ({"enable_gpu": 1}, "enable_gpu: Input should be a valid boolean"),
        ({"dataset_sources": "alice/foo"}, "dataset_sources: Input should be a valid list"),
        ({"enable_internet": True}, "a notebook with internet cannot be submitted"),
        ({"title": "abcd", "id": "USERNAME/abcd"}, "title: String should have at least 5"),
        ({"title": "a" * 51, "id": f"USERNAME/{'a' * 51}"}, "title: String should have at most 50"),
        ({"title": "a b c", "id": "USERNAME/a-b"}, "slug a-b must have 5 to 50 characters"),
        ({"title": "Something Else"}, "the slug hbac-inference is not the title's"),
        ({"id": "hbac-inference"}, "id: 'hbac-inference' is not of the form owner/slug"),
        ({"id": "USERNAME/hbac-inference/3"}, "is not of the form owner/slug, without a version"),
        ({"language": "julia"}, "language: Input should be 'python'"),
        ({"kernel_type": "nb"}, "kernel_type: Input should be 'notebook'"),
        ({"kernel_type": "script"}, "kernel_type: Input should be 'notebook'"),
        ({"model_sources": ["keras/a/keras/b"]}, "owner/model/framework/variation/version"),
        ({"dataset_sources": ["foo"]}, "dataset_sources.0: 'foo' is not of the form owner/slug"),
        ({"kernel_sources": ["foo"]}, "kernel_sources.0: 'foo' is not of the form owner/slug"),
        ({"competition_sources": [f"c/{SLUG}"]}, "competition_sources.0"),
        ({"competition_sources": []}, f"attach {SLUG}"),
        ({"kernel_sources": []}, "attach the training kernel, whose output holds the weights"),
        ({"docker_image_pinning_type": "pinned"}, "docker_image_pinning_type: Input should be"),
        ({"machine_shape": "NvidiaTeslaP100"}, "NvidiaTeslaP100 is retired; write NvidiaTeslaT4"),
        ({"code_file": "notebooks/inference.py"}, "a notebook's path"),
    ],
)
def test_metadata_that_the_client_would_let_pass_or_misread_is_refused(changed, changes, reason):
    path = changed(**changes)
    with pytest.raises(InputError, match="kernel-metadata.json: ") as refused:
        load_metadata(path)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


def test_metadata_that_is_none_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such kernel metadata"):
        drafted("trainning", [])
    (tmp_path / "kernel-metadata.json").write_text('{"id": ')
    with pytest.raises(InputError, match="not JSON"):
        load_metadata(tmp_path / "kernel-metadata.json")


def test_the_users_name_takes_its_place_and_no_other(changed):
    metadata = load_metadata(changed(kernel_sources=["USERNAME/hbac-training", "bob/hbac-other"]))
    resolved = metadata.resolved("alice")
    assert resolved.id == "alice/hbac-inference"
    assert resolved.kernel_sources == ["alice/hbac-training", "bob/hbac-other"]
    with pytest.raises(InputError, match="the kernel belongs to bob, and the credentials are alic"):
        load_metadata(changed(id="bob/hbac-inference")).resolved("alice")


# -- parameters --------------------------------------------------------------


def test_settings_become_values_of_the_parameters_types():
    notebook = ROOT / "notebooks" / "training.ipynb"
    settings = ["recipe=demo", "folds=0", 'overrides={"stages.0.epochs": 1}', "max_hours=3"]
    assert parse_settings(notebook, settings) == {
        "recipe": "demo",
        "folds": "0",
        "overrides": {"stages.0.epochs": 1},
        "max_hours": 3,
    }


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("recipy=demo", "no parameter recipy; did you mean recipe"),
        ("recipe", "write name=value"),
        ("overrides=[1]", "overrides=[1]: list, and the parameter is dict"),
        ("max_hours=long", "str, and the parameter is"),
        ("max_hours=true", "bool, and the parameter is"),
        ("recipe=nothing", "no such recipe"),
        ("recipe=recipes/demo.yaml", "give its bare name"),
        ('overrides={"stages.0.epoch": 1}', "unknown key stages.0.epoch"),
        ('overrides={"backbone.weights": "imagenet"}', "backbone"),
    ],
)
def test_a_wrong_parameter_is_refused(setting, reason):
    with pytest.raises(InputError) as refused:
        drafted("training", [setting])
    assert reason in str(refused.value)


def test_a_whole_number_is_no_fraction():
    with pytest.raises(InputError, match="examples=1.5: float, and the parameter is int"):
        drafted("eda", ["examples=1.5"])


def test_training_stops_before_kaggle_ends_the_session_if_nothing_else_is_said():
    assert drafted("training", []).parameters["max_hours"] == 8
    assert drafted("training", ["max_hours=2"]).parameters["max_hours"] == 2


def test_a_recipes_pretrained_weights_are_attached():
    made = drafted("training", ["recipe=paper-resnet50v2"])
    assert made.metadata.model_sources == ["keras/resnetv2/keras/resnet50_v2_imagenet/2"]


# -- the staged notebook -----------------------------------------------------


@pytest.fixture(scope="module")
def staged(clone, tmp_path_factory):
    """The three kernels of the clone, written for alice."""
    build = tmp_path_factory.mktemp("build")
    return {
        name: write_draft(drafted(name, [], clone), "alice", (KEY,), build) for name in NAMES
    }  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_staged_notebook_is_a_notebook_that_kaggle_takes(staged, name):
    notebook = nbformat.read(staged[name] / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata["kernelspec"]["name"] == "python3"
    assert len(json.dumps(notebook)) < 1_000_000
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    metadata = json.loads((staged[name] / "kernel-metadata.json").read_text())
    assert metadata["id"] == f"alice/hbac-{name}"
    assert metadata["code_file"] == f"{name}.ipynb"
    assert metadata["enable_internet"] is False
    assert "USERNAME" in metadata_path(name).read_text(), "never written back"


def test_parameters_stand_where_papermill_looks_for_them(staged):
    notebook = nbformat.read(staged["training"] / "training.ipynb", as_version=4)
    tags = [cell.metadata.get("tags") for cell in notebook.cells]
    place = tags.index(["parameters"])
    assert tags[place + 1] == ["injected-parameters"]
    assert "max_hours = 8" in notebook.cells[place + 1].source
    assert papermill.inspect_notebook(str(staged["training"] / "training.ipynb"))["max_hours"]


def test_the_same_library_gives_the_same_bytes(clone, tmp_path):
    first = pack_library(clone)
    (clone / "hbac_utils" / "metric.py").touch()
    assert pack_library(clone) == first
    with zipfile.ZipFile(io.BytesIO(first.data)) as archive:
        names = archive.namelist()
        assert names == sorted(names)
        assert {entry.date_time for entry in archive.infolist()} == {EPOCH}
    assert {"hbac_utils/__init__.py", "recipes/compact.yaml"} <= set(names)
    assert not [name for name in names if not name.endswith((".py", ".yaml"))]


def test_a_library_that_is_not_committed_is_marked(clone):
    assert pack_library(clone).changed == ()
    assert pack_library(clone).label == git(clone, "rev-parse", "--short", "HEAD")
    path = clone / "hbac_utils" / "extra.py"
    path.write_text("")
    try:
        assert pack_library(clone).changed == ("hbac_utils/extra.py",)
        assert pack_library(clone).label.endswith("+changes")
    finally:
        path.unlink()
    assert pack_library(clone).changed == ()


def test_what_is_no_clone_cannot_be_staged(tmp_path):
    with pytest.raises(InputError, match="stage from a clone of the repository"):
        pack_library(tmp_path)


def run_cell(source: str, folder: Path) -> subprocess.CompletedProcess:
    code = "import hbac_utils, hbac_utils.labels; print(hbac_utils.__file__)"
    (folder / "unpacked").mkdir()
    (folder / "working").mkdir()
    return subprocess.run(
        [sys.executable, "-I", "-"],
        input=f"{source}\n{code}", cwd=folder / "working", env={"TMPDIR": str(folder / "unpacked")},
        capture_output=True, text=True,
    )  # fmt: skip


def test_the_first_cell_puts_the_library_on_the_path_outside_the_working_folder(clone, tmp_path):
    bundle = pack_library(clone)
    done = run_cell(bundle.cell().source, tmp_path)
    assert done.returncode == 0, done.stderr
    said, where = done.stdout.splitlines()
    assert f"hbac_utils 0.1.0, commit {bundle.commit}, sha256 {bundle.sha256[:12]}" in said
    folder = Path(where).parents[1]
    assert folder.parent == tmp_path / "unpacked"
    assert (folder / "recipes" / "compact.yaml").is_file()
    assert not list((tmp_path / "working").iterdir())


def test_a_damaged_library_is_refused_at_the_start(clone, tmp_path):
    source = pack_library(clone).cell().source
    place = source.index('"""') + 500
    other = "A" if source[place] != "A" else "B"
    done = run_cell(source[:place] + other + source[place + 1 :], tmp_path)
    assert done.returncode != 0
    assert "the embedded library is damaged" in done.stderr


def test_a_notebook_that_is_too_large_is_refused(clone, monkeypatch):
    size = drafted("eda", [], clone).size
    monkeypatch.setattr(staging, "LIMIT", size - 1)
    with pytest.raises(InputError, match=f"{size:,} bytes with the library, and Kaggle takes"):
        drafted("eda", [], clone)


def test_credentials_that_stand_in_what_would_be_sent_are_refused(clone, tmp_path):
    path = clone / "hbac_utils" / "oops.py"
    path.write_text(f'key = "{KEY}"\n')
    try:
        made = drafted("eda", [], clone)
    finally:
        path.unlink()
    with pytest.raises(InputError, match="your Kaggle credentials stand in the notebook or in th"):
        write_draft(made, "alice", (KEY,), tmp_path)
    made = drafted("eda", [f"competition={KEY}"], clone)
    with pytest.raises(InputError, match="your Kaggle credentials"):
        write_draft(made, "alice", (KEY,), tmp_path)
    assert not list(tmp_path.iterdir())

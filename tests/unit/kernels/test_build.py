"""Kernels as they would be pushed: parameters, attached models, size, credentials."""

import json

import nbformat
import pytest

from hbac_utils.kernels import build
from hbac_utils.kernels.build import build_kernel
from hbac_utils.recipe import load_recipe
from hbac_utils.utils.errors import InputError

KEY = "0123456789abcdef0123456789abcdef"


def build_with(name: str, *settings: str) -> build.Kernel:
    """Build a kernel as the commands do, from texts."""
    return build_kernel(name, dict(setting.split("=", 1) for setting in settings))


def test_settings_get_the_types_of_the_parameters():
    settings = ["recipe=compact", "folds=0", 'overrides={"stages.0.epochs": 1}', "max_hours=3"]
    assert build_with("training", *settings).parameters == {
        "recipe": "compact",
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
        ("training", "recipe=demo", "make wheel-dataset"),
        ("training", "recipe=recipes/demo.yaml", "give its bare name"),
        ("training", 'overrides={"stages.0.epoch": 1}', "unknown key stages.0.epoch"),
        ("training", 'overrides={"stages.0.epochs": -1}', "stages.0.epochs: Input should be"),
        ("training", "folds=abc", "folds abc: 'abc' is no fold of recipe"),
        ("training", "folds=0,7", "folds 0,7: '7' is no fold of recipe"),
        ("training", "folds=0-1", "folds 0-1: '0-1' is no fold of recipe"),
        ("training", "max_hours=20", "a session on Kaggle ends after 12 hours and keeps nothing"),
        ("training", "max_hours=12", "a session on Kaggle ends after 12 hours"),
        ("training", "max_hours=0", "give fewer, and more than 0"),
        ("training", "max_hours=.nan", "give a number from 0 up"),
        ("training", "examples=-1", "give a number from 0 up"),
        ("eda", "sampled=-1", "give a number from 0 up"),
        ("training", "data=outputs/competition", "not on Kaggle, where inputs are in"),
        ("training", "data=/kaggle/input/my-data", "no such source is attached; add it to the k"),
        ("training", "recipe=/kaggle/input/my/a.yaml", "no such source is attached"),
        (
            "training",
            'overrides={"stages.0.pseudo_labels": {"runs": ["outputs/runs/a"]}}',
            "pseudo_labels.runs outputs/runs/a: not on Kaggle",
        ),
        (
            "training",
            'overrides={"stages.0.pseudo_labels": {"runs": ["/kaggle/input/a/run"]}}',
            "pseudo_labels.runs /kaggle/input/a/run: no such source is attached",
        ),
        ("inference", "run=outputs/runs/compact", "not on Kaggle, where inputs are in"),
        ("inference", "run=simulated", "make wheel-dataset"),
        ("inference", "blend=outputs/blend.json", "BLEND=… sends the file"),
        ("inference", 'blend={"members": []}', "blend: missing key method"),
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
    assert not kernel.metadata.enable_internet


@pytest.mark.parametrize("name", ["eeg-spectrogram", "multiview", "mel-zoom"])
def test_the_image_recipes_start_from_imagenet(name):
    """Every branch does, and the push switches the internet on for Keras' files."""
    recipe = load_recipe(name)
    assert {branch.backbone.weights for branch in recipe.all_branches} == {"imagenet"}
    reduced = load_recipe(name, reduced=True)
    assert {branch.backbone.weights for branch in reduced.all_branches} == {"none"}
    metadata = build_with("training", f"recipe={name}").metadata
    assert metadata.enable_internet
    assert metadata.model_sources == ()


def test_internet_is_on_only_for_what_keras_downloads(tmp_path):
    def staged(weights):
        backbone = {"kind": "keras_convnext", "weights": weights}
        overrides = json.dumps({"backbone": backbone})
        kernel = build_with("training", "recipe=eeg-spectrogram", f"overrides={overrides}")
        folder = kernel.write("alice", (KEY,), tmp_path)
        return json.loads((folder / "kernel-metadata.json").read_text())

    assert staged("imagenet")["enable_internet"] is True
    assert staged("none")["enable_internet"] is False
    assert "model_sources" not in staged("imagenet")
    with pytest.raises(InputError, match=r"backbone\.weights /kaggle/input/mine/a\.h5: no such"):
        staged("/kaggle/input/mine/a.h5")


@pytest.mark.parametrize("name", ["inference", "training", "eda"])
def test_a_written_kernel_is_what_kaggle_accepts(name, tmp_path):
    folder = build_with(name).write("alice", (KEY,), tmp_path)
    notebook = nbformat.read(folder / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata["kernelspec"]["name"] == "python3"
    library = notebook.cells[1].source.split('"""')[1]
    assert len(library) < 180_000
    assert [cell.metadata.get("tags") for cell in notebook.cells].count(["library"]) == 1
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)
    metadata = json.loads((folder / "kernel-metadata.json").read_text())
    assert metadata["id"] == f"alice/hbac-{name}"
    assert metadata["code_file"] == f"{name}.ipynb"
    assert metadata["enable_internet"] is (name == "training")  # weights of the default recipe


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
    [
        ([f"out=/kaggle/working/{KEY}"], KEY),
        ([], "def vote_fractions"),
    ],  # in the notebook, in the library
)
def test_credentials_are_never_written(tmp_path, settings, secret):
    kernel = build_with("inference", *settings)
    with pytest.raises(InputError, match="contains your Kaggle credentials"):
        kernel.write("alice", (secret,), tmp_path)
    assert not list(tmp_path.iterdir())

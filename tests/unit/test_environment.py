"""The tables that the inference notebook begins with."""

import keras
import pytest

from hbac_utils.environment import attached, default_recipe, describe_environment
from hbac_utils.models.pretrained import check_weights
from hbac_utils.recipe import load_recipe
from hbac_utils.utils.backend import tf


def test_the_environment_names_versions_and_place(monkeypatch):
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)
    table = describe_environment()["value"]
    assert table["keras"] == keras.__version__
    assert table["runs on"] == "not Kaggle"
    assert int(table["processors"]) >= 1
    assert "GB free" in table["memory"]
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    monkeypatch.setenv("KAGGLE_IS_COMPETITION_RERUN", "1")
    assert describe_environment()["value"]["runs on"] == "Kaggle, batch, the hidden re-run"


def test_the_default_recipe_is_the_strongest_with_a_gpu_and_the_smallest_without(monkeypatch):
    assert default_recipe() == "compact"
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    assert default_recipe() == "vipeegnet"
    check_weights(load_recipe("compact"))  # needs none


@pytest.mark.parametrize(
    ("file", "folder", "what"),
    [
        ("competitions/hms/test.csv", "competitions/hms", "competition"),
        ("hms/train.csv", "hms", "competition"),
        ("notebooks/me/training/run/metrics.json", "notebooks/me/training", "run"),
        ("datasets/me/kit/hbac_utils/labels.py", "datasets/me/kit", "this library"),
        (
            "models/keras/b2/keras/x/2/a.weights.h5",
            "models/keras/b2/keras/x/2",
            "pretrained weights",
        ),
        ("datasets/me/other/x.txt", "datasets/me/other", "other"),
    ],
)
def test_what_is_attached_is_listed(tmp_path, file, folder, what):
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).touch()
    assert attached(tmp_path).to_numpy().tolist() == [[str(tmp_path / folder), what]]


def test_nothing_attached(tmp_path):
    assert attached(tmp_path)["what"].tolist() == ["nothing"]
    assert attached(tmp_path / "nowhere")["what"].tolist() == ["no such folder"]

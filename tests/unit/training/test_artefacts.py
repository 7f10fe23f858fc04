"""The files of a run: hashes, weights, progress. What was changed or damaged is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hbac_utils.models.classifier import load_classifier
from hbac_utils.recipe import override
from hbac_utils.training.runs import fold_weights, read_metrics, read_oof, read_recipe, run_digest
from hbac_utils.utils.errors import InputError


@pytest.fixture
def copied(run, tmp_path) -> Path:
    """A copy of the session's run that a test may change."""
    return shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("tensorboard"))


def refused(path: Path, reason: str):
    """Expect an error of one line that names the file."""
    return pytest.raises(InputError, match=f"^[^\n]*{path.name}[^\n]*{reason}[^\n]*$")


def test_metrics_hold_the_hashes_of_recipe_weights_and_predictions(run):
    assert set(read_metrics(run)["sha256"]) == {
        "recipe.json", "fold0/model.weights.h5", "fold1/model.weights.h5", "oof.parquet",
    }  # fmt: skip
    assert list(fold_weights(run)) == [0, 1]


@pytest.mark.parametrize(
    ("name", "reader"),
    [
        ("recipe.json", read_recipe),
        ("fold1/model.weights.h5", fold_weights),
        ("oof.parquet", read_oof),
    ],
)
def test_a_file_that_was_changed_or_removed_is_refused(copied, name, reader):
    path = copied / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with refused(path, "SHA-256"):
        reader(copied)
    path.unlink()
    with refused(path, "missing"):
        reader(copied)


def test_a_run_of_an_older_version_is_refused(copied):
    metrics = json.loads((copied / "metrics.json").read_text())
    for fold in (0, 1):
        (copied / f"fold{fold}" / "model.weights.h5").rename(copied / f"fold{fold}" / "model.keras")
        del metrics["sha256"][f"fold{fold}/model.weights.h5"]
    (copied / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(InputError, match=r"version 0.1 \(model.keras\); docs/models.md says how"):
        fold_weights(copied)


def test_training_again_repairs_a_run_killed_before_its_metrics(copied, store, tiny_recipe):
    from hbac_utils.training.trainer import train

    before, digest = (copied / "metrics.json").read_bytes(), run_digest(copied)
    oof = read_oof(copied)
    oof.iloc[::-1].to_parquet(copied / "oof.parquet")  # written, then killed
    with refused(copied / "oof.parquet", "SHA-256"):
        read_oof(copied)
    train(tiny_recipe, store, copied)
    assert (copied / "metrics.json").read_bytes() == before
    pd.testing.assert_frame_equal(read_oof(copied), oof)
    assert run_digest(copied) == digest
    # other weights give another digest
    shutil.copy(copied / "fold0" / "model.weights.h5", copied / "fold1" / "model.weights.h5")
    train(tiny_recipe, store, copied)
    assert run_digest(copied) != digest


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff\xfe"])
def test_damaged_metrics_are_refused(copied, content):
    (copied / "metrics.json").write_bytes(content)
    with refused(copied / "metrics.json", "(not JSON|damaged)"):
        read_metrics(copied)


def test_weights_of_another_network_and_damaged_ones_are_refused(copied, tiny_recipe):
    import h5py

    path = copied / "fold0" / "model.weights.h5"
    for change in ({"backbone.width": 9}, {"head": "hierarchical"}):
        with refused(path, "not weights of recipe tiny"):
            load_classifier(override(tiny_recipe, change), path)
    with h5py.File(path, "a") as file:
        file["layers/dense_7/vars/0"] = np.zeros((3, 3), np.float32)
    with refused(path, "parameters, the model has"):
        load_classifier(tiny_recipe, path)
    path.write_bytes(path.read_bytes()[:-1000])
    with refused(path, "not weights of recipe"):
        load_classifier(tiny_recipe, path)

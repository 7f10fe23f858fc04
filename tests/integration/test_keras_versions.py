"""Weights move between versions of Keras: trained here, used in Kaggle's image, and back.

Kaggle's version is installed beside this one's; without a network the tests are skipped.
"""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from hbac_utils.data.dataset import SHAPES
from hbac_utils.models.classifier import load_classifier
from hbac_utils.recipe import load_recipe, parse_recipe, save_recipe

pytestmark = pytest.mark.slow

OTHER = "3.13.2"  # of Kaggle's image

IMAGE = {"kind": "waveform", "rate": 40, "layout": "image", "resampling": "learned"}
SMALL = {"kind": "kaggle_spectrogram", "size": [32, 32]}
RECIPES = {
    "compact": {"view": {"kind": "waveform"}, "backbone": {"kind": "compact", "width": 4}},
    "derivations": {"view": {"kind": "waveform"}, "backbone": {"kind": "derivations", "width": 4}},
    "branches": {
        "view": IMAGE,
        "backbone": {"kind": "efficientnetv2", "variant": "b0"},
        "branches": [
            {"view": SMALL, "backbone": {"kind": "efficientnetv2", "variant": "b0"}},
            {"view": {"kind": "waveform"}, "backbone": {"kind": "compact", "width": 4}},
        ],
        "augment": {"translation": 0.1, "cutout": 0.2, "time_mask": 0.1},
        "head": "hierarchical",
        "dropout": 0.2,
    },
}

CHILD = """
import sys
from pathlib import Path
import keras
import numpy as np
from hbac_utils.models.classifier import build_classifier, compile_classifier, load_classifier
from hbac_utils.models.classifier import save_weights
from hbac_utils.recipe import load_recipe
task, folder, *names = sys.argv[1:]
assert keras.__version__ == "VERSION", keras.__version__
inputs = dict(np.load(Path(folder) / "inputs.npz"))
for name in names:
    recipe, path = load_recipe(Path(folder) / f"{name}.json"), Path(folder) / f"{name}.weights.h5"
    given = {key: inputs[key] for key in recipe.inputs}
    if task == "train":
        model = build_classifier(recipe)
        compile_classifier(model, keras.optimizers.Adam(1e-3))
        if name == "compact":
            model.fit(given, np.eye(6, dtype="float32")[:4], epochs=2, batch_size=2, verbose=0)
        random = np.random.default_rng(1)
        for weight in model.weights:  # as if trained; statistics of batches stay positive
            weight.assign(np.asarray(weight) * random.uniform(0.9, 1.1, weight.shape) + 1e-3)
        save_weights(model, path)
    else:
        model = load_classifier(recipe, path)
    np.save(Path(folder) / f"{name}-{task}.npy", model.predict_on_batch(given))
"""


@pytest.fixture(scope="module")
def other_keras(tmp_path_factory) -> Path:
    """A folder with the other version of Keras."""
    if keras.__version__ == OTHER:
        pytest.skip(f"keras {OTHER} is installed already")
    folder = tmp_path_factory.mktemp("keras")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder]
    done = subprocess.run([*command, f"keras=={OTHER}"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"keras {OTHER} cannot be installed: {done.stderr.splitlines()[-1:]}")
    return folder


def run_child(task: str, folder: Path, path: Path | None) -> None:
    version = keras.__version__ if path is None else OTHER
    environment = dict(os.environ)
    if path is not None:
        parts = [str(path), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(parts)
    script = CHILD.replace("VERSION", version)
    command = [sys.executable, "-c", script, task, str(folder), *RECIPES]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("direction", ["to the other version", "from the other version"])
def test_weights_predict_the_same_with_another_version_of_keras(other_keras, tmp_path, direction):
    random = np.random.default_rng(0)
    inputs = {name: random.normal(0, 3, (4, *shape)) for name, shape in SHAPES.items()}
    np.savez(tmp_path / "inputs.npz", **{k: v.astype(np.float16) for k, v in inputs.items()})
    for name, content in RECIPES.items():
        recipe = parse_recipe({"name": name, "stages": [{"epochs": 1}], **content})
        save_recipe(recipe, tmp_path / f"{name}.json")
    first, second = (None, other_keras) if direction.startswith("to") else (other_keras, None)
    run_child("train", tmp_path, first)
    run_child("predict", tmp_path, second)
    for name in RECIPES:
        trained, predicted = (np.load(tmp_path / f"{name}-{t}.npy") for t in ("train", "predict"))
        assert trained.std() > 1e-4
        np.testing.assert_array_equal(predicted, trained)


def test_paths_in_a_file_of_weights_are_class_names(tmp_path):
    """Renaming a layer with weights would make existing files unreadable."""
    import h5py

    from hbac_utils.models.classifier import build_classifier, save_weights

    content = RECIPES["branches"] | {"name": "branches", "stages": [{"epochs": 1}]}
    recipe = parse_recipe(content)
    save_weights(build_classifier(recipe), tmp_path / "model.weights.h5")
    with h5py.File(tmp_path / "model.weights.h5") as file:
        assert "optimizer" not in file
        names = set(file["layers"])
        assert "layers/polyphase_conv/vars/0" in file
        assert file["layers/dense/vars/0"].shape[1] == 5
    assert {"efficient_net_v2_backbone", "efficient_net_v2_backbone_1", "functional"} <= names
    save_recipe(recipe, tmp_path / "recipe.json")
    load_classifier(load_recipe(tmp_path / "recipe.json"), tmp_path / "model.weights.h5")

"""A backbone, a view and an augmentation are each added in one place."""

import subprocess
import sys
from typing import Literal

import numpy as np
import pytest

from hbac_utils import registry
from hbac_utils.data.dataset import SHAPES
from hbac_utils.models.classifier import augmented_views, build_classifier
from hbac_utils.recipe import Recipe, load_recipe, parse_recipe
from hbac_utils.utils.errors import InputError


@pytest.fixture
def _restored():
    """Remove what a test registers."""
    known = [dict(d) for d in (registry.VIEWS, registry.BACKBONES, registry.AUGMENTATIONS)]
    yield
    parts = (registry.VIEWS, registry.BACKBONES, registry.AUGMENTATIONS)
    for part, before in zip(parts, known, strict=True):
        part.clear()
        part.update(before)
    registry._rebuild()


@pytest.mark.usefixtures("_restored")
def test_a_new_backbone_view_and_augmentation_are_trained_by_their_names():
    @registry.register
    class LogRegression(registry.Backbone):
        """Dense layer on the mean image."""

        kind: Literal["dense"]
        units: int = 4

        def build(self, input_shape, pretrained=True):
            import keras

            layers = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(self.units)]
            return keras.Sequential([keras.Input(input_shape), *layers])

    @registry.register
    class Envelope(registry.View):
        """Absolute voltage, averaged over a second, as an image of electrodes × time."""

        kind: Literal["envelope"]
        channels = 19

        def build(self, name):
            import keras
            from keras import ops

            def envelope(eeg):
                seconds = ops.mean(ops.reshape(ops.abs(eeg), (-1, 50, 200, 19)), axis=2)
                return ops.expand_dims(ops.transpose(seconds, (0, 2, 1)), -1)

            return keras.layers.Lambda(envelope, name=name)

    @registry.register_augmentation("noise", on="signal", needs="eeg", limit=None)
    def noise(sigma, layer):
        import keras

        def apply(signals):
            shape = signals["eeg"].shape
            eeg = signals["eeg"] + keras.random.normal(shape, stddev=sigma, seed=layer.random)
            return {**signals, "eeg": eeg}

        return apply

    recipe = parse_recipe(
        {
            "name": "mine",
            "view": {"kind": "envelope"},
            "backbone": {"kind": "dense", "units": 5},
            "augment": {"noise": 100.0},
            "stages": [{"epochs": 1}],
        }
    )
    model = build_classifier(recipe)
    assert model.count_params() == (3 + 1) * 5 + (5 + 1) * 6
    eeg = np.zeros((2, *SHAPES["eeg"]), np.float16)
    assert model.predict_on_batch({"eeg": eeg}).shape == (2, 6)
    (image,) = augmented_views(recipe, {"eeg": eeg})
    assert image.shape == (2, 19, 50, 1)
    assert image.mean() == pytest.approx(100 * np.sqrt(2 / np.pi), rel=0.02)
    assert parse_recipe(recipe.model_dump(mode="json")) == recipe
    mel = {"kind": "mel_spectrogram", "bins": 4, "step": 2, "zoom_step": 1}
    three_channels = parse_recipe(recipe.model_dump(mode="json") | {"view": mel})
    assert build_classifier(three_channels).count_params() == model.count_params()
    with pytest.raises(InputError, match="unknown key backbone.dense.unit"):
        parse_recipe(recipe.model_dump(mode="json") | {"backbone": {"kind": "dense", "unit": 1}})


def test_what_a_test_has_registered_is_gone():
    kerascv, keras = ("efficientnetv2", "resnet50v2", "yolov8"), ("efficientnetv2", "convnext")
    known = {*kerascv, *(f"keras_{kind}" for kind in (*keras, "mobilenetv3"))}
    known |= {"compact", "derivations"}
    assert set(registry.BACKBONES) - {"tiny"} == known, "tiny is of tests/helpers/networks.py"
    with pytest.raises(InputError, match="'dense' found using 'kind' does not match"):
        parse_recipe(load_recipe("compact").model_dump() | {"backbone": {"kind": "dense"}})
    assert "noise" not in Recipe.model_validate(load_recipe("compact").model_dump()).augment


def test_a_recipe_is_validated_without_tensorflow():
    code = "import sys; from hbac_utils.recipe import load_recipe; load_recipe('multiview');"
    code += "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras', 'h5py')))"
    subprocess.run([sys.executable, "-c", code], check=True)

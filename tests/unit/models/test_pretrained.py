import keras
import numpy as np
import pytest
from networks import shallow_efficientnet

from hbac_utils.models import pretrained
from hbac_utils.parts import EfficientNetV2, ResNet50V2, YoloV8
from hbac_utils.recipe import load_recipe, override
from hbac_utils.utils.errors import InputError

SHAPE = (64, 75, 3)  # odd and even sides: strides pad them differently
B0 = {"kind": "efficientnetv2", "variant": "b0"}


@pytest.fixture(scope="module", autouse=True)
def _shallow():
    with shallow_efficientnet():
        yield


@pytest.fixture(scope="module")
def trained():
    """A B0 whose weights, those of the batch normalisation too, are not the initial ones."""
    model = EfficientNetV2(**B0).build(SHAPE)
    rng = np.random.default_rng(0)
    for variable in model.variables:
        value = variable.numpy()
        offset = 0.05 * rng.random(value.shape) if value.ndim == 1 else 0.0
        variable.assign(value * rng.uniform(0.8, 1.2, value.shape) + offset)
    return model


@pytest.fixture(scope="module")
def preset(trained, tmp_path_factory):
    """A folder as KerasCV saves its presets."""
    from keras_cv.src.utils.preset_utils import save_to_preset

    folder = tmp_path_factory.mktemp("weights") / "efficientnetv2_b0_imagenet"
    save_to_preset(trained, str(folder))
    return folder


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).random((2, *SHAPE)).astype("float32")


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No mounted inputs, no folder of weights, no network."""
    monkeypatch.setattr(pretrained, "KAGGLE_INPUT", tmp_path / "kaggle")
    monkeypatch.delenv(pretrained.VARIABLE, raising=False)

    def unreachable(handle, path):
        raise ConnectionError("no route to host")

    monkeypatch.setattr("kagglehub.model_download", unreachable)
    return tmp_path


@pytest.mark.parametrize("kernel_size", [3, 5, 7])
def test_every_kernel_size_starts_as_the_pretrained_network(trained, preset, images, kernel_size):
    section = EfficientNetV2(**B0, kernel_size=kernel_size, weights=str(preset))
    model = section.build(SHAPE)
    expected = trained(images, training=False).numpy()
    assert expected.std() > 1e-3
    np.testing.assert_allclose(model(images, training=False), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "section", [EfficientNetV2(**B0), ResNet50V2(kind="resnet50v2"), YoloV8(kind="yolov8")]
)
def test_handles_are_kerascvs(section):
    from keras_cv.models import EfficientNetV2Backbone, ResNetV2Backbone, YOLOV8Backbone

    classes = (EfficientNetV2Backbone, ResNetV2Backbone, YOLOV8Backbone)
    known = [preset["kaggle_handle"] for c in classes for preset in c.presets.values()]
    assert f"kaggle://{section.kaggle_handle}" in known


@pytest.mark.parametrize("section", [ResNet50V2(kind="resnet50v2"), YoloV8(kind="yolov8")])
def test_moving_statistics_follow_within_tens_of_steps(section):
    """KerasCV's momentum of 0.99 leaves 13 % of the initial statistics after 200 steps."""
    layers = section.build(SHAPE)._flatten_layers()
    norms = [n.momentum for n in layers if isinstance(n, keras.layers.BatchNormalization)]
    assert len(norms) > 40
    assert max(norms) <= 0.9


def test_mounted_weights_come_before_a_folder_and_the_network(nowhere, monkeypatch):
    section = EfficientNetV2(**B0, weights="imagenet")
    handle = section.kaggle_handle
    with pytest.raises(InputError, match="weights to none") as error:
        section.build(SHAPE)
    assert f'"model_sources": ["{handle}"]' in str(error.value)
    monkeypatch.setattr("kagglehub.model_download", lambda *asked: "/".join(asked))
    assert str(pretrained.find_weights(section)) == f"{handle}/{pretrained.FILE}"
    own = nowhere / "own" / "efficientnetv2_b0_imagenet" / pretrained.FILE
    mounted = nowhere / "kaggle" / "models" / handle / pretrained.FILE
    for path, variable in ((own, str(nowhere / "own")), (mounted, str(nowhere / "own"))):
        monkeypatch.setenv(pretrained.VARIABLE, variable)
        path.parent.mkdir(parents=True)
        path.touch()
        assert pretrained.find_weights(section) == path


@pytest.mark.parametrize(
    ("section", "reason"),
    [
        ({"weights": "."}, r"holds no model\.weights\.h5"),
        ({"variant": "b1", "weights": "PRESET"}, "not weights of efficientnetv2"),
    ],
)
def test_wrong_weights_are_refused(section, reason, preset):
    weights = section["weights"].replace("PRESET", str(preset))
    with pytest.raises(InputError, match=reason):
        EfficientNetV2(**B0 | section | {"weights": weights}).build(SHAPE)


def test_a_recipe_is_asked_for_all_its_weights_at_once(preset, nowhere):
    branches = {f"branches.{i}.backbone": B0 for i in (0, 1)}
    recipe = override(load_recipe("multiview", reduced=True), branches)
    pretrained.check_weights(recipe)
    pretrained.check_weights(load_recipe("compact"))
    pretrained.check_weights(override(recipe, {"branches.1.backbone.weights": str(preset)}))
    with pytest.raises(InputError, match="keras/efficientnetv2/keras/efficientnetv2_b0_imagenet/2"):
        pretrained.check_weights(override(recipe, {"branches.1.backbone.weights": "imagenet"}))


@pytest.mark.parametrize("name", ["efficientnetv2b2", "resnet50v2", "yolov8"])
def test_the_published_recipes_start_from_pretrained_weights(name, nowhere):
    recipe = load_recipe(f"paper-{name}")
    assert recipe.backbone.weights == "imagenet"
    with pytest.raises(InputError, match="attach the model to the Kaggle notebook"):
        pretrained.check_weights(recipe)

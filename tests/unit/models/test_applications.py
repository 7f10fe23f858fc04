"""Backbones of keras.applications: input scaling, drop-path, and where weights are found."""

import hashlib
import sys

import h5py
import keras
import numpy as np
import pytest
from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

from hbac_utils.data.dataset import SHAPES
from hbac_utils.models import applications
from hbac_utils.models.classifier import build_classifier, load_classifier, save_weights
from hbac_utils.models.pretrained import check_weights
from hbac_utils.parts import KerasConvNeXt, KerasEfficientNetV2, KerasMobileNetV3
from hbac_utils.recipe import load_recipe, override, parse_recipe
from hbac_utils.utils.errors import InputError

SHAPE = (64, 32, 3)
B0 = KerasEfficientNetV2(kind="keras_efficientnetv2", variant="b0")
S = KerasEfficientNetV2(kind="keras_efficientnetv2", variant="s")
TINY = KerasConvNeXt(kind="keras_convnext", variant="tiny")
MOBILE = KerasMobileNetV3(kind="keras_mobilenetv3")
# of ImageNet, red, green and blue
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def standard_image():
    """Return an image of mean 0 and standard deviation 1 in three equal channels."""
    image = np.random.default_rng(0).normal(size=(1, *SHAPE[:2], 1))
    image = (image - image.mean()) / image.std()
    return np.repeat(image, 3, axis=-1).astype("float32")


@pytest.mark.parametrize(
    ("section", "mean", "std"),
    [
        (B0, 0.0, 1.0),
        (TINY, 0.0, 1.0),
        pytest.param(S, 255 * MEAN / 128 - 1, 255 * STD / 128, marks=pytest.mark.slow),
        (MOBILE, 255 * MEAN / 127.5 - 1, 255 * STD / 127.5),
    ],
    ids=["efficientnetv2-b", "convnext", "efficientnetv2-s", "mobilenetv3"],
)
def test_the_first_convolution_sees_the_mean_and_spread_of_imagenet(section, mean, std):
    model = section.build(SHAPE)
    kinds = (keras.layers.Conv2D, keras.Sequential)  # ConvNeXt's is in a block
    first = next(layer for layer in model.layers if isinstance(layer, kinds))
    seen = keras.Model(model.inputs, first.input).predict(standard_image(), verbose=0)
    np.testing.assert_allclose(seen.mean(axis=(0, 1, 2)), np.broadcast_to(mean, 3), atol=1e-5)
    np.testing.assert_allclose(seen.std(axis=(0, 1, 2)), np.broadcast_to(std, 3), atol=1e-5)


def test_drop_path_rises_linearly_with_depth():
    model = B0.model_copy(update={"drop_path": 0.42}).build(SHAPE)
    rates = {layer.name: layer.rate for layer in model.layers if hasattr(layer, "rate")}
    repeats = [1, 2, 2, 3, 5, 8]  # 21 blocks; the first of a stage has no shortcut
    numbers = {
        f"block{stage + 1}{chr(97 + i)}_drop": sum(repeats[:stage]) + i
        for stage, count in enumerate(repeats)
        for i in range(1, count)
    }
    assert rates == pytest.approx({name: 0.42 * n / 21 for name, n in numbers.items()})
    model = TINY.model_copy(update={"drop_path": 0.17}).build(SHAPE)
    drops = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    assert [layer.rate for layer in drops] == pytest.approx([0.01 * n for n in range(1, 18)])
    assert {layer.noise_shape for layer in drops} == {(None, 1, 1, 1)}
    assert sum("seed" in variable.path for variable in model.variables) == 17  # saved to resume
    assert not any(isinstance(layer, keras.layers.Dropout) for layer in TINY.build(SHAPE).layers)


@pytest.mark.parametrize(
    "section",
    [
        MOBILE,
        pytest.param(TINY.model_copy(update={"drop_path": 0.1}), marks=pytest.mark.slow),
        pytest.param(B0, marks=pytest.mark.slow),
        pytest.param(S, marks=pytest.mark.slow),
    ],
    ids=lambda section: section.kind,
)
def test_weights_of_keras_give_keras_features(section, tmp_path, monkeypatch):
    path = tmp_path / "any" / section.file
    network = keras_file(section, path, monkeypatch)
    monkeypatch.setenv(applications.VARIABLE, str(tmp_path))
    model = section.model_copy(update={"weights": "imagenet"}).build(SHAPE)
    features = model(standard_image(), training=False)
    # independently: the network with Keras' own preprocessing, on pixels 0…255
    pixels = (255 * (MEAN + STD * standard_image())).astype("float32")
    expected = np.asarray(network(pixels, training=False), np.float64)
    assert 1e-3 < expected.std() < np.inf
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-2 * expected.std())


def randomise(network, pixels):
    """Change all initial weights; normalise as after training, or the signal would fade out."""
    rng = np.random.default_rng(1)
    network.set_weights([w * rng.uniform(0.8, 1.2, w.shape) for w in network.get_weights()])
    norms = [n for n in network.layers if isinstance(n, keras.layers.BatchNormalization)]
    for layer in norms:
        layer.momentum = 0.0
    network(pixels.astype("float32"), training=True)
    for layer in norms:  # nothing is subtracted: rounding errors would grow with every layer
        layer.moving_variance.assign_add(layer.moving_mean**2)
        layer.moving_mean.assign(0 * layer.moving_mean)


def keras_file(section, path, monkeypatch):
    """Write a file of weights as Keras' own are, with random values and a known checksum."""
    keras.utils.set_random_seed(0)
    make = getattr(keras.applications, section.function)
    network = make(include_top=False, weights=None, input_shape=SHAPE)
    randomise(network, 255 * (MEAN + STD * standard_image()))
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, network)
    source = sys.modules[getattr(keras.applications, section.function).__module__]
    (key,) = [key for key in source.WEIGHTS_HASHES if key in section.file]
    algorithm = "sha256" if "convnext" in key else "md5"
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, algorithm).hexdigest()
    monkeypatch.setitem(source.WEIGHTS_HASHES, key, ("", checksum))
    return network


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No mounted inputs, no folder of weights, nothing downloaded, no network."""
    monkeypatch.setattr(applications, "KAGGLE_INPUT", tmp_path / "kaggle")
    monkeypatch.delenv(applications.VARIABLE, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for section, name in ((B0, "BASE_WEIGHTS_PATH"), (MOBILE, "BASE_WEIGHT_PATH")):
        source = sys.modules[getattr(keras.applications, section.function).__module__]
        monkeypatch.setattr(source, name, f"file://{tmp_path}/server/")
    return tmp_path


def test_a_folder_comes_before_mounted_inputs_and_the_download(nowhere, monkeypatch):
    section = MOBILE.model_copy(update={"weights": "imagenet"})
    served = nowhere / "server" / section.file
    keras_file(section, served, monkeypatch)
    assert applications.find_weights(section) == nowhere / ".keras" / "models" / section.file
    served.unlink()  # what is downloaded stays
    mounted = nowhere / "kaggle" / "datasets" / "somebody" / "weights" / "keras" / section.file
    own = nowhere / "own" / section.file
    data = (nowhere / ".keras" / "models" / section.file).read_bytes()
    for path, variable in ((mounted, ""), (own, "own"), (own, f"own/{section.file}")):
        monkeypatch.setenv(applications.VARIABLE, str(nowhere / variable) if variable else "")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        assert applications.find_weights(section) == path
    own.write_bytes(data[:-1])
    assert applications.find_weights(section) == mounted
    mounted.unlink()
    with pytest.raises(InputError, match=f"own/{section.file}: not Keras' file"):
        applications.find_weights(section)


def recipe(**backbone):
    """Return a recipe with two equal branches of 32 × 32 images."""
    view = {"kind": "eeg_spectrogram", "bins": 8, "frames": 32}
    branch = {"view": view, "backbone": {"kind": "keras_mobilenetv3"} | backbone}
    return parse_recipe({"name": "two", "branches": [branch], "stages": [{"epochs": 1}]} | branch)


@pytest.mark.usefixtures("nowhere")
def test_missing_weights_are_one_line_before_packing(tmp_path):
    check_weights(recipe())
    with pytest.raises(InputError, match=r"float_no_top_v2\.h5 .*attach a data set that holds"):
        check_weights(recipe(weights="imagenet"))
    for name, variant in (("vipeegnet", "b3"), ("eeg-spectrogram", "b0"), ("multiview", "b0")):
        missing = rf"no efficientnetv2-{variant}_notop\.h5 .*attach a data set .* or switch its int"
        with pytest.raises(InputError, match=missing) as error:
            check_weights(load_recipe(name))
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=r"mine\.h5: no such file"):
        check_weights(recipe(weights=str(tmp_path / "mine.h5")))
    (tmp_path / "mine.h5").write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"mine\.h5: not weights of keras_mobilenetv3 small"):
        build_classifier(recipe(weights=str(tmp_path / "mine.h5")))


@pytest.mark.parametrize(
    ("kind", "variants"),
    [
        (KerasEfficientNetV2, ("b0", "b1", "b2", "b3", "s")),
        (KerasConvNeXt, ("tiny", "small", "base")),
        (KerasMobileNetV3, ("small",)),
    ],
)
def test_keras_has_a_file_of_every_variant(kind, variants):
    (name,) = kind.model_fields["kind"].annotation.__args__
    assert kind.model_fields["variant"].annotation.__args__ == variants
    for variant in variants:
        section = kind(kind=name, variant=variant)
        source = sys.modules[getattr(keras.applications, section.function).__module__]
        assert len([key for key in source.WEIGHTS_HASHES if key in section.file]) == 1


def test_a_run_is_rebuilt_without_the_pretrained_weights(tmp_path):
    model = build_classifier(recipe())
    save_weights(model, tmp_path / "model.weights.h5")
    keras.utils.set_random_seed(99)
    loaded = load_classifier(recipe(weights="imagenet"), tmp_path / "model.weights.h5")
    inputs = {"eeg": np.random.default_rng(0).normal(0, 30, (2, *SHAPES["eeg"])).astype("float16")}
    expected = model(inputs, training=False)
    np.testing.assert_allclose(loaded(inputs, training=False), expected, atol=1e-6)
    norms = [
        layer.momentum
        for part in model.layers
        for layer in getattr(part, "layers", ())
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert len(norms) > 60
    assert max(norms) <= 0.9


def test_vipeegnet_is_the_network_put_together_by_hand():
    recipe = load_recipe("vipeegnet")
    assert recipe.backbone.function == "EfficientNetV2B3"
    # smaller: B0; 40 instead of 200 Hz: 2 instead of 10 phases, 32 instead of 160 rows
    changes = {"backbone.weights": "none", "backbone.variant": "b0", "view.rate": 40}
    recipe = override(recipe, changes)
    model = build_classifier(recipe)
    backbone = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    resampling, head = model.get_layer("resampling"), model.get_layer("probabilities")
    assert backbone.count_params() == 5_919_312
    assert model.count_params() == 5_919_312 + 3 * 2**2 + 6 * (1280 + 1)
    rng = np.random.default_rng(0)
    kernel = rng.dirichlet(np.ones(2), (2, 3)).transpose(2, 0, 1)  # sums over the phases are one
    resampling.kernel.assign(kernel)
    eeg = rng.normal(0, 200, (2, *SHAPES["eeg"])).astype(np.float16)
    image = np.asarray(recipe.view.build("view")(eeg.astype(np.float32)))
    phases = image.reshape(2, 16, 2, 1000)
    mixed = np.einsum("bdpt,pqc->bdqtc", phases, kernel).reshape(2, 32, 1000, 3)
    pixels = 255 * (mixed + 1) / 2  # ±1,024 µV are black and white
    network = keras.applications.EfficientNetV2B0(
        include_top=False, weights=None, input_shape=(32, 1000, 3)
    )
    randomise(network, pixels)
    backbone.set_weights(network.get_weights())
    features = np.asarray(network(pixels.astype("float32"), training=False))
    assert features.shape == (2, 1, 32, 1280)
    pooled = features[:, :, 15:17].mean(axis=(1, 2))
    head.kernel.assign(head.kernel / pooled.std())  # the features of an untrained network are large
    logits = pooled @ head.kernel.numpy() + head.bias.numpy()
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    predicted = np.asarray(model({"eeg": eeg}, training=False))
    assert np.abs(predicted[0] - predicted[1]).max() > 1e-3
    np.testing.assert_allclose(predicted, expected, rtol=1e-3, atol=1e-4)

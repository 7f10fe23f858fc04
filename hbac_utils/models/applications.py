"""Backbones of keras.applications for images, with or without ImageNet weights."""

import hashlib
import os
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np

from hbac_utils.data.layout import KAGGLE_INPUT
from hbac_utils.parts import KerasApplication
from hbac_utils.utils.backend import keras
from hbac_utils.utils.errors import InputError, one_line

VARIABLE = "HBAC_WEIGHTS"  # of the environment: a folder with weights, or a file

# of ImageNet's pixels 0…1, red, green and blue
MEAN = np.array([0.485, 0.456, 0.406])
SPREAD = np.array([0.229, 0.224, 0.225])
# families trained on pixels 0…1 times a factor, plus an offset; the others were trained on
# standardised pixels (Keras has both as `include_preprocessing`)
PIXELS = {"EfficientNetV2S": (255 / 128, -1.0), "MobileNetV3Small": (2.0, -1.0)}

OWN_DROP_PATH = 0.2  # of Keras' EfficientNetV2
MOMENTUM = 0.9  # of batch normalisation, at most: small data makes few steps


def build(backbone: KerasApplication, input_shape: tuple, pretrained: bool = True) -> keras.Model:
    """Build a backbone with the pretrained weights that its section asks for.

    From images of mean 0 and unit spread, (batch, height, width, 3), to the feature map before
    pooling. The first convolution sees what it saw of ImageNet, in mean and spread.
    """
    weights = find_weights(backbone) if pretrained else None
    x = keras.Input(input_shape)
    # with random weights too: a trained run is rebuilt without the pretrained ones
    if backbone.function in PIXELS:
        factor, offset = PIXELS[backbone.function]
        scale, offset = (factor * SPREAD).tolist(), (factor * MEAN + offset).tolist()
        x = keras.layers.Rescaling(scale, offset, dtype="float32")(x)
    make = getattr(keras.applications, backbone.function)
    network = make(
        include_top=False,
        include_preprocessing=False,
        weights=None,
        input_tensor=x,
        input_shape=input_shape,
    )
    model = _with_drop_path(network, getattr(backbone, "drop_path", 0.0))
    limit_momentum(model)
    if weights:
        load_weights(model, weights, f"{backbone.kind} {backbone.variant}")
    # under a name of its own, because two branches may have the same backbone
    return keras.Model(model.inputs[0], model.outputs[0])


def load_weights(model: keras.Model, path: Path, name: str) -> None:
    """Load a backbone's weights; InputError if they are not those of ``name``."""
    try:
        model.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        raise InputError(f"{path}: not weights of {name} ({one_line(error)})") from None


def limit_momentum(network: keras.Model) -> None:
    """Make batch normalisation's moving statistics follow within tens of training steps.

    With Keras' momentum of 0.99 they are those of the initial weights for hundreds of steps, and a
    network that fits its training batches predicts nonsense.
    """
    for layer in network._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = min(layer.momentum, MOMENTUM)


def _with_drop_path(network: keras.Model, rate: float) -> keras.Model:
    """Set the probability of skipping a block, which rises linearly with depth to ``rate``.

    Stochastic depth, Huang et al. 2016, arXiv:1603.09382.
    """
    for layer in network.layers:  # EfficientNetV2
        if layer.name.endswith("_drop"):
            layer.rate *= rate / OWN_DROP_PATH
    # ConvNeXt: Keras' layer has a random generator that would not be saved with the model
    ends = [layer.name for layer in network.layers if layer.name.endswith("_identity")]
    if not (ends and rate):
        return network
    rates = dict(zip(ends, np.linspace(0, rate, len(ends)).tolist(), strict=True))

    def replace(layer):
        if rates.get(layer.name):
            drop = {"noise_shape": (None, 1, 1, 1), "name": layer.name}
            return keras.layers.Dropout(rates[layer.name], **drop)
        return layer

    return keras.models.clone_model(network, clone_function=replace)


def find_weights(backbone: KerasApplication) -> Path | None:
    """Find the file of pretrained weights that a recipe asks for, or download it.

    ``imagenet`` is Keras' own file, whose checksum is verified. Returns None for ``weights: none``.
    Raises InputError if there is no such file, or it is damaged.
    """
    if backbone.weights == "none":
        return None
    if backbone.weights != "imagenet":
        path = Path(backbone.weights)
        if not path.is_file():
            raise InputError(
                f"backbone.weights: {path}: no such file; name a file of weights of "
                f"keras.applications.{backbone.function}, imagenet, or none"
            )
        return path
    name = backbone.file
    source = sys.modules[getattr(keras.applications, backbone.function).__module__]
    (checksum,) = [own for key, (_, own) in source.WEIGHTS_HASHES.items() if key in name]
    places = [Path(own) for own in [os.environ.get(VARIABLE)] if own]
    found = [place for place in places if place.is_file()]
    for place in (*places, KAGGLE_INPUT):
        walk = os.walk(place, followlinks=True)
        found += sorted(Path(path, name) for path, _, files in walk if name in files)
    for path in found:
        with path.open("rb") as file:
            algorithm = "sha256" if len(checksum) == 64 else "md5"
            if hashlib.file_digest(file, algorithm).hexdigest() == checksum:
                return path
    if found:
        raise InputError(
            f"backbone.weights: {found[0]}: not Keras' file {name}, whose checksum is {checksum}; "
            "copy or attach it again"
        )
    address = getattr(source, "BASE_WEIGHTS_PATH", None) or source.BASE_WEIGHT_PATH
    cache = Path.home() / ".keras"
    try:
        with suppress(OSError):  # Keras takes another folder then
            cache.mkdir(exist_ok=True)
        options = {"cache_subdir": "models", "cache_dir": str(cache), "file_hash": checksum}
        return Path(keras.utils.get_file(name, address + name, **options))
    except Exception as error:  # the remedy is the same for all of them
        raise InputError(
            f"backbone.weights: no {name} ({one_line(error)[:120]}); attach a data set that holds "
            f"this file to the Kaggle notebook, or switch its internet on, or put the file, which "
            f"keras.applications.{backbone.function}(include_top=False) downloads to "
            f"~/.keras/models, under a folder that ${VARIABLE} names, or set backbone.weights to "
            "none"
        ) from None

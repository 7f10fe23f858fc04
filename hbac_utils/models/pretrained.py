"""KerasCV's backbones for images, with or without pretrained weights.

KerasCV is no longer developed, so no other module uses it. Its presets and alias classes access
the network even without weights; its explicit constructors do not.
"""

import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from hbac_utils.data.layout import KAGGLE_INPUT
from hbac_utils.models import applications
from hbac_utils.models.applications import VARIABLE
from hbac_utils.parts import EfficientNetV2, KerasApplication, Pretrained
from hbac_utils.recipe import Recipe
from hbac_utils.utils.backend import keras
from hbac_utils.utils.errors import InputError, one_line

# name in KerasCV, and the arguments that its preset stands for
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "efficientnetv2": (
        "EfficientNetV2Backbone",
        {
            "stackwise_num_repeats": [1, 2, 2, 3, 5, 8],
            "stackwise_input_filters": [32, 16, 32, 48, 96, 112],
            "stackwise_output_filters": [16, 32, 48, 96, 112, 192],
            "stackwise_expansion_ratios": [1, 4, 4, 4, 6, 6],
            "stackwise_squeeze_and_excite_ratios": [0, 0, 0, 0.25, 0.25, 0.25],
            "stackwise_strides": [1, 2, 2, 2, 1, 2],
            "stackwise_conv_types": ["fused"] * 3 + ["unfused"] * 3,
        },
    ),
    "resnet50v2": (
        "ResNetV2Backbone",
        {
            "stackwise_filters": [64, 128, 256, 512],
            "stackwise_blocks": [3, 4, 6, 3],
            "stackwise_strides": [1, 2, 2, 2],
        },
    ),
    "yolov8": (
        "YOLOV8Backbone",
        {"stackwise_channels": [128, 256, 512, 512], "stackwise_depth": [3, 6, 6, 3]},
    ),
}
# Tan and Le (2021), arXiv:2104.00298: width and depth of B0–B2
EFFICIENTNETV2_SCALING = {"b0": (1.0, 1.0), "b1": (1.0, 1.1), "b2": (1.1, 1.2)}


def build(backbone: Pretrained, input_shape: tuple, pretrained: bool = True) -> keras.Model:
    """Build a backbone with the pretrained weights that its section asks for."""
    weights = find_weights(backbone) if pretrained else None
    model = _network(backbone, input_shape)
    if weights:
        given = model
        if isinstance(backbone, EfficientNetV2) and backbone.kernel_size > 3:
            given = _network(backbone.model_copy(update={"kernel_size": 3}), input_shape)
        applications.load_weights(given, weights, backbone.kind)
        # a 3×3 kernel becomes the centre of a larger one with a border of zeros, so that the larger
        # network starts as the same function
        for own, had in zip(model.variables, given.variables, strict=True):
            margin = [(m - n) // 2 for m, n in zip(own.shape, had.shape, strict=True)]
            own.assign(np.pad(had.numpy(), [(m, m) for m in margin]))
    return model


def _keras_cv() -> ModuleType:
    if sys.flags.optimize > 1:
        raise InputError("KerasCV does not work without docstrings: unset PYTHONOPTIMIZE (-OO)")
    import keras_cv

    return keras_cv


def _network(backbone: Pretrained, input_shape: tuple) -> keras.Model:
    name, arguments = NETWORKS[backbone.kind]
    if isinstance(backbone, EfficientNetV2):
        width, depth = EFFICIENTNETV2_SCALING[backbone.variant]
        arguments = arguments | {
            "width_coefficient": width,
            "depth_coefficient": depth,
            "stackwise_kernel_sizes": [backbone.kernel_size] * 6,
        }
    make = getattr(_keras_cv().models, name)
    network = make(include_rescaling=False, input_shape=input_shape, **arguments)
    applications.limit_momentum(network)
    return network


FILE = "model.weights.h5"  # in every preset of KerasCV


def find_weights(backbone: Pretrained) -> Path | None:
    """Find the file of pretrained weights that a recipe asks for, or download it.

    Returns None for ``weights: none``. Raises InputError if there is no such file.
    """
    if backbone.weights == "none":
        return None
    if backbone.weights != "imagenet":
        path = Path(backbone.weights) / FILE
        if not path.is_file():
            raise InputError(
                f"backbone.weights: {path.parent} holds no {FILE}; name the folder of a KerasCV "
                "preset, imagenet, or none"
            )
        return path
    handle = backbone.kaggle_handle
    folders = [KAGGLE_INPUT / "models" / handle, KAGGLE_INPUT / handle.removeprefix("keras/")]
    if own := os.environ.get(VARIABLE):
        folders += [Path(own, handle), Path(own, handle.split("/")[3]), Path(own)]
    for folder in folders:
        if (folder / FILE).is_file():
            return folder / FILE
    try:
        import kagglehub

        return Path(kagglehub.model_download(handle, FILE))
    except Exception as error:  # the remedy is the same for all of them
        raise InputError(
            f"backbone.weights: no pretrained weights for {handle} ({one_line(error)[:120]}); "
            f'attach the model to the Kaggle notebook ("model_sources": ["{handle}"]), or put its '
            f"{FILE} under a folder that ${VARIABLE} names, or set backbone.weights to none"
        ) from None


def check_weights(recipe: Recipe) -> None:
    """Find all pretrained weights of a recipe, before hours are spent on packing its data."""
    for branch in recipe.all_branches:
        if isinstance(branch.backbone, Pretrained):
            _keras_cv()
            find_weights(branch.backbone)
        elif isinstance(branch.backbone, KerasApplication):
            applications.find_weights(branch.backbone)

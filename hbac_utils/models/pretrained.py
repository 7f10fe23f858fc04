"""KerasCV's backbones for images, with or without pretrained weights.

KerasCV is no longer developed, so no other module uses it. Its presets and alias classes access
the network even without weights; its explicit constructors do not.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hbac_utils.data.layout import KAGGLE_INPUT
from hbac_utils.recipe import Recipe
from hbac_utils.registry import EfficientNetV2, Pretrained, ResNet50V2, YoloV8
from hbac_utils.utils.backend import keras
from hbac_utils.utils.errors import InputError, one_line

# Tan and Le (2021), arXiv:2104.00298: width and depth of B0–B3
EFFICIENTNETV2_SCALING = {"b0": (1.0, 1.0), "b1": (1.0, 1.1), "b2": (1.1, 1.2), "b3": (1.2, 1.4)}


def _efficientnetv2(backbone: EfficientNetV2, input_shape) -> keras.Model:
    from keras_cv.models import EfficientNetV2Backbone

    width, depth = EFFICIENTNETV2_SCALING[backbone.variant]
    return EfficientNetV2Backbone(
        include_rescaling=False,
        width_coefficient=width,
        depth_coefficient=depth,
        stackwise_kernel_sizes=[backbone.kernel_size] * 6,
        stackwise_num_repeats=[1, 2, 2, 3, 5, 8],
        stackwise_input_filters=[32, 16, 32, 48, 96, 112],
        stackwise_output_filters=[16, 32, 48, 96, 112, 192],
        stackwise_expansion_ratios=[1, 4, 4, 4, 6, 6],
        stackwise_squeeze_and_excite_ratios=[0, 0, 0, 0.25, 0.25, 0.25],
        stackwise_strides=[1, 2, 2, 2, 1, 2],
        stackwise_conv_types=["fused"] * 3 + ["unfused"] * 3,
        input_shape=input_shape,
    )


def _resnet50v2(backbone: ResNet50V2, input_shape) -> keras.Model:
    from keras_cv.models import ResNetV2Backbone

    return ResNetV2Backbone(
        include_rescaling=False,
        stackwise_filters=[64, 128, 256, 512],
        stackwise_blocks=[3, 4, 6, 3],
        stackwise_strides=[1, 2, 2, 2],
        input_shape=input_shape,
    )


def _yolov8(backbone: YoloV8, input_shape) -> keras.Model:
    from keras_cv.models import YOLOV8Backbone

    return YOLOV8Backbone(
        include_rescaling=False,
        stackwise_channels=[128, 256, 512, 512],
        stackwise_depth=[3, 6, 6, 3],
        input_shape=input_shape,
    )


BUILDERS: dict[str, Callable[..., keras.Model]] = {
    "efficientnetv2": _efficientnetv2,
    "resnet50v2": _resnet50v2,
    "yolov8": _yolov8,
}


def build(backbone: Pretrained, input_shape: tuple, pretrained: bool = True) -> keras.Model:
    """Build a backbone with the pretrained weights that its section asks for."""
    make = BUILDERS[backbone.kind]
    weights = find_weights(backbone) if pretrained else None
    model = make(backbone, input_shape)
    if weights:
        of_preset = {"kernel_size": 3} if backbone.kind == "efficientnetv2" else {}
        given = make(backbone.model_copy(update=of_preset), input_shape)
        try:
            given.load_weights(weights)
        except (ValueError, OSError, KeyError) as error:
            raise InputError(
                f"{weights}: not weights of {backbone.kind} ({one_line(error)})"
            ) from None
        take_weights(model, given)
    return model


VARIABLE = "HBAC_WEIGHTS"  # of the environment: a folder with presets
FILE = "model.weights.h5"  # in every preset of KerasCV


def kaggle_handle(backbone: Pretrained) -> str:
    """Name of the pretrained model on Kaggle, as in ``model_sources``."""
    if isinstance(backbone, EfficientNetV2):
        if backbone.variant == "b3":
            raise InputError(
                "backbone.weights: KerasCV has ImageNet weights for efficientnetv2 b0, b1 and b2, "
                "not for b3; choose one of them, or weights: none"
            )
        return f"keras/efficientnetv2/keras/efficientnetv2_{backbone.variant}_imagenet/2"
    if backbone.kind == "resnet50v2":
        return "keras/resnetv2/keras/resnet50_v2_imagenet/2"
    return "keras/yolov8/keras/yolo_v8_l_backbone_coco/2"


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
    handle = kaggle_handle(backbone)
    found = [folder / FILE for folder in _candidates(handle) if (folder / FILE).is_file()]
    return found[0] if found else _download(handle)


def check_weights(recipe: Recipe) -> None:
    """Find all pretrained weights of a recipe, before hours are spent on packing its data."""
    for branch in recipe.all_branches:
        if isinstance(branch.backbone, Pretrained):
            find_weights(branch.backbone)


def _candidates(handle: str) -> list[Path]:
    _, model, framework, variation, version = handle.split("/")
    mounted = [
        KAGGLE_INPUT / "models" / handle,
        KAGGLE_INPUT / model / framework / variation / version,
    ]
    own = os.environ.get(VARIABLE)
    return mounted + ([Path(own) / handle, Path(own) / variation, Path(own)] if own else [])


def _download(handle: str) -> Path:
    try:
        import kagglehub

        return Path(kagglehub.model_download(handle, FILE))
    except Exception as error:  # the remedy is the same for all of them
        raise InputError(
            f"backbone.weights: no pretrained weights for {handle} ({one_line(error)[:120]}); "
            f'attach the model to the Kaggle notebook ("model_sources": ["{handle}"]), or put its '
            f"{FILE} under a folder that ${VARIABLE} names, or set backbone.weights to none"
        ) from None


def take_weights(model: keras.Model, pretrained: keras.Model) -> None:
    """Copy pretrained weights to a backbone with the same or larger kernels.

    A 3×3 kernel becomes the centre of a 5×5 or 7×7 one with a border of zeros, so the larger
    network starts as the same function.
    """
    for own, given in zip(model.variables, pretrained.variables, strict=True):
        margin = [(wanted - had) // 2 for wanted, had in zip(own.shape, given.shape, strict=True)]
        own.assign(np.pad(given.numpy(), [(m, m) for m in margin]))

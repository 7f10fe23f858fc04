"""Backbones: from an image or a series to features.

KerasCV is frozen upstream, so it is used here alone. Its presets and alias classes go to
the network even for a bare architecture; its explicit constructors do not.
"""

import os
from pathlib import Path

import numpy as np

from hbac_utils.data.layout import KAGGLE_INPUT
from hbac_utils.models.compact import build_compact
from hbac_utils.recipe import Compact, EfficientNetV2, Recipe, ResNet50V2, YoloV8
from hbac_utils.utils.backend import keras
from hbac_utils.utils.errors import InputError

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


def _compact(backbone: Compact, input_shape) -> keras.Model:
    return build_compact(input_shape[0], backbone.width)


BUILDERS = {
    EfficientNetV2: _efficientnetv2,
    ResNet50V2: _resnet50v2,
    YoloV8: _yolov8,
    Compact: _compact,
}


def build_backbone(
    backbone: EfficientNetV2 | ResNet50V2 | YoloV8 | Compact,
    input_shape: tuple,
    pretrained: bool = True,
) -> keras.Model:
    """Build the network that a recipe's ``backbone`` describes, with its pretrained weights.

    Parameters
    ----------
    backbone : section of a recipe
    input_shape : tuple
        Without the batch: (height, width, 3) for the image backbones, (time, 18) for compact.
    pretrained : bool
        Start from ``backbone.weights``; False where trained weights are loaded next.

    Returns
    -------
    keras.Model
        To a feature map (batch, height, width, channels), or, compact, (batch, features).

    Raises
    ------
    InputError
        If the weights that the recipe asks for are nowhere, or are of another network.
    """
    build = BUILDERS[type(backbone)]
    weights = find_weights(backbone) if pretrained and backbone.kind != "compact" else None
    model = build(backbone, input_shape)
    if weights:
        of_preset = {"kernel_size": 3} if backbone.kind == "efficientnetv2" else {}
        given = build(backbone.model_copy(update=of_preset), input_shape)
        try:
            given.load_weights(weights)
        except (ValueError, OSError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(f"{weights}: not weights of {backbone.kind} ({reason})") from None
        take_weights(model, given)
    return model


VARIABLE = "HBAC_WEIGHTS"
FILE = "model.weights.h5"  # in every preset of KerasCV

PretrainedBackbone = EfficientNetV2 | ResNet50V2 | YoloV8


def kaggle_handle(backbone: PretrainedBackbone) -> str:
    """Name the model to attach to a Kaggle notebook, as ``model_sources`` wants it.

    Raises
    ------
    InputError
        If KerasCV has no pretrained weights for it.
    """
    if backbone.kind == "efficientnetv2":
        if backbone.variant == "b3":
            raise InputError(
                "backbone.weights: KerasCV has ImageNet weights for efficientnetv2 b0, b1 and b2, "
                "not for b3; choose one of them, or weights: none"
            )
        return f"keras/efficientnetv2/keras/efficientnetv2_{backbone.variant}_imagenet/2"
    if backbone.kind == "resnet50v2":
        return "keras/resnetv2/keras/resnet50_v2_imagenet/2"
    return "keras/yolov8/keras/yolo_v8_l_backbone_coco/2"


def find_weights(backbone: PretrainedBackbone) -> Path | None:
    """Find the file that a recipe's ``backbone.weights`` asks for.

    Parameters
    ----------
    backbone : section of a recipe

    Returns
    -------
    Path or None
        None for ``none``.

    Raises
    ------
    InputError
        If it is nowhere: the message says what to attach, and how to run without.
    """
    if backbone.weights == "none":
        return None
    if backbone.weights != "imagenet":
        return _in_folder(Path(backbone.weights))
    handle = kaggle_handle(backbone)
    for folder in _candidates(handle):
        if (folder / FILE).is_file():
            return folder / FILE
    return _download(handle)


def check_weights(recipe: Recipe) -> None:
    """Look for the weights that a recipe asks for, before hours go into packing its data.

    Raises
    ------
    InputError
        As `find_weights`.
    """
    for look in recipe.looks:
        if look.backbone.kind != "compact":
            find_weights(look.backbone)


def _in_folder(folder: Path) -> Path:
    if not (folder / FILE).is_file():
        raise InputError(
            f"backbone.weights: {folder} holds no {FILE}; name the folder of a KerasCV preset, "
            "imagenet, or none"
        )
    return folder / FILE


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
    except Exception as error:  # whatever the network answers, the remedy is the same
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"backbone.weights: no pretrained weights for {handle} ({reason[0][:120]}); attach "
            f'the model to the Kaggle notebook ("model_sources": ["{handle}"]), or put its '
            f"{FILE} under a folder that ${VARIABLE} names, or set backbone.weights to none"
        ) from None


def take_weights(model: keras.Model, pretrained: keras.Model) -> None:
    """Copy weights between two backbones that differ in the sizes of their kernels at most.

    A 3×3 kernel becomes the centre of a 5×5 or 7×7 one whose border is zero, so the larger
    network starts as exactly the function that the smaller one is.

    Parameters
    ----------
    model, pretrained : keras.Model
        The former is changed.
    """
    for own, given in zip(model.variables, pretrained.variables, strict=True):
        own.assign(centred(given.numpy(), tuple(own.shape)))


def centred(kernel: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Put a kernel into the centre of zeros.

    Parameters
    ----------
    kernel : array, shape (height, width, …)
        Of odd height and width.
    shape : tuple of int
        Wanted; equal but for the first two, which are odd and not smaller.

    Returns
    -------
    array of that shape
    """
    if kernel.shape == shape:
        return kernel
    margin = [(wanted - given) // 2 for wanted, given in zip(shape, kernel.shape, strict=True)]
    return np.pad(kernel, [(m, m) for m in margin])

"""Pretrained weights: where they are looked for, and how a backbone takes them.

``imagenet`` (for YOLOv8: COCO) is looked for among Kaggle's mounted inputs, then under the
folder that the variable ``HBAC_WEIGHTS`` names, then online. Kaggle's notebooks for a
submission have no internet: attach the model, as the error message says.
"""

import os
from pathlib import Path

import numpy as np

from hbac_utils.backend import keras
from hbac_utils.data.competition import KAGGLE_INPUT
from hbac_utils.errors import InputError
from hbac_utils.recipe import EfficientNetV2, Recipe, ResNet50V2, YoloV8

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

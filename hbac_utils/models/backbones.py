"""Backbones: from an image or a series to features.

KerasCV is frozen upstream, so it is used here alone. Its presets and alias classes go to
the network even for a bare architecture; its explicit constructors do not.
"""

import keras

from hbac_utils.errors import InputError
from hbac_utils.models.compact import build_compact
from hbac_utils.models.pretrained import find_weights, take_weights
from hbac_utils.recipe import Compact, EfficientNetV2, ResNet50V2, YoloV8

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
    backbone: EfficientNetV2 | ResNet50V2 | YoloV8 | Compact, input_shape: tuple
) -> keras.Model:
    """Build the network that a recipe's ``backbone`` describes, with its pretrained weights.

    Parameters
    ----------
    backbone : section of a recipe
    input_shape : tuple
        Without the batch: (height, width, 3) for the image backbones, (time, 18) for compact.

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
    weights = None if backbone.kind == "compact" else find_weights(backbone)
    model = build(backbone, input_shape)
    if weights:
        of_preset = {"kernel_size": 3} if backbone.kind == "efficientnetv2" else {}
        pretrained = build(backbone.model_copy(update=of_preset), input_shape)
        try:
            pretrained.load_weights(weights)
        except (ValueError, OSError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(f"{weights}: not weights of {backbone.kind} ({reason})") from None
        take_weights(model, pretrained)
    return model

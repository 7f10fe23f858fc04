"""Shallow networks in place of deep ones, which take seconds to build and to trace."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import pytest

from hbac_utils.registry import Backbone


class Tiny(Backbone):
    """The stem of the compact network, pooled: as symmetric, with one convolution."""

    kind: Literal["tiny"]
    width: int = 8
    reads_series = True

    def build(self, input_shape, pretrained=True):
        import keras
        from keras import layers

        from hbac_utils.models.compact import halves_stem

        series = keras.Input(input_shape)
        x = layers.GlobalMaxPooling2D(name="tiny_pool")(halves_stem(series, self.width, "tiny"))
        x = layers.Dense(16, "relu", name="tiny_joint")(x)
        return keras.Model(series, x, name="tiny_network")


@contextmanager
def shallow_efficientnet() -> Iterator[None]:
    """KerasCV's EfficientNetV2 has one block in each of its six stages; also a decorator."""
    from hbac_utils.models import pretrained

    _, arguments = pretrained.NETWORKS["efficientnetv2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(arguments, "stackwise_num_repeats", [1] * 6)
        yield

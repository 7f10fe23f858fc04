"""Shallow networks in place of deep ones, which take seconds to build."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hbac_utils.models import pretrained


@contextmanager
def shallow_efficientnet() -> Iterator[None]:
    """KerasCV's EfficientNetV2 has one block in each of its six stages; also a decorator."""
    _, arguments = pretrained.NETWORKS["efficientnetv2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(arguments, "stackwise_num_repeats", [1] * 6)
        yield

"""Base classes of a recipe's parts, and the decorators that add one; `hbac_utils.parts` has them.

A part's class holds its settings and says where its code is. TensorFlow is imported when a part is
built, so recipes can be validated without it.
"""

import functools
import importlib
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args

from pydantic import BaseModel, Field, NonNegativeFloat, create_model

from hbac_utils.utils.config_io import StrictModel


class View(StrictModel):
    """Base class of views, which turn a raw window into the input of a backbone.

    A subclass sets ``kind`` and either ``code`` or its own `build`.
    """

    kind: str
    code: ClassVar[str] = ""  # "module:Layer"; the view's fields are its arguments
    input: ClassVar[str] = "eeg"  # or "spectrogram"
    channels: ClassVar[int] = 1  # derivations or chains; in an image equal bands of rows

    @property
    def is_series(self) -> bool:
        """Whether the output is a series (time, derivation) instead of an image."""
        return False

    @property
    def stretches(self) -> list[tuple[float, float, float]]:
        """Parts of an image from left to right: share of its width, first and last second.

        Seconds are those of the window of EEG, whose label's centre is at 25 s.
        """
        return [(1.0, 0.0, 50.0)]

    def build(self, name: str) -> Any:
        """Make the Keras layer; its input is float32, (batch, time, electrode or frequency)."""
        arguments = self.model_dump(exclude={"kind", "resampling"})
        return _load(self.code)(**arguments, name=name, dtype="float32")


class Backbone(StrictModel):
    """Base class of backbones, networks from a view's output to features.

    A subclass sets ``kind`` and either ``code`` or its own `build`.
    """

    kind: str
    code: ClassVar[str] = ""  # "module:function", called as `build` is
    reads_series: ClassVar[bool] = False  # or images

    def build(self, input_shape: tuple[int, ...], pretrained: bool = True) -> Any:
        """Make the Keras model to a feature map (height, width, channels), or to features (n,).

        ``input_shape`` is (height, width, 3) of images, (time, 18) of series. ``pretrained`` is
        False if trained weights are loaded next.
        """
        return _load(self.code)(self, input_shape, pretrained)


@dataclass(frozen=True)
class Augmentation:
    """A random change of training inputs.

    ``code(strength, layer)`` returns a function of the inputs. ``layer`` has the random generator
    ``layer.random`` and ``layer.coins(inputs, probability)``.
    """

    name: str  # its key in the section ``augment`` of a recipe
    on: Literal["signal", "view"]  # the raw inputs, a dict, or the output of a view
    code: Callable | None = None  # None: the function of this name in `models.augmentation`
    needs: str = ""  # eeg, image or waveform: where it applies; everywhere if empty
    limit: float | None = 1.0  # the greatest strength


class Augment(StrictModel):
    """Random changes of training inputs; zero switches one off.

    Shift, CutMix and MixUp, in this order, are done by the dataset, because they choose another
    window or mix labels; all others, which are in `AUGMENTATIONS`, by layers of the model.
    """

    shift: NonNegativeFloat = 0.0  # s, window moved by up to ± this
    # s, window moved by up to ± this and rolled back: the label stays in the middle, and the
    # context that is left out on one side is replaced by what follows on the other
    context_shift: Annotated[float, Field(ge=0, le=20)] = 0.0
    # probability that a stretch of time comes from another window; labels are mixed by the share of
    # the labelled segment that was replaced
    cutmix: Annotated[float, Field(ge=0, le=1)] = 0.0
    mixup: NonNegativeFloat = 0.0  # α of the Beta distribution of the mixing share


VIEWS: dict[str, type[View]] = {}
BACKBONES: dict[str, type[Backbone]] = {}
AUGMENTATIONS: dict[str, Augmentation] = {}  # in the order in which they are applied
_models: list[type[BaseModel]] = []


Part = TypeVar("Part", bound=StrictModel)


def register(part: type[Part]) -> type[Part]:
    """Add a `View` or a `Backbone` to what recipes can name, as a class decorator."""
    registry: dict[str, Any] = VIEWS if issubclass(part, View) else BACKBONES
    (kind,) = get_args(part.model_fields["kind"].annotation)
    registry[kind] = part
    _rebuild()
    return part


def register_augmentation(name: str, on: Literal["signal", "view"], **options) -> Callable:
    """Add an augmentation, as a function decorator; `Augmentation` describes the arguments."""

    def add(code):
        AUGMENTATIONS[name] = Augmentation(name, on, code, **options)
        _rebuild()
        return code

    return add


def has_parts(model: type) -> type:
    """Rebuild a model with fields of registered parts whenever one is added; a decorator."""
    _models.append(model)
    return model


def _rebuild() -> None:
    for model in _models:
        model.model_rebuild(force=True)


def _load(code: str) -> Any:
    module, _, name = code.partition(":")
    return getattr(importlib.import_module(module), name)


class _Current:
    """Annotation that is computed whenever a model is rebuilt."""

    def __init__(self, annotation: Callable[[], Any]):
        self._annotation = annotation

    def __get_pydantic_core_schema__(self, source, handler):
        return handler.generate_schema(self._annotation())


def _one_of(registry: dict) -> Any:
    return Annotated[functools.reduce(operator.or_, registry.values()), Field(discriminator="kind")]


@functools.cache
def _augment_section(augmentations: tuple[Augmentation, ...]) -> type[Augment]:
    fields: dict[str, Any] = {
        a.name: (Annotated[float, Field(ge=0, le=a.limit)], 0.0) for a in augmentations
    }
    return create_model("Augment", __base__=Augment, **fields)


AnyView = Annotated[View, _Current(lambda: _one_of(VIEWS))]
AnyBackbone = Annotated[Backbone, _Current(lambda: _one_of(BACKBONES))]
AnyAugment = Annotated[Augment, _Current(lambda: _augment_section(tuple(AUGMENTATIONS.values())))]

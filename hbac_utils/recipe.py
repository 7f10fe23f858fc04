"""A recipe: everything that makes one experiment, in one validated, frozen document.

It is written in YAML, checked when it is loaded (an unknown key is an error), and saved
beside every result. Nothing else steers a training run.
"""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pandas as pd
from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from hbac_utils.utils.config_io import StrictModel, find_config, read_config, validate
from hbac_utils.utils.errors import InputError
from hbac_utils.utils.files import replacing

Share = Annotated[float, Field(ge=0, le=1)]


class Data(StrictModel):
    """What the store holds, and how windows are split into folds."""

    band: tuple[PositiveFloat, PositiveFloat] = (0.5, 40.0)  # Hz, zero-phase
    clip: PositiveFloat = 1024.0  # µV
    folds: Annotated[int, Field(ge=2)] = 5  # by patient, stratified by consensus

    @model_validator(mode="after")
    def _band_is_a_band(self):
        low, high = self.band
        if not low < high < 100:
            raise ValueError(f"band must rise and end below 100 Hz, not {low:g}–{high:g}")
        return self


class KaggleSpectrogram(StrictModel):
    """The competition's own 10-minute spectrogram as an image, frequency × time."""

    kind: Literal["kaggle_spectrogram"]
    clip: tuple[float, float] = (-4.0, 8.0)  # ln power
    size: tuple[PositiveInt, PositiveInt] = (400, 300)  # frequency bins × frames
    channels: ClassVar[int] = 4  # chains, one above the other


class EegSpectrogram(StrictModel):
    """Spectrograms of the four chains computed from the raw EEG in the model."""

    kind: Literal["eeg_spectrogram"]
    seconds: Annotated[float, Field(gt=2, le=50)] = 50.0  # around the label's centre
    frame: PositiveFloat = 2.0  # s of EEG in one column
    frames: PositiveInt = 256  # columns
    bins: PositiveInt = 32  # rows per chain
    channels: ClassVar[int] = 4
    band: tuple[NonNegativeFloat, PositiveFloat] = (0.5, 20.0)  # Hz


class Waveform(StrictModel):
    """The bipolar EEG itself, one row per derivation."""

    kind: Literal["waveform"]
    rate: Literal[20, 25, 40, 50, 100, 200] = 100  # Hz after averaging neighbours
    scale: PositiveFloat = 50.0  # µV that become about 1; larger values are compressed
    layout: Literal["series", "image"] = "series"
    phases: Literal["fixed", "learned"] = "fixed"  # of an image: whether its rows are mixed

    @property
    def channels(self) -> int:
        """Derivations: the midline's two are not in an image."""
        return 18 if self.layout == "series" else 16


View = Annotated[KaggleSpectrogram | EegSpectrogram | Waveform, Field(discriminator="kind")]


class Augment(StrictModel):
    """Random changes of the training input; a value of zero switches one off.

    Shift and MixUp happen in the dataset (they choose another window or mix labels), the
    others in layers of the model. Each acts on every sample by itself.
    """

    shift: NonNegativeFloat = 0.0  # s, window moved by up to ± this
    mixup: NonNegativeFloat = 0.0  # α of the Beta distribution of the mixing share
    mirror: Share = 0.0  # probability of exchanging the hemispheres
    polarity: Share = 0.0  # probability of changing the sign of the EEG
    reverse: Share = 0.0  # probability of reversing the time of the EEG
    gain: NonNegativeFloat = 0.0  # EEG multiplied by e^u, u uniform in ± this
    channel_shuffle: Share = 0.0  # probability of permuting the derivations of each hemisphere
    channel_mask: Share = 0.0  # highest probability of silencing a derivation (or a chain)
    time_mask: Share = 0.0  # widest share of the time axis to be masked
    frequency_mask: Share = 0.0  # widest share of the frequency axis to be masked
    translation: Share = 0.0  # widest share of the image's width to move in time
    cutout: Share = 0.0  # widest share of each side of a rectangle to be cut out


class Pretrained(StrictModel):
    """What the backbones for images have in common."""

    weights: str = "none"  # imagenet (YOLOv8: COCO), none, or the folder of a KerasCV preset


class EfficientNetV2(Pretrained):
    """KerasCV's EfficientNetV2 B0–B3."""

    kind: Literal["efficientnetv2"]
    variant: Literal["b0", "b1", "b2", "b3"] = "b2"
    kernel_size: Literal[3, 5, 7] = 3


class ResNet50V2(Pretrained):
    """KerasCV's ResNet50V2."""

    kind: Literal["resnet50v2"]


class YoloV8(Pretrained):
    """KerasCV's YOLOv8 backbone, size l."""

    kind: Literal["yolov8"]


class Compact(StrictModel):
    """A small left–right symmetric network over waveforms, for a CPU."""

    kind: Literal["compact"]
    width: PositiveInt = 32  # channels after the stem


Backbone = Annotated[EfficientNetV2 | ResNet50V2 | YoloV8 | Compact, Field(discriminator="kind")]


class TestTime(StrictModel):
    """Changes of a recording whose predictions are averaged; measure their gain first (`tta`)."""

    mirror: bool = False  # as it is, and with the hemispheres exchanged
    polarity: bool = False  # likewise with the sign of the EEG changed
    shifts: tuple[Annotated[float, Field(ge=-10, le=10)], ...] = ()  # likewise moved by seconds
    average: Literal["probability", "log"] = "probability"

    @property
    def is_on(self) -> bool:
        """Whether anything is changed."""
        return self.mirror or self.polarity or bool(self.shifts)

    @model_validator(mode="after")
    def _each_shift_once(self):
        if 0 in self.shifts or len(set(self.shifts)) < len(self.shifts):
            raise ValueError("shifts: each once, and without 0, which is among them anyway")
        return self


class Relabel(StrictModel):
    """Soft labels in a later stage for windows with few votes."""

    share: Annotated[float, Field(gt=0, le=1)] = 0.5  # of the predictions; the rest is votes
    below: PositiveInt = 10  # votes
    runs: tuple[str, ...] = ()  # whose models predict; none: the fold's own, as it is by then


class Stage(StrictModel):
    """One stretch of training."""

    epochs: PositiveInt
    batch_size: PositiveInt = 64
    min_votes: PositiveInt = 1  # windows with fewer votes are left out
    weight: Literal["none", "votes"] = "none"  # votes: sample weight votes/20
    target: Literal["votes", "consensus"] = "votes"  # vote shares, or one for the consensus
    learning_rate: PositiveFloat | None = None  # the peak; None: 6e-6 × batch size
    warmup_epochs: NonNegativeFloat = 3
    warmup_from: PositiveFloat = 5e-5
    final_learning_rate: PositiveFloat = 1e-5
    augment: bool = True
    relabel: Relabel | None = None

    @property
    def peak_learning_rate(self) -> float:
        """The rate at the end of the warm-up."""
        return 6e-6 * self.batch_size if self.learning_rate is None else self.learning_rate


class Look(StrictModel):
    """A view of a window and the backbone that reads it."""

    view: View
    backbone: Backbone
    pool: Literal["all", "centre"] = "all"  # of a feature map: all columns, or the two central ones

    @property
    def input(self) -> str:
        """What the view reads: ``"eeg"`` or ``"spectrogram"``."""
        return "spectrogram" if self.view.kind == "kaggle_spectrogram" else "eeg"

    @property
    def is_series(self) -> bool:
        """Whether the view is a series of derivations, not an image."""
        return self.view.kind == "waveform" and self.view.layout == "series"

    @model_validator(mode="after")
    def _backbone_reads_the_view(self):
        if self.is_series != (self.backbone.kind == "compact"):
            raise ValueError(
                f"backbone {self.backbone.kind} cannot read this view: compact reads waveform with "
                "layout series, the others read images"
            )
        if self.is_series and self.view.phases == "learned":
            raise ValueError("view.phases are of layout image; a series has none")
        return self


class Recipe(Look):
    """One experiment: data, view, augmentation, backbone and stages of training."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    seed: NonNegativeInt = 0
    data: Data = Data()
    augment: Augment = Augment()
    beside: tuple[
        Look, ...
    ] = ()  # further looks at the window; features are joined before the head
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0  # before the head
    head: Literal["softmax", "questions"] = "softmax"  # or the terminology's, one by one
    weight_decay: NonNegativeFloat = 0.0  # of AdamW; zero is Adam
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0  # momentum of averaged weights; zero: none
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    select: Literal["best", "last"] = "best"  # which epoch's weights a fold keeps
    tta: TestTime = TestTime()

    @property
    def looks(self) -> tuple[Look, ...]:
        """All looks at a window, the recipe's own first."""
        return (self, *self.beside)

    @property
    def inputs(self) -> tuple[str, ...]:
        """What the views read: ``"eeg"``, ``"spectrogram"`` or both."""
        return tuple(dict.fromkeys(look.input for look in self.looks))

    @model_validator(mode="after")
    def _a_first_stage_has_no_teacher(self):
        relabel = self.stages[0].relabel
        if relabel is not None and not relabel.runs:
            raise ValueError("stages.0.relabel.runs: an untrained model cannot relabel; name runs")
        return self

    @model_validator(mode="after")
    def _augmentation_has_an_object(self):
        if "eeg" not in self.inputs:
            only_eeg = [
                k for k in ("polarity", "reverse", "gain", "shift") if getattr(self.augment, k)
            ]
            if only_eeg:
                raise ValueError(f"augment.{only_eeg[0]} changes the EEG, which this view ignores")
            only_eeg = [k for k in ("polarity", "shifts") if getattr(self.tta, k)]
            if only_eeg:
                raise ValueError(f"tta.{only_eeg[0]} changes the EEG, which this view ignores")
        if all(look.is_series for look in self.looks):
            images = ("frequency_mask", "translation", "cutout")
            only_images = [k for k in images if getattr(self.augment, k)]
            if only_images:
                raise ValueError(f"augment.{only_images[0]} needs a view that makes an image")
        return self


def load_recipe(path: str | Path) -> Recipe:
    """Load a recipe from YAML or JSON.

    Parameters
    ----------
    path : str or Path
        A file, or the bare name of one in the folder ``recipes``.

    Raises
    ------
    InputError
        If there is no such file, it is not YAML, or a key or value is wrong (each is named).
    """
    path = find_config(path, "recipes", "recipe")
    return parse_recipe(read_config(path), str(path))


def parse_recipe(content: object, source: str = "recipe") -> Recipe:
    """Validate a recipe's content; ``source`` names it in the message of an `InputError`."""
    return validate(Recipe, content, source)


def override(recipe: Recipe, changes: dict[str, object]) -> Recipe:
    """Replace single values of a recipe, for a sweep or a quick try.

    Parameters
    ----------
    recipe : Recipe
    changes : dict
        From a dotted key to its new value: ``{"backbone.kernel_size": 5, "stages.0.epochs": 1}``.

    Returns
    -------
    Recipe
        Validated anew.

    Raises
    ------
    InputError
        If a key does not exist or the changed recipe is not valid.
    """
    content = recipe.model_dump(mode="json")
    for key, value in changes.items():
        *path, last = key.split(".")
        try:
            place = content
            for part in path:
                place = place[int(part) if isinstance(place, list) else part]
            place[int(last) if isinstance(place, list) else last] = value
        except (KeyError, IndexError, TypeError, ValueError):
            raise InputError(f"override {key}: the recipe has no such key") from None
    return parse_recipe(content, "overridden recipe")


def as_table(recipe: Recipe) -> pd.DataFrame:
    """Lay a recipe out as a table, every default spelled out.

    Returns
    -------
    DataFrame of str
        ``value``, indexed by section and key, which joined by a dot are what `override` takes;
        what is seen and by which network comes first, then the stages, then the rest.
    """
    content = recipe.model_dump(mode="json")
    first = ("name", "view", "backbone", "pool", "beside", "augment", "stages")
    rows = []
    for key in (*first, *(key for key in content if key not in first)):
        rows += _table_rows(key, "", content[key])
    return pd.DataFrame(rows, columns=["section", "key", "value"]).set_index(["section", "key"])


def _table_rows(section: str, key: str, value: object) -> list[tuple[str, str, str]]:
    if isinstance(value, list) and any(isinstance(part, dict) for part in value):
        value = dict(enumerate(value))
    if isinstance(value, dict) and value:
        inner = f"{section}.{key}" if key else section
        names = sorted(value, key=lambda name: name != "kind")  # a part's kind comes first
        return [row for name in names for row in _table_rows(inner, str(name), value[name])]
    return [(section, key, "none" if value in (None, [], {}) else str(value))]


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write a recipe as JSON, every default spelled out."""
    with replacing(path) as file:
        file.write(recipe.model_dump_json(indent=2).encode() + b"\n")

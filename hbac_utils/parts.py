"""Views, augmentations and backbones of the kit, which recipes name by their kind."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from hbac_utils.registry import AUGMENTATIONS, Augmentation, Backbone, View, register


@register
class KaggleSpectrogram(View):
    """The competition's own 10-minute spectrogram as an image, frequency × time."""

    kind: Literal["kaggle_spectrogram"]
    clip: tuple[float, float] = (-4.0, 8.0)  # ln power
    size: tuple[PositiveInt, PositiveInt] = (400, 300)  # frequency bins × frames
    code = "hbac_utils.models.views:KaggleSpectrogramView"
    input = "spectrogram"
    channels = 4  # chains


@register
class EegSpectrogram(View):
    """Spectrograms of the four chains, computed from the raw EEG."""

    kind: Literal["eeg_spectrogram"]
    seconds: Annotated[float, Field(gt=2, le=50)] = 50.0  # around the label's centre
    frame: PositiveFloat = 2.0  # s of EEG in one column
    frames: PositiveInt = 256  # columns
    bins: PositiveInt = 32  # rows per chain
    band: tuple[NonNegativeFloat, PositiveFloat] = (0.5, 20.0)  # Hz
    code = "hbac_utils.models.views:EegSpectrogramView"
    channels = 4  # chains

    @property
    def stretches(self) -> list[tuple[float, float, float]]:
        """One part, around the label's centre."""
        return [(1.0, 25 - self.seconds / 2, 25 + self.seconds / 2)]


@register
class MultiSpectrogram(View):
    """Spectrograms of several durations side by side, otherwise as eeg_spectrogram; 7th place."""

    kind: Literal["multi_spectrogram"]
    # around the label's centre, from left to right
    seconds: tuple[Annotated[float, Field(gt=2, le=50)], ...] = (50.0, 30.0, 10.0)
    frame: tuple[PositiveFloat, ...] = (2.0, 1.5, 1.0)  # s of EEG in one column of each
    frames: PositiveInt = 128  # columns of each
    bins: PositiveInt = 32  # rows per chain
    band: tuple[NonNegativeFloat, PositiveFloat] = (0.5, 20.0)  # Hz
    code = "hbac_utils.models.views:MultiSpectrogramView"
    channels = 4  # chains

    @property
    def stretches(self) -> list[tuple[float, float, float]]:
        """One part for each duration."""
        return [(1 / len(self.seconds), 25 - s / 2, 25 + s / 2) for s in self.seconds]

    @model_validator(mode="after")
    def _every_part_has_a_frame(self):
        if not len(self.seconds) == len(self.frame) > 0:
            raise ValueError("frame: give as many as there are in seconds, one or more")
        return self


@register
class MelSpectrogram(View):
    """Mel spectrograms of 16 derivations with a zoomed centre; three channels, as the 3rd place."""

    kind: Literal["mel_spectrogram"]
    bins: PositiveInt = 64  # rows per derivation
    band: tuple[NonNegativeFloat, PositiveFloat] = (0.53, 30.0)  # Hz
    frame: Annotated[float, Field(ge=0.04, le=2.56)] = 0.64  # s of EEG in one column
    step: Annotated[float, Field(ge=0.01, le=2)] = 0.16  # s from column to column
    zoom: Annotated[float, Field(ge=2, le=50)] = 12.0  # s around the label's centre
    zoom_frame: Annotated[float, Field(ge=0.04, le=2.56)] = 0.08  # the same in the zoom
    zoom_step: Annotated[float, Field(ge=0.01, le=2)] = 0.02
    scaling: Literal["global", "sample"] = "global"  # fixed, or every image standardised
    code = "hbac_utils.models.views:MelSpectrogramView"
    channels = 16  # derivations

    @property
    def stretches(self) -> list[tuple[float, float, float]]:
        """The beginning, the zoom and the end."""
        side, zoomed = 20 / self.step, self.zoom / self.zoom_step
        side, zoomed = side / (2 * side + zoomed), zoomed / (2 * side + zoomed)
        return [(side, 0, 20), (zoomed, 25 - self.zoom / 2, 25 + self.zoom / 2), (side, 30, 50)]

    @model_validator(mode="after")
    def _rows_are_not_empty(self):
        low, high = self.band
        if high > 100 or (high - low) / (self.bins + 1) < 0.2:
            raise ValueError(
                f"bins: {self.bins} rows need a band of {0.2 * (self.bins + 1):g} Hz or more, "
                f"below 100 Hz, not {low:g}–{high:g} Hz"
            )
        return self


@register
class Waveform(View):
    """The bipolar EEG, one row per derivation."""

    kind: Literal["waveform"]
    rate: Literal[20, 25, 40, 50, 100, 200] = 100  # Hz after averaging neighbours
    scale: PositiveFloat = 50.0  # µV that become about 1
    amplitude: Literal["log", "linear"] = "log"  # beyond the scale compressed, or clipped
    layout: Literal["series", "image"] = "series"
    resampling: Literal["fixed", "learned"] = "fixed"  # of the rows of an image
    code = "hbac_utils.models.views:WaveformView"

    @property
    def channels(self) -> int:  # type: ignore[override]
        """Derivations; an image has all but the two of the midline."""
        return 18 if self.is_series else 16

    @property
    def is_series(self) -> bool:
        """Whether the output is a series (time, derivation) instead of an image."""
        return self.layout == "series"


# -- augmentations, in the order in which they are applied ------------------------

for _part in (
    # strength: probability of exchanging the hemispheres
    Augmentation("mirror", "signal"),
    # probability of reversing the time of the EEG
    Augmentation("reverse", "signal", needs="eeg"),
    # probability of changing the sign of the EEG
    Augmentation("polarity", "signal", needs="eeg"),
    # probability of removing the lowest and the highest frequencies of the EEG
    Augmentation("band_removal", "signal", needs="eeg"),
    # probability of setting the EEG outside the labelled segment to zero
    Augmentation("segment_only", "signal", needs="eeg"),
    # the EEG is multiplied by e^u, u uniform in ± this
    Augmentation("gain", "signal", needs="eeg", limit=None),
    # probability of exchanging the front and the back of the head
    Augmentation("front_back", "view", needs="series"),
    # standard deviation, dB, of a random gain at octaves of the frequency
    Augmentation("spectral_gain", "view", needs="series", limit=None),
    # the time is stretched by e^u, u uniform in ± this
    Augmentation("stretch", "view", needs="series"),
    # greatest share of the image's width by which it is moved in time
    Augmentation("translation", "view", needs="image"),
    # greatest share of each side of a rectangle that is cut out
    Augmentation("cutout", "view", needs="image"),
    # greatest share of the frequency axis, or of the time axis, that is masked
    Augmentation("frequency_mask", "view", needs="image"),
    Augmentation("time_mask", "view"),
    # probability of permuting the derivations of each hemisphere
    Augmentation("channel_shuffle", "view", needs="waveform"),
    # greatest probability of masking a derivation or a chain
    Augmentation("channel_mask", "view"),
):
    AUGMENTATIONS[_part.name] = _part


# -- backbones -----------------------------------------------------------------


class Pretrained(Backbone):
    """Fields of KerasCV's backbones, which have pretrained weights."""

    weights: str = "none"  # imagenet (YOLOv8: COCO), none, or the folder of a KerasCV preset
    code = "hbac_utils.models.pretrained:build"
    preset: ClassVar[str]  # on Kaggle

    @property
    def kaggle_handle(self) -> str:
        """Name of the pretrained model on Kaggle, as in ``model_sources``."""
        return f"keras/{self.preset}/2"


@register
class EfficientNetV2(Pretrained):
    """KerasCV's EfficientNetV2 B0–B2."""

    kind: Literal["efficientnetv2"]
    variant: Literal["b0", "b1", "b2"] = "b2"
    kernel_size: Literal[3, 5, 7] = 3

    @property
    def preset(self) -> str:  # type: ignore[override]
        """The preset of the variant."""
        return f"efficientnetv2/keras/efficientnetv2_{self.variant}_imagenet"


@register
class ResNet50V2(Pretrained):
    """KerasCV's ResNet50V2."""

    kind: Literal["resnet50v2"]
    preset = "resnetv2/keras/resnet50_v2_imagenet"


@register
class YoloV8(Pretrained):
    """KerasCV's YOLOv8 backbone, size l."""

    kind: Literal["yolov8"]
    preset = "yolov8/keras/yolo_v8_l_backbone_coco"


class KerasApplication(Backbone):
    """Fields of the backbones of keras.applications, which have ImageNet weights."""

    weights: str = "none"  # imagenet, none, or a file of the network's weights without its top
    code = "hbac_utils.models.applications:build"
    variant: str
    family: ClassVar[str]  # in keras.applications
    weights_file: ClassVar[str]  # Keras' own, with the variant left open

    @property
    def function(self) -> str:
        """Name of the network in keras.applications."""
        return self.family + self.variant.title()

    @property
    def file(self) -> str:
        """Name of Keras' own file of ImageNet weights."""
        return self.weights_file.format(self.variant)


@register
class KerasEfficientNetV2(KerasApplication):
    """EfficientNetV2 (Tan and Le 2021, arXiv:2104.00298), B0–B3 and S."""

    kind: Literal["keras_efficientnetv2"]
    variant: Literal["b0", "b1", "b2", "b3", "s"] = "b0"
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.2  # of the last block; linear in depth
    family = "EfficientNetV2"
    weights_file = "efficientnetv2-{}_notop.h5"


@register
class KerasConvNeXt(KerasApplication):
    """ConvNeXt (Liu et al. 2022, arXiv:2201.03545)."""

    kind: Literal["keras_convnext"]
    variant: Literal["tiny", "small", "base"] = "tiny"
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0  # of the last block; linear in depth
    family = "ConvNeXt"
    weights_file = "convnext_{}_notop.h5"


@register
class KerasMobileNetV3(KerasApplication):
    """MobileNetV3 (Howard et al. 2019, arXiv:1905.02244), for laptops; it has no drop-path."""

    kind: Literal["keras_mobilenetv3"]
    variant: Literal["small"] = "small"
    family = "MobileNetV3"
    weights_file = "weights_mobilenet_v3_{}_224_1.0_float_no_top_v2.h5"


@register
class Compact(Backbone):
    """A small left–right symmetric network over waveforms, for a CPU."""

    kind: Literal["compact"]
    width: PositiveInt = 32  # channels after the stem
    code = "hbac_utils.models.compact:build"
    reads_series = True


@register
class Derivations(Backbone):
    """A left–right symmetric network over single derivations, for a CPU and few patients."""

    kind: Literal["derivations"]
    width: Annotated[int, Field(ge=2)] = 16  # channels after the stem
    code = "hbac_utils.models.derivations:build"
    reads_series = True

"""What a saved model may hold, looked at before Keras opens it.

Keras' safe mode refuses code in a model's file. It has been got around several times, always by a
configuration that names something other than a layer, or by weights that lie in another file. So
what a classifier of this kit is made of is listed here, and everything else is refused.

References
----------
CVE-2025-1550, CVE-2025-8747, CVE-2025-9905, CVE-2025-9906: code by a name in the configuration.
CVE-2026-1669, CVE-2026-0897: weights in another file, or larger than any memory.
"""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import h5py

from hbac_utils.utils.errors import InputError, one_line

MEMBERS = {"metadata.json", "config.json", "model.weights.h5"}

OF_KERAS = {
    "keras": {"DTypePolicy"},
    "keras.src.models.functional": {"Functional"},
    "keras.initializers": {"GlorotUniform", "Ones", "Zeros"},
    "keras.layers": {
        "AveragePooling1D", "AveragePooling2D", "BatchNormalization", "Concatenate",
        "Conv2D", "Cropping1D", "Cropping2D", "Dense", "Dropout", "Flatten",
        "GlobalAveragePooling2D", "GlobalMaxPooling2D", "Identity",
        "InputLayer", "ReLU",
    },
    "keras.losses": {"KLDivergence"},
    "keras.optimizers": {"Adam", "AdamW", "LossScaleOptimizer"},
}  # fmt: skip

OF_OTHERS = {
    "hbac_utils": {
        "EegSpectrogramView", "Hemispheres", "KaggleSpectrogramView", "Meet", "PhaseMixing",
        "Questions", "Rhythm", "SignalAugmentation", "ViewAugmentation", "WaveformView",
    },
    "keras_cv": {"EfficientNetV2Backbone", "ResNetV2Backbone", "YOLOV8Backbone"},
}  # fmt: skip
"""Registered under ``package>name``."""

TENSOR = {"class_name", "config"}, "__keras_tensor__"
"""How a layer's input is written: a reference, nothing that is built."""


def check_saved(path: str | Path) -> None:
    """Refuse a file that no classifier of this kit was saved as.

    Raises
    ------
    InputError
        If it is no archive of three uncompressed members; if the configuration names a class that
        is not listed here; or if the weights are linked, lie in another file, or are less than
        the file says.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive.infolist())
            _check_classes(json.loads(archive.read("config.json")))
            with archive.open("model.weights.h5") as weights:
                _check_weights(weights)
    except (OSError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: no model that this kit saved ({one_line(error)}); copy it anew from where it "
            "was trained"
        ) from None


def _check_members(entries: list[zipfile.ZipInfo]) -> None:
    names = [entry.filename for entry in entries]
    if sorted(names) != sorted(MEMBERS):
        odd = next((name for name in names if name not in MEMBERS), "a file missing or twice")
        raise ValueError(f"it holds {odd!r}")
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED:  # Keras does not compress
            raise ValueError(f"{entry.filename} is compressed")


def _objects(content: object) -> Iterator[dict]:
    """Walk through all that Keras would build of a configuration."""
    waiting = [content]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if "class_name" in part or "module" in part or "registered_name" in part:
                yield part
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


def _check_classes(config: object) -> None:
    for part in _objects(config):
        name, registered = part.get("class_name"), part.get("registered_name")
        module = part.get("module")
        if (set(part), name) == TENSOR:
            continue
        if isinstance(module, str) and isinstance(name, str):
            if name in OF_KERAS.get(module, ()) and registered in (None, name):
                continue
            package = module.split(".")[0]
            if name in OF_OTHERS.get(package, ()) and registered == f"{package}>{name}":
                continue
        raise ValueError(f"its configuration names {module}.{name}, which no recipe uses")


def _check_weights(file: BinaryIO) -> None:
    with h5py.File(file, "r") as weights:
        waiting = [weights]
        while waiting:
            group = waiting.pop()
            for name in group:
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise ValueError(f"{group.name}/{name} of its weights is a link")
                part = group[name]
                if isinstance(part, h5py.Group):
                    waiting.append(part)
                else:
                    _check_array(part)


def _check_array(array: h5py.Dataset) -> None:
    if array.external or array.is_virtual:
        raise ValueError(f"{array.name} of its weights lies in another file")
    if array.dtype.kind not in "fiub" or array.id.get_storage_size() != array.nbytes:
        raise ValueError(f"{array.name} of its weights is not as Keras writes an array")

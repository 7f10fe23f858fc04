"""Describe a recipe's network: its parts with their shapes, and the code of view and backbone."""

import inspect
from dataclasses import dataclass
from html import escape
from pydoc import locate
from typing import Any

from hbac_utils.models import classifier
from hbac_utils.recipe import Recipe
from hbac_utils.utils.backend import keras

RAW = {
    "eeg": ("raw EEG", "samples × electrodes, µV"),
    "spectrogram": ("raw spectrogram", "rows × columns, ln power"),
}


def network_parts(recipe: Recipe) -> list[list[tuple[str, str]]]:
    """List what each branch consists of, then the head: names, and shapes without the batch.

    Each branch begins with the raw window and ends with its backbone.
    """
    model = classifier.build_classifier(recipe)
    backbones = (layer for layer in model.layers if isinstance(layer, keras.Model))
    parts = []
    for number, branch in enumerate(recipe.all_branches):
        view = model.get_layer(f"{branch.view.kind}{f'_{number}' if number else ''}")
        backbone, (raw, unit) = next(backbones), RAW[branch.view.input]
        size = f"{_shape(backbone.output)}\n{backbone.count_params():,} parameters"
        parts.append(
            [
                (raw, f"{_shape(view.input)}\n{unit}"),
                (f"view\n{branch.view.kind}", _shape(view.output)),
                (f"backbone\n{branch.backbone.kind}", size),
            ]
        )
    features = model.get_layer("decisions" if recipe.head == "hierarchical" else "probabilities")
    parts.append([(f"{recipe.head} head", f"{_shape(features.input)} features\n6 probabilities")])
    return parts


def _shape(tensor: Any) -> str:
    return " × ".join(f"{size:,}" for size in tensor.shape[1:])


@dataclass(frozen=True)
class Sources:
    """Source code by heading; a notebook displays it folded."""

    code: dict[str, str]

    def _repr_html_(self) -> str:
        return "\n".join(
            f"<details><summary>{escape(heading)}</summary><pre>{escape(text)}</pre></details>"
            for heading, text in self.code.items()
        )


def network_code(recipe: Recipe) -> Sources:
    """Collect the code of a recipe's views and backbones, and of what joins them."""
    code: dict[str, Any] = {"The classifier: view, backbone, head": classifier._assemble}
    for branch in recipe.all_branches:
        for role, part in (("view", branch.view), ("backbone", branch.backbone)):
            place = locate(part.code.replace(":", ".")) if part.code else type(part)
            code[f"The {role} {part.kind}"] = place
    return Sources({heading: inspect.getsource(part) for heading, part in code.items()})

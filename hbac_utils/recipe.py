"""Recipes: everything that defines one experiment, in one validated and frozen YAML file.

Unknown keys are errors. The recipe is saved in the folder of every run.
"""

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

import hbac_utils.parts  # noqa: F401 (registers them)
from hbac_utils.registry import AUGMENTATIONS, AnyAugment, AnyBackbone, AnyView, Augment, has_parts
from hbac_utils.utils.config_io import StrictModel, find_config, parse_json, read_config, validate
from hbac_utils.utils.errors import InputError
from hbac_utils.utils.files import replacing

SHIPPED = "simulated"  # recipe and run of the model in the package
SHIPPED_RUNS = Path(__file__).parent / "weights"


class Simulated(StrictModel):
    """Mixtures of simulated components that replace the training windows of the data."""

    components: PositiveInt = 4000  # backgrounds, patterns and sets of artifacts, of each
    seed: NonNegativeInt = 1
    windows: PositiveInt = 16_384  # in an epoch
    votes: NonNegativeInt = 0  # drawn for a window; zero: the true probabilities


class Data(StrictModel):
    """Filtering of signals, split into folds, and where training windows come from."""

    band: tuple[PositiveFloat, PositiveFloat] = (0.5, 40.0)  # Hz, zero-phase
    clip: PositiveFloat = 1024.0  # µV
    folds: Annotated[int, Field(ge=2)] = 5  # by patient, stratified by consensus
    simulated: Simulated | None = None  # ``data: simulated`` for short, with these defaults

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value):
        return {"simulated": {}} if value == "simulated" else value

    @model_validator(mode="after")
    def _band_rises(self):
        low, high = self.band
        if not low < high < 100:
            raise ValueError(f"band must rise and end below 100 Hz, not {low:g}–{high:g}")
        return self


class TestTime(StrictModel):
    """Test-time augmentation: changed copies of a recording whose predictions are averaged."""

    mirror: bool = False  # with and without the hemispheres exchanged
    polarity: bool = False  # with and without the sign of the EEG changed
    shifts: tuple[Annotated[float, Field(ge=-10, le=10)], ...] = ()  # s, in addition to 0
    average: Literal["probability", "log"] = "probability"

    @property
    def is_on(self) -> bool:
        """Whether there is any change."""
        return self.mirror or self.polarity or bool(self.shifts)

    @model_validator(mode="after")
    def _shifts_are_distinct(self):
        if 0 in self.shifts or len(set(self.shifts)) < len(self.shifts):
            raise ValueError("shifts: list each once, without 0, which is always included")
        return self


class PseudoLabels(StrictModel):
    """Soft labels for windows with few votes: votes averaged with a model's predictions."""

    share: Annotated[float, Field(gt=0, le=1)] = 0.5  # of the predictions; the rest is votes
    below: PositiveInt = 10  # votes
    runs: tuple[str, ...] = ()  # runs that predict; default: the fold's model after earlier stages


class Stage(StrictModel):
    """One stage of training."""

    epochs: PositiveInt
    batch_size: PositiveInt = 64
    min_votes: PositiveInt = 1  # windows with fewer votes are left out
    # sample weight; votes: votes/20; root: its square root; or a table such as {1: 0.1, 5: 0.4,
    # 10: 1.0}: windows with at least so many votes have that weight
    weight: Literal["none", "votes", "root"] | dict[PositiveInt, NonNegativeFloat] = "none"
    target: Literal["votes", "consensus"] = "votes"  # vote fractions, or one-hot consensus
    smoothing: NonNegativeFloat = 0.0  # votes that the mean of the stage's windows adds to a window
    learning_rate: PositiveFloat | None = None  # the peak; None: 6e-6 × batch size
    warmup_epochs: NonNegativeFloat = 3
    warmup_from: PositiveFloat = 5e-5
    final_learning_rate: PositiveFloat = 1e-5
    backbone_rate: NonNegativeFloat = 1.0  # share of the learning rate below the head; 0: fixed
    augment: bool = True
    pseudo_labels: PseudoLabels | None = None

    @property
    def peak_learning_rate(self) -> float:
        """The learning rate at the end of the warm-up."""
        return 6e-6 * self.batch_size if self.learning_rate is None else self.learning_rate

    @model_validator(mode="after")
    def _labels_fit(self):
        if isinstance(self.weight, dict):
            if not any(self.weight.values()):
                raise ValueError("weight: no weight is above zero")
            if min(self.weight) > self.min_votes:
                raise ValueError(
                    f"weight: none for windows with {self.min_votes} votes; begin the table there, "
                    f"or set min_votes: {min(self.weight)}"
                )
        if self.smoothing and self.target == "consensus":
            raise ValueError("smoothing: a consensus has no votes; use target: votes")
        return self


@has_parts
class Branch(StrictModel):
    """A view and the backbone that reads it."""

    view: AnyView
    backbone: AnyBackbone
    # of a feature map: mean of all, mean of the two central columns, or generalized mean of all
    pool: Literal["all", "centre", "gem"] = "all"

    @model_validator(mode="after")
    def _backbone_reads_the_view(self):
        if self.view.is_series != self.backbone.reads_series:
            raise ValueError(
                f"backbone {self.backbone.kind} cannot read this view: compact and derivations "
                "read waveform with layout series, the others read images"
            )
        if self.view.is_series and getattr(self.view, "resampling", "fixed") == "learned":
            raise ValueError("view.resampling needs layout image")
        if self.view.is_series and self.pool == "gem":
            raise ValueError("pool: gem needs a view that makes an image; use all")
        return self


@has_parts
class Recipe(Branch):
    """One experiment: data, views, augmentation, backbones and stages of training."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    seed: NonNegativeInt = 0
    weights: str = ""  # to start from: simulated, which the package contains, or a weights file
    data: Data = Data()
    augment: AnyAugment = Field(default={}, validate_default=True)
    branches: tuple[Branch, ...] = ()  # further ones; features are joined before the head
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0  # before the head
    head: Literal["softmax", "hierarchical"] = "softmax"  # hierarchical: labels.DECISIONS
    weight_decay: NonNegativeFloat = 0.0  # of AdamW; zero is Adam
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0  # momentum of averaged weights
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    select: Literal["best", "last"] = "best"  # which epoch's weights a fold keeps
    tta: TestTime = TestTime()

    def __reduce__(self):
        # pickled as values: the class of `augment` is generated
        return Recipe.model_validate, (self.model_dump(mode="json"),)

    @property
    def all_branches(self) -> tuple[Branch, ...]:
        """The recipe's own view and backbone, then the further branches."""
        return (self, *self.branches)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Inputs of the views: ``"eeg"``, ``"spectrogram"`` or both."""
        return tuple(dict.fromkeys(branch.view.input for branch in self.all_branches))

    @model_validator(mode="after")
    def _first_stage_has_no_model_yet(self):
        labels = self.stages[0].pseudo_labels
        if labels is not None and not labels.runs:
            raise ValueError("stages.0.pseudo_labels.runs: the model is untrained yet; name runs")
        return self

    @model_validator(mode="after")
    def _simulation_has_what_is_read(self):
        if self.data.simulated is None:
            return self
        if self.inputs != ("eeg",):
            raise ValueError("data.simulated: mixtures are EEG only; use a view of the EEG")
        if any(getattr(self.augment, key) for key in Augment.model_fields):
            done = ", ".join(Augment.model_fields)
            raise ValueError(f"augment: mixtures are shifted and mixed already; leave {done}")
        plain = Stage(epochs=1)
        for number, stage in enumerate(self.stages):
            for key in ("min_votes", "weight", "target", "smoothing", "pseudo_labels"):
                if getattr(stage, key) != getattr(plain, key):
                    raise ValueError(f"stages.{number}.{key}: mixtures have no votes of a table")
        return self

    @model_validator(mode="after")
    def _augmentations_apply(self):
        used = {name for name in type(self.augment).model_fields if getattr(self.augment, name)}
        needs = {name: part.needs for name, part in AUGMENTATIONS.items()}
        needs |= {"shift": "eeg", "context_shift": "eeg", "cutmix": "eeg"}
        if "eeg" not in self.inputs:
            changes = [f"augment.{name}" for name in used if needs.get(name) == "eeg"]
            changes += [f"tta.{name}" for name in ("polarity", "shifts") if getattr(self.tta, name)]
            if changes:
                raise ValueError(f"{min(changes)} changes the EEG, which this view ignores")
        if all(branch.view.is_series for branch in self.all_branches):
            changes = [f"augment.{name}" for name in used if needs.get(name) == "image"]
            if changes:
                raise ValueError(f"{min(changes)} needs a view that makes an image")
        return self


# keys of older recipes
RENAMED = {"beside": "branches", "phases": "resampling", "relabel": "pseudo_labels"}


def initial_weights(recipe: Recipe) -> Path | None:
    """Find the weights that a recipe starts from, if any; InputError if there is no such file."""
    if not recipe.weights:
        return None
    shipped = SHIPPED_RUNS / recipe.weights / "fold0" / "model.weights.h5"
    path = shipped if shipped.is_file() else Path(recipe.weights)
    if not path.is_file():
        raise InputError(
            f"weights {recipe.weights}: no such file; give a run's model.weights.h5, or {SHIPPED}"
        )
    return path


def load_recipe(path: str | Path, reduced: bool = False) -> Recipe:
    """Load a recipe from a YAML or JSON file, or by its name in the folder ``recipes``.

    ``reduced`` applies the file's section of that name, overrides to a size that learns on two
    cores, if it has one. The section is not part of the recipe.

    Raises InputError if the file is missing or not YAML, or a key or value is wrong.
    """
    path = find_config(path, "recipes", "recipe")
    content = read_config(path)
    changes = content.pop("reduced", {}) if isinstance(content, dict) else {}
    recipe = parse_recipe(content, str(path))
    small = override(recipe, changes)  # checked in any case
    return small if reduced else recipe


def parse_recipe(content: object, source: str = "recipe") -> Recipe:
    """Validate a recipe's content; ``source`` names it in the message of an `InputError`."""
    try:
        return validate(Recipe, content, source)
    except InputError as error:
        hint = _new_names(str(error).removeprefix(source))
        raise InputError(f"{error}{hint}") from None


def _new_names(text: str) -> str:
    return "".join(f" ({old} is called {new} now)" for old, new in RENAMED.items() if old in text)


def override(recipe: Recipe, changes: dict[str, Any] | str) -> Recipe:
    """Replace single values of a recipe: ``{"backbone.kernel_size": 5, "stages.0.epochs": 1}``.

    ``changes`` may be JSON, as ``papermill -p`` passes it. Raises InputError if a key does not
    exist or the changed recipe is not valid.
    """
    if isinstance(changes, str):
        changes = parse_json(changes or "{}", "overrides")  # type: ignore[assignment]
    if not isinstance(changes, dict):
        raise InputError(f'overrides {changes!r}: write {{"key": value}}')
    content = recipe.model_dump(mode="json")
    for key, value in changes.items():
        *path, last = str(key).split(".")
        try:
            place: Any = content
            for part in path:
                place = place[int(part) if isinstance(place, list) else part]
            place[int(last) if isinstance(place, list) else last] = value
        except (KeyError, IndexError, TypeError, ValueError):
            problem = f"the recipe has no such key{_new_names(key)}"
            raise InputError(f"override {key}: {problem}") from None
    return parse_recipe(content, "overridden recipe")


def check_parameters(recipe: Recipe, folds: str = "", max_hours: float = 0.0) -> tuple[int, ...]:
    """Check the parameters of a training, and return its folds.

    Nothing but the recipe is needed, so this is called before packing, staging and pushing.

    Parameters
    ----------
    recipe : Recipe
    folds : str
        Fold numbers such as ``"0,2"``; empty: all folds of the recipe.
    max_hours : float
        Time after which the training stops. Zero: no limit.

    Raises InputError for folds that the recipe does not have, and for hours that are negative or
    not finite.
    """
    # NaN fails the comparison
    if not (isinstance(max_hours, int | float) and 0 <= max_hours < math.inf):
        raise InputError(f"max_hours {max_hours}: give hours, or 0 for no limit")
    known = {str(fold): fold for fold in range(recipe.data.folds)}
    parts = [part.strip() for part in str(folds).split(",")] if str(folds).strip() else list(known)
    for part in parts:
        if part not in known:
            raise InputError(
                f"folds {folds}: {part!r} is no fold of recipe {recipe.name}, which has 0 to "
                f"{len(known) - 1}; separate several by commas, or leave folds empty for all"
            )
    return tuple(dict.fromkeys(known[part] for part in parts))


def recipe_table(recipe: Recipe) -> pd.DataFrame:
    """Tabulate a recipe with all defaults: ``value``, indexed by section and key.

    ``section.key`` is what `override` takes. Views, backbones and augmentations come first, then
    the stages, then the rest.
    """
    content = recipe.model_dump(mode="json")
    first = ("name", "view", "backbone", "pool", "branches", "augment", "stages")
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
    """Write a recipe as JSON, every default included."""
    with replacing(path) as file:
        file.write(recipe.model_dump_json(indent=2).encode() + b"\n")

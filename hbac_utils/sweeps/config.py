"""Sweep files (YAML): schema, validation, and the recipe of every combination."""

import itertools
import json
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from hbac_utils.data.store import Store
from hbac_utils.recipe import Recipe, check_parameters, load_recipe, override
from hbac_utils.utils.config_io import StrictModel, find_config, read_config, validate
from hbac_utils.utils.errors import InputError

RECIPE = "recipe"  # the axis whose values are recipes instead of values of a recipe's key

Label = bool | int | float | str | None  # a value in a storage: lists and sections become JSON
Settings = dict[str, Label]  # labels of a trial's values by axis


class Range(StrictModel):
    """Numbers from ``low`` to ``high``, both included; integers if all bounds are integers."""

    low: int | float
    high: int | float
    log: bool = False
    step: PositiveInt | PositiveFloat | None = None

    @model_validator(mode="after")
    def _check_bounds(self):
        if not self.low < self.high:
            raise ValueError(f"low must be below high, not {self.low} and {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log needs a low above zero and no step")
        return self


class Choices(StrictModel):
    """Values to choose from."""

    choices: Annotated[tuple[Any, ...], Field(min_length=2)]


class Search(StrictModel):
    """Sampler and search space."""

    sampler: Literal["tpe", "random"] = "tpe"
    seed: NonNegativeInt = 0
    space: Annotated[dict[str, Range | Choices], Field(min_length=1)]


class Pruning(StrictModel):
    """Median pruning on the epochs of the first fold."""

    startup_trials: NonNegativeInt = 4  # finished trials before the first one is pruned
    warmup_epochs: NonNegativeInt = 2  # epochs that no trial is pruned in


class Budget(StrictModel):
    """Limits of a sweep."""

    trials: PositiveInt | None = None  # None: the whole grid
    hours: PositiveFloat | None = None  # of one call; the next call continues


Grid = Annotated[dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]], Field(min_length=1)]


class Sweep(StrictModel):
    """Content of a sweep file."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    title: str = ""  # of the report
    recipe: str | None = None  # a file, or a name in recipes/; None if it is an axis
    overrides: dict[str, Any] = Field(default_factory=dict)  # of all trials
    grid: Grid | None = None  # every combination
    search: Search | None = None
    folds: tuple[NonNegativeInt, ...] | None = None  # None: all folds of the recipe
    objective: Literal["kl_reliable", "kl_all"] = "kl_reliable"
    pruning: Pruning | None = None
    budget: Budget = Budget()
    workers: PositiveInt = 1  # concurrent trials on one machine
    reduced: dict[str, Any] = Field(default_factory=dict)  # keys to replace on a small machine

    @model_validator(mode="after")
    def _check_consistency(self):
        if (self.grid is None) == (self.search is None):
            raise ValueError("a sweep has either a grid or a search")
        if self.search is not None and self.budget.trials is None:
            raise ValueError("budget.trials: a search needs a number of trials")
        if (self.recipe is None) != (RECIPE in self.axes):
            raise ValueError("recipe: name one, or make it an axis, not both")
        recipes = self.axes.get(RECIPE, ())
        if isinstance(recipes, Range) or not all(isinstance(name, str) for name in recipes):
            raise ValueError("recipe: the values of this axis are names or files of recipes")
        for key, axis in self.axes.items():
            if key in self.overrides:
                raise ValueError(f"overrides.{key}: this key is an axis, too")
            if not isinstance(axis, Range) and len(set(map(label, axis))) < len(axis):
                raise ValueError(f"{key}: a value is listed twice")
        return self

    @property
    def axes(self) -> dict[str, Any]:
        """A tuple of values or a `Range` for each key that varies."""
        space: dict[str, Any] = self.grid or (self.search.space if self.search else {})
        return {k: axis.choices if isinstance(axis, Choices) else axis for k, axis in space.items()}


def load_sweep(path: str | Path, reduced: bool = False) -> Sweep:
    """Load a sweep file, or the one of that name in the folder ``sweeps``.

    ``reduced`` applies its section of that name; the sweep's name gets the suffix ``-reduced``.
    Raises InputError if there is no such file, or a key or value is wrong (each is named).
    """
    path = find_config(path, "sweeps", "sweep")
    sweep = validate(Sweep, read_config(path), path)
    if not reduced:
        return sweep
    if not sweep.reduced:
        raise InputError(f"sweep {sweep.name}: no section reduced; add one, or omit REDUCED=1")
    axes = {"grid", "search"}
    left_out = {"reduced"} | (axes if axes & set(sweep.reduced) else set())
    content = sweep.model_dump(exclude=left_out, exclude_unset=True) | sweep.reduced
    content["overrides"] = sweep.overrides | sweep.reduced.get("overrides", {})
    return validate(Sweep, content | {"name": f"{sweep.name}-reduced"}, path)


def label(value: Any) -> Label:
    """Convert a value to the form in which a storage keeps it."""
    return value if isinstance(value, Label) else json.dumps(value)


def describe(settings: Settings) -> str:
    """Format settings in one line."""
    return ", ".join(f"{key}={format_value(value)}" for key, value in settings.items())


def format_value(value: Label) -> str:
    """Format a value, a number with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class SweepPlan:
    """A sweep with its recipes, read once.

    Raises InputError if a recipe does not exist, or does not accept a key or value of the sweep.
    """

    def __init__(self, sweep: Sweep):
        self.sweep = sweep
        names = (sweep.recipe,) if sweep.recipe else sweep.axes[RECIPE]
        if len({Path(name).stem for name in names}) < len(names):
            raise InputError(f"sweep {sweep.name}: recipe: two of them have the same file name")
        # by name in the sweep file: as read, and with the overrides that all trials share
        self.originals = {name: load_recipe(name) for name in names}
        self.recipes = {
            name: self._override(f"recipe {name}", recipe, sweep.overrides)
            for name, recipe in self.originals.items()
        }
        for recipe in self.trial_recipes():
            check_parameters(recipe, ",".join(map(str, sweep.folds or ())))
        if len({(recipe.data.band, recipe.data.clip) for recipe in self.trial_recipes()}) > 1:
            raise InputError(
                f"sweep {sweep.name}: data.band and data.clip must be equal in all trials, which "
                "share a store; make a sweep for each"
            )
        for key, axis in sweep.axes.items() if sweep.search else ():
            ends = (axis.low, axis.high) if isinstance(axis, Range) else axis
            for value in ends if key != RECIPE else ():
                for name, base in self.recipes.items():
                    self._override(f"{key}={label(value)} on {name}", base, {key: value})

    @cached_property
    def grid(self) -> list[Settings]:
        """All combinations of a grid, the last key changing fastest; empty for a search."""
        axes = self.sweep.grid or {}
        rows = itertools.product(*(map(label, axis) for axis in axes.values()))
        return [dict(zip(axes, row, strict=True)) for row in rows if axes]

    @property
    def n_trials(self) -> int:
        """Number of trials."""
        return min(filter(None, (self.sweep.budget.trials, len(self.grid))))

    def base(self, settings: Settings) -> str:
        """Name of the recipe that a trial starts from, a key of `recipes`."""
        return self.sweep.recipe or str(settings[RECIPE])

    def changes(self, settings: Settings) -> dict[str, Any]:
        """Dotted keys and values that a trial changes in `recipes`."""
        choices = {k: axis for k, axis in self.sweep.axes.items() if not isinstance(axis, Range)}
        by_label = {key: {label(value): value for value in choices[key]} for key in choices}
        return {k: by_label.get(k, {}).get(v, v) for k, v in settings.items() if k != RECIPE}

    def recipe(self, settings: Settings) -> Recipe:
        """Make a trial's recipe; an `InputError` names the settings."""
        base = self.recipes[self.base(settings)]
        return self._override(describe(settings), base, self.changes(settings))

    def fixed(self) -> dict[str, Any]:
        """Collect as JSON what must not change while a study goes on."""
        keys = {"grid", "search", "folds", "objective", "pruning"}
        recipes = {name: recipe.model_dump(mode="json") for name, recipe in self.recipes.items()}
        return self.sweep.model_dump(mode="json", include=keys) | {"recipes": recipes}

    def trial_recipes(self) -> list[Recipe]:
        """Recipes of all trials of a grid; of a search, those that its trials start from."""
        return [self.recipe(settings) for settings in self.grid] or list(self.recipes.values())

    def check(self, store: Store) -> None:
        """Check that a store holds the signals and inputs of every trial."""
        for recipe in self.trial_recipes():
            store.check(recipe.data, recipe.inputs)

    def _override(self, where: str, recipe: Recipe, changes: dict[str, Any]) -> Recipe:
        try:
            return override(recipe, changes)
        except InputError as error:
            raise InputError(f"sweep {self.sweep.name}: {where}: {error}") from None

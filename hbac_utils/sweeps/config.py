"""A sweep file: which recipe, which of its keys take which values, how far to go.

Like a recipe it is YAML, validated, and refuses a key that it does not know.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from hbac_utils.utils.config_io import StrictModel, find_config, read_config, validate
from hbac_utils.utils.errors import InputError

RECIPE = "recipe"
"""The axis whose values are recipes, not a key of one."""

Label = bool | int | float | str | None
"""What a storage can keep of a value."""

Settings = dict[str, Label]
"""What sets a trial apart: the labels of its values by key."""


class Range(StrictModel):
    """Numbers from ``low`` to ``high``, both included; whole ones if both ends are."""

    low: int | float
    high: int | float
    log: bool = False
    step: PositiveInt | PositiveFloat | None = None

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return all(isinstance(value, int) for value in (self.low, self.high, self.step or 1))

    @model_validator(mode="after")
    def _is_a_range(self):
        if not self.low < self.high:
            raise ValueError(f"low must be below high, not {self.low} and {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log needs a low above zero and no step")
        return self


class Choices(StrictModel):
    """Any values, one of which is chosen."""

    choices: Annotated[tuple[Any, ...], Field(min_length=2)]


class Search(StrictModel):
    """Which values are proposed, and by what."""

    sampler: Literal["tpe", "random"] = "tpe"
    seed: NonNegativeInt = 0
    space: Annotated[dict[str, Range | Choices], Field(min_length=1)]


class Pruning(StrictModel):
    """When a trial is given up: its best epoch so far is worse than the others' median there.

    Counted are the epochs of the first fold.
    """

    startup_trials: NonNegativeInt = 4  # trials to finish before any is given up
    warmup_epochs: NonNegativeInt = 2  # epochs that every trial has


class Budget(StrictModel):
    """How far a sweep goes."""

    trials: PositiveInt | None = None  # None: the whole grid
    hours: PositiveFloat | None = None  # of one call; the next call goes on


Grid = Annotated[dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]], Field(min_length=1)]
Changes = dict[str, Any]
NOTHING = Field(default_factory=dict)


class Reduced(StrictModel):
    """What stands in for the sweep's own keys where a small machine has to do."""

    overrides: Changes = NOTHING  # beside the sweep's
    grid: Grid | None = None
    search: Search | None = None
    folds: tuple[NonNegativeInt, ...] | None = None
    budget: Budget | None = None


class Sweep(StrictModel):
    """A sweep file's content."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    title: str = ""  # of the report
    recipe: str | None = None  # a file, or a name in recipes/; none where the grid has them
    overrides: Changes = NOTHING  # of all trials, as `recipe.override` takes them
    grid: Grid | None = None  # every combination
    search: Search | None = None  # or proposals
    folds: tuple[NonNegativeInt, ...] | None = None  # None: all of the recipe
    objective: Literal["kl_reliable", "kl_all"] = "kl_reliable"
    pruning: Pruning | None = None
    budget: Budget = Budget()
    workers: PositiveInt = 1  # trials at once on a machine
    reduced: Reduced | None = None

    @model_validator(mode="after")
    def _is_a_grid_or_a_search(self):
        if (self.grid is None) == (self.search is None):
            raise ValueError("a sweep has either a grid or a search")
        if self.search is not None and self.budget.trials is None:
            raise ValueError("budget.trials: say how many trials a search may take")
        if (self.recipe is None) != (RECIPE in self.axes):
            raise ValueError("recipe: name one, or make it an axis, not both")
        recipes = self.axes.get(RECIPE, ())
        if isinstance(recipes, Range) or any(not isinstance(n, str) for n in values(recipes)):
            raise ValueError("recipe: the values of this axis are names or files of recipes")
        for key, axis in self.axes.items():
            labels = () if isinstance(axis, Range) else [label(value) for value in values(axis)]
            if len(set(labels)) < len(labels):
                raise ValueError(f"{key}: a value stands there twice")
        common = sorted(set(self.axes) & set(self.overrides))
        if common:
            raise ValueError(f"overrides.{common[0]}: this key is an axis, too")
        return self

    @property
    def axes(self) -> dict[str, tuple | Range | Choices]:
        """What varies: the values or the range of each key."""
        return self.grid if self.grid is not None else self.search.space

    def at_reduced_size(self) -> "Sweep":
        """Put the section ``reduced`` in force; the name says so.

        Raises
        ------
        InputError
            If there is no such section, or the result is no valid sweep.
        """
        if self.reduced is None:
            raise InputError(f"sweep {self.name}: has no section reduced; add one, or run it whole")
        content = self.model_dump(exclude={"reduced"}, exclude_unset=True)
        stand_in = self.reduced.model_dump(exclude_unset=True)
        content["overrides"] = self.overrides | stand_in.pop("overrides", {})
        if "grid" in stand_in or "search" in stand_in:
            content = {key: content[key] for key in content if key not in ("grid", "search")}
        content |= stand_in | {"name": f"{self.name}-reduced"}
        return validate(Sweep, content, self.name)


def load_sweep(path: str | Path, reduced: bool = False) -> Sweep:
    """Load a sweep file.

    Parameters
    ----------
    path : str or Path
        A file, or the bare name of one in the folder ``sweeps``.
    reduced : bool
        Take its reduced size.

    Raises
    ------
    InputError
        If there is no such file, it is not YAML, or a key or value is wrong (each is named).
    """
    path = find_config(path, "sweeps", "sweep")
    sweep = validate(Sweep, read_config(path), path)
    return sweep.at_reduced_size() if reduced else sweep


def label(value: Any) -> Label:
    """Give a value the form in which a storage keeps it: lists and sections become JSON."""
    return value if isinstance(value, Label) else json.dumps(value)


def describe(settings: Settings) -> str:
    """Write settings in one line, numbers to four digits."""
    return ", ".join(f"{key}={shown(value)}" for key, value in settings.items())


def shown(value: Label) -> str:
    """Write a value for people: a number to four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def values(axis: tuple | Choices) -> tuple:
    """List the values of an axis that is no range."""
    return axis.choices if isinstance(axis, Choices) else axis

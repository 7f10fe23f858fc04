"""A sweep file: which recipe, which of its keys take which values, how far to go.

Like a recipe it is YAML, validated, and refuses a key that it does not know. Every combination
of a grid is made into a recipe, and so checked, before the first trial starts.
"""

import itertools
import json
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from hbac_utils.data.splits import patient_folds
from hbac_utils.data.store import Store
from hbac_utils.errors import InputError
from hbac_utils.labels import RELIABLE_VOTES
from hbac_utils.recipe import (
    Recipe,
    Section,
    describe_problems,
    load_recipe,
    override,
)

RECIPE = "recipe"
"""The axis whose values are recipes, not a key of one."""

Label = bool | int | float | str | None
"""What a storage can keep of a value."""

Settings = dict[str, Label]
"""What sets a trial apart: the labels of its values by key."""


class Range(Section):
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


class Choices(Section):
    """Any values, one of which is chosen."""

    choices: Annotated[tuple[Any, ...], Field(min_length=2)]


class Search(Section):
    """Which values are proposed, and by what."""

    sampler: Literal["tpe", "random"] = "tpe"
    seed: NonNegativeInt = 0
    space: Annotated[dict[str, Range | Choices], Field(min_length=1)]


class Pruning(Section):
    """When a trial is given up: its best epoch so far is worse than the others' median there.

    Counted are the epochs of the first fold.
    """

    startup_trials: NonNegativeInt = 4  # trials to finish before any is given up
    warmup_epochs: NonNegativeInt = 2  # epochs that every trial has


class Budget(Section):
    """How far a sweep goes."""

    trials: PositiveInt | None = None  # None: the whole grid
    hours: PositiveFloat | None = None  # of one call; the next call goes on


Grid = Annotated[dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]], Field(min_length=1)]
Changes = dict[str, Any]
NOTHING = Field(default_factory=dict)


class Reduced(Section):
    """What stands in for the sweep's own keys where a small machine has to do."""

    overrides: Changes = NOTHING  # beside the sweep's
    grid: Grid | None = None
    search: Search | None = None
    folds: tuple[NonNegativeInt, ...] | None = None
    budget: Budget | None = None


class Sweep(Section):
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
        if isinstance(recipes, Range) or any(not isinstance(n, str) for n in _values(recipes)):
            raise ValueError("recipe: the values of this axis are names or files of recipes")
        for key, axis in self.axes.items():
            values = () if isinstance(axis, Range) else [label(value) for value in _values(axis)]
            if len(set(values)) < len(values):
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
        return _parse({**content, **stand_in, "name": f"{self.name}-reduced"}, self.name)


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
    path = Path(path)
    if not path.suffix:
        path = Path("sweeps") / f"{path}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in path.parent.glob("*.yaml"))
        hint = f"; there are {', '.join(known)}" if known else ""
        raise InputError(f"{path}: no such sweep{hint}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    sweep = _parse(content, str(path))
    return sweep.at_reduced_size() if reduced else sweep


def _parse(content: object, source: str) -> Sweep:
    try:
        return Sweep.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{source}: {describe_problems(error)}") from None


class Plan:
    """A sweep with its recipes, every combination of its grid checked.

    The recipes are read once: a file that is edited while the sweep runs changes nothing.

    Parameters
    ----------
    sweep : Sweep

    Attributes
    ----------
    originals, recipes : dict of str to Recipe
        What the trials start from, by the name that the sweep file has for it: as it was read,
        and with the overrides that all trials have in common.

    Raises
    ------
    InputError
        If a recipe does not exist, has no such key, or does not take a value.
    """

    def __init__(self, sweep: Sweep):
        self.sweep = sweep
        names = (sweep.recipe,) if sweep.recipe else _values(sweep.axes[RECIPE])
        if len({Path(name).stem for name in names}) < len(names):
            raise InputError(f"sweep {sweep.name}: recipe: two of them have the same file name")
        self.originals = {name: load_recipe(name) for name in names}
        self.recipes = {
            name: _reached(sweep, f"recipe {name}", recipe, sweep.overrides)
            for name, recipe in self.originals.items()
        }
        if sweep.search:
            self._check_ends()
        else:
            for settings in self.grid:
                self.recipe(settings)

    @cached_property
    def grid(self) -> list[Settings]:
        """All combinations of a grid, the last key changing fastest; none of a search."""
        if self.sweep.grid is None:
            return []
        labels = [[label(value) for value in values] for values in self.sweep.grid.values()]
        return [dict(zip(self.sweep.grid, row, strict=True)) for row in itertools.product(*labels)]

    @property
    def n_trials(self) -> int:
        """How many trials there are to be."""
        most = self.sweep.budget.trials
        if self.sweep.grid is None:
            return most
        return len(self.grid) if most is None else min(most, len(self.grid))

    def base(self, settings: Settings) -> str:
        """Name the recipe that a trial starts from, a key of `recipes`."""
        return self.sweep.recipe or settings[RECIPE]

    def changes(self, settings: Settings) -> dict[str, Any]:
        """Say what a trial changes in that recipe: dotted keys and values."""
        return {
            key: _value(self.sweep.axes[key], settings[key]) for key in settings if key != RECIPE
        }

    def recipe(self, settings: Settings) -> Recipe:
        """Make a trial's recipe.

        Raises
        ------
        InputError
            If it is not valid; the settings are named.
        """
        base = self.recipes[self.base(settings)]
        return _reached(self.sweep, describe(settings), base, self.changes(settings))

    def check(self, store: Store) -> None:
        """Refuse a store that cannot serve every trial of a grid, or the recipes of a search.

        Raises
        ------
        InputError
            If it holds other signals, lacks an input, a fold does not exist, or there is nothing
            to compute the objective on.
        """
        trials = [self.recipe(settings) for settings in self.grid] or list(self.recipes.values())
        seen = set()
        for recipe in trials:
            key = recipe.model_dump_json(include={"data", "seed"}) + str(recipe.inputs)
            if key not in seen:
                store.check(recipe.data, recipe.inputs)
                self._check_folds(store, recipe)
            seen.add(key)

    def _check_folds(self, store: Store, recipe: Recipe) -> None:
        wanted, count = self.sweep.folds, recipe.data.folds
        for fold in wanted or ():
            if fold >= count:
                raise InputError(
                    f"sweep {self.sweep.name}: folds: {fold} does not exist; recipe {recipe.name} "
                    f"has 0–{count - 1}"
                )
        if self.sweep.objective == "kl_all":
            return
        rows = store.evaluation_windows()
        folds = patient_folds(store.windows, count, recipe.seed)[rows]
        held_out = [fold in (wanted or range(count)) for fold in folds]
        votes = store.windows["total_votes"].to_numpy()[rows[held_out]]
        if not (votes >= RELIABLE_VOTES).any():
            raise InputError(
                f"sweep {self.sweep.name}: objective: no held-out window has {RELIABLE_VOTES} "
                "votes; choose kl_all"
            )

    def _check_ends(self) -> None:
        """Try every choice and both ends of every range, one key at a time."""
        for key, axis in self.sweep.axes.items():
            ends = [axis.low, axis.high] if isinstance(axis, Range) else axis.choices
            for value in ends if key != RECIPE else ():
                for name, base in self.recipes.items():
                    _reached(self.sweep, f"{key}={label(value)} on {name}", base, {key: value})

    def fixed(self) -> dict[str, Any]:
        """Collect what may not change while a study goes on, as JSON keeps it."""
        content = self.sweep.model_dump(
            mode="json", include={"grid", "search", "folds", "objective", "pruning"}
        )
        content["recipes"] = {
            name: recipe.model_dump(mode="json") for name, recipe in self.recipes.items()
        }
        return json.loads(json.dumps(content))


def label(value: Any) -> Label:
    """Give a value the form in which a storage keeps it: lists and sections become JSON."""
    return value if isinstance(value, Label) else json.dumps(value)


def describe(settings: Settings) -> str:
    """Write settings in one line, numbers to four digits."""
    return ", ".join(f"{key}={shown(value)}" for key, value in settings.items())


def shown(value: Label) -> str:
    """Write a value for people: a number to four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _values(axis: tuple | Choices) -> tuple:
    return axis.choices if isinstance(axis, Choices) else axis


def _value(axis: tuple | Range | Choices, kept: Label) -> Any:
    if isinstance(axis, Range):
        return kept
    by_label = {label(value): value for value in _values(axis)}
    return by_label[kept]


def _reached(sweep: Sweep, where: str, recipe: Recipe, changes: dict[str, Any]) -> Recipe:
    try:
        return override(recipe, changes)
    except InputError as error:
        raise InputError(f"sweep {sweep.name}: {where}: {error}") from None

"""A sweep with its recipes, every combination of its grid made and so checked beforehand."""

import itertools
import json
from functools import cached_property
from pathlib import Path
from typing import Any

from hbac_utils.data.splits import patient_folds
from hbac_utils.data.store import Store
from hbac_utils.labels import RELIABLE_VOTES
from hbac_utils.recipe import Recipe, load_recipe, override
from hbac_utils.sweeps.config import (
    RECIPE,
    Choices,
    Label,
    Range,
    Settings,
    Sweep,
    describe,
    label,
    values,
)
from hbac_utils.utils.errors import InputError


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
        names = (sweep.recipe,) if sweep.recipe else values(sweep.axes[RECIPE])
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
        labels = [[label(value) for value in axis] for axis in self.sweep.grid.values()]
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


def _value(axis: tuple | Range | Choices, kept: Label) -> Any:
    if isinstance(axis, Range):
        return kept
    by_label = {label(value): value for value in values(axis)}
    return by_label[kept]


def _reached(sweep: Sweep, where: str, recipe: Recipe, changes: dict[str, Any]) -> Recipe:
    try:
        return override(recipe, changes)
    except InputError as error:
        raise InputError(f"sweep {sweep.name}: {where}: {error}") from None

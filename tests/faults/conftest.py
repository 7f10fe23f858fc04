"""What the fault tests share: a competition, its store, a recipe whose runs have every file."""

from pathlib import Path

import pytest

from hbac_utils.recipe import Recipe, override, save_recipe


@pytest.fixture(scope="session")
def tiny(tiny_recipe, tmp_path_factory) -> Path:
    """The tiny recipe in a file."""
    path = tmp_path_factory.mktemp("recipes") / "tiny.json"
    save_recipe(tiny_recipe, path)
    return path


@pytest.fixture(scope="session")
def rich_recipe(tiny_recipe) -> Recipe:
    """Averages weights, keeps the best epoch, relabels, predicts with test-time changes."""
    stages = [stage.model_dump(mode="json") for stage in tiny_recipe.stages]
    stages[1] |= {"pseudo_labels": {"share": 0.5, "below": 10}}
    changes = {"stages": stages, "select": "best", "ema": 0.8, "tta": {"mirror": True}}
    return override(tiny_recipe, changes)


@pytest.fixture(scope="session")
def rich(rich_recipe, tmp_path_factory) -> Path:
    """The rich recipe in a file."""
    path = tmp_path_factory.mktemp("recipes") / "rich.json"
    save_recipe(rich_recipe, path)
    return path

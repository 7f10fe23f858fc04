"""Sweep files: what is refused, and which recipes a sweep consists of."""

import re
from pathlib import Path

import pytest
import yaml

from hbac_utils.data.packing import pack
from hbac_utils.recipe import save_recipe
from hbac_utils.sweeps.config import SweepPlan, load_sweep
from hbac_utils.sweeps.worker import prepare
from hbac_utils.utils.errors import InputError

SHIPPED = sorted(path.stem for path in Path("sweeps").glob("*.yaml"))


@pytest.fixture
def plan_of(tmp_path, tiny_recipe):
    """Make the plan of a small sweep file with some keys replaced; None removes one."""
    recipe = tmp_path / "tiny.json"
    save_recipe(tiny_recipe, recipe)

    def make(**changes) -> SweepPlan:
        content = {
            "name": "small", "recipe": str(recipe), "grid": {"dropout": [0.3, 0.1, 0.2]},
            "folds": [0], "objective": "kl_all",
        } | changes  # fmt: skip
        path = tmp_path / "sweep.yaml"
        path.write_text(
            yaml.safe_dump({k: v for k, v in content.items() if v is not None}, sort_keys=False)
        )
        return SweepPlan(load_sweep(path))

    return make


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grids": {}}, "unknown key grids"),
        ({"budget": {"minutes": 3}}, "unknown key budget.minutes"),
        ({"grid": None}, "either a grid or a search"),
        ({"grid": None, "search": {"space": {"dropout": {"choices": [0, 0.5]}}}}, "budget.trials"),
        ({"recipe": None}, "name one, or make it an axis"),
        ({"grid": {"recipe": ["demo"]}}, "name one, or make it an axis"),
        ({"recipe": None, "grid": {"recipe": [1, 2]}}, "names or files of recipes"),
        ({"overrides": {"dropout": 0.1}}, "overrides.dropout: this key is an axis"),
        ({"grid": {"dropout": []}}, "grid.dropout: Tuple should have at least 1 item"),
        ({"grid": {"dropout": [0.1, 0.1]}}, "dropout: a value is listed twice"),
        ({"objective": "accuracy"}, "objective: Input should be 'kl_reliable' or 'kl_all'"),
        ({"name": "../up"}, "name: String should match"),
        ({"recipe": "nothing"}, "no such recipe"),
        ({"grid": {"dropuot": [0.1]}}, "dropuot=0.1: overridden recipe: unknown key dropuot"),
        ({"overrides": {"stages.7.epochs": 1}}, "override stages.7.epochs: the recipe has no such"),
        ({"grid": {"stages.0.batch_size": [16, 32], "dropout": [0.1, 1.5]}},
         "stages.0.batch_size=16, dropout=1.5: overridden recipe"),
    ],
)  # fmt: skip
def test_a_wrong_sweep_file_is_refused(plan_of, changes, message):
    with pytest.raises(InputError, match=re.escape(message)):
        plan_of(**changes)


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        ({"low": 0, "high": 1}, r"dropout=1 on .*less than 1"),
        ({"low": 0.5, "high": 0.1}, "low must be below high, not 0.5 and 0.1"),
        ({"low": 0.0, "high": 0.5, "log": True}, "log needs a low above zero"),
    ],
)
def test_the_bounds_of_a_search_are_checked(plan_of, axis, message):
    with pytest.raises(InputError, match=message):
        plan_of(grid=None, search={"space": {"dropout": axis}}, budget={"trials": 2})


def test_a_missing_or_damaged_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such sweep; available: augmentation, backbone"):
        load_sweep("nothing")
    (tmp_path / "a.yaml").write_text("a: [")
    with pytest.raises(InputError, match=r"a.yaml: not YAML"):
        load_sweep(tmp_path / "a.yaml")


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_sweeps_are_valid_whole_and_reduced(name):
    whole, reduced = SweepPlan(load_sweep(name)), SweepPlan(load_sweep(name, reduced=True))
    assert whole.sweep.name == name
    assert reduced.sweep.name == f"{name}-reduced"
    assert 1 < reduced.n_trials <= 8
    for recipe in reduced.recipes.values():
        assert getattr(recipe.backbone, "weights", "none") == "none"


def test_the_published_sweeps_have_the_paper_s_values():
    backbones = SweepPlan(load_sweep("backbone"))
    stages = [backbones.recipe(settings).stages[0] for settings in backbones.grid]
    assert [stage.batch_size for stage in stages] == [64, 16, 64]
    assert [stage.epochs for stage in stages] == [13, 13, 40]
    batches, kernels = (SweepPlan(load_sweep(name)) for name in ("batch-size", "kernel-size"))
    sizes = [batches.recipe(settings).stages[0].batch_size for settings in batches.grid]
    assert sizes == [32, 64, 128]
    sizes = [kernels.recipe(settings).backbone.kernel_size for settings in kernels.grid]
    assert sizes == [3, 5, 7]
    assert batches.sweep.objective == kernels.sweep.objective == "kl_reliable"


def test_values_that_are_lists_are_kept_as_json(plan_of):
    plan = plan_of(grid={"tta.shifts": [[0.5, 2.0], [1.0]], "dropout": [0.1, 0.2]})
    assert plan.grid[2] == {"tta.shifts": "[1.0]", "dropout": 0.1}
    assert plan.recipe(plan.grid[2]).tta.shifts == (1.0,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folds": [0, 2]}, "folds 0,2: '2' is no fold of recipe tiny"),
        ({"grid": {"data.clip": [1024.0, 500.0]}}, "data.clip must be equal in all trials"),
    ],
)
def test_trials_that_cannot_share_a_store_or_folds_are_refused_before_packing(
    plan_of, store, changes, message
):
    plan_of().check(store)
    with pytest.raises(InputError, match=message):
        plan_of(**changes)


def test_the_store_grows_to_serve_every_trial_and_stays_the_same_data(
    plan_of, competition, tiny_recipe, tmp_path
):
    store = tmp_path / "store"
    pack(competition, store, tiny_recipe.data, ("eeg",), limit=3, jobs=1, progress=False)
    before = prepare(plan_of(), competition, store, tmp_path)
    both = {"recipe": None, "name": "both", "folds": [0]}
    both["grid"] = {"recipe": [str(tmp_path / "tiny.json"), "multiview"]}
    prepare(plan_of(**both), competition, store, tmp_path)
    assert (store / "spectrogram.npy").is_file()
    assert prepare(plan_of(), competition, store, tmp_path).data == before.data

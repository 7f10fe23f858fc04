import json
import math
from pathlib import Path

import pytest

from hbac_utils.recipe import (
    check_parameters,
    load_recipe,
    override,
    parse_recipe,
    recipe_table,
    save_recipe,
)
from hbac_utils.utils.errors import InputError

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))

MINIMAL = {
    "name": "minimal",
    "view": {"kind": "waveform"},
    "backbone": {"kind": "compact"},
    "stages": [{"epochs": 1}],
}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_the_kit_is_valid_and_named_as_its_file(path):
    assert load_recipe(path).name == path.stem


def test_a_recipe_survives_saving(tmp_path):
    recipe = load_recipe(RECIPES[0])
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 3
    save_recipe(recipe, tmp_path / "recipe.json")
    assert load_recipe(tmp_path / "recipe.json") == recipe


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"epochs": 3}, "unknown key epochs"),
        ({"view": {"kind": "waveform", "rates": 100}}, "unknown key view.waveform.rates"),
        ({"stages": [{"epochs": 1, "warmup": 2}]}, "unknown key stages.0.warmup"),
        ({"stages": []}, "stages"),
        ({"name": None}, "name"),
        (
            {
                "view": {"kind": "kaggle_spectrogram"},
                "backbone": {"kind": "resnet50v2"},
                "augment": {"polarity": 0.5},
            },
            "polarity changes the EEG, which this view ignores",
        ),
        (
            {
                "view": {"kind": "kaggle_spectrogram"},
                "backbone": {"kind": "efficientnetv2", "variant": "b3"},
            },
            r"backbone\.efficientnetv2\.variant: Input should be 'b0', 'b1' or 'b2'",
        ),
        ({"stages": [{"epochs": 0}]}, "stages.0.epochs"),
        ({"view": {"kind": "wavelet"}}, "view"),
        ({"backbone": {"kind": "resnet50v2"}}, "resnet50v2 cannot read this view"),
        ({"view": {"kind": "kaggle_spectrogram"}}, "compact cannot read this view"),
        ({"data": {"band": [40, 0.5]}}, "band must rise"),
        ({"augment": {"mirror": 1.5}}, "augment.mirror"),
        ({"tta": {"shifts": [0.0, 1.0]}}, "tta: shifts: list each once, without 0"),
        ({"tta": {"shifts": [1.0, 1.0]}}, "each once"),
        ({"tta": {"shifts": [60.0]}}, "tta.shifts.0: .* less than or equal to 10"),
        ({"tta": {"average": "median"}}, "tta.average"),
        ({"augment": {"cutout": 0.1}}, "augment.cutout needs a view that makes an image"),
        ({"name": "Bad Name"}, "name"),
        ({"beside": []}, "beside is called branches now"),
        ({"head": "questions"}, "head: Input should be 'softmax' or 'hierarchical'"),
        ({"view": {"kind": "waveform", "phases": "fixed"}}, "phases is called resampling now"),
        ({"stages": [{"epochs": 1, "weight": {5: 1.0}}]}, "none for windows with 1 votes; begin"),
        ({"stages": [{"epochs": 1, "weight": {1: 0.0}}]}, "weight: no weight is above zero"),
        ({"stages": [{"epochs": 1, "weight": {0: 1.0}}]}, "stages.0.weight.* greater than 0"),
        (
            {"stages": [{"epochs": 1, "smoothing": 1, "target": "consensus"}]},
            "smoothing: a consensus has no votes",
        ),
        ({"stages": [{"epochs": 1, "relabel": {}}]}, "relabel is called pseudo_labels now"),
        ({"stages": [{"epochs": 1, "learning_rate": float("inf")}]}, "finite"),
    ],
)
def test_an_error_names_the_key_in_one_line(change, reason):
    with pytest.raises(InputError, match=reason) as caught:
        parse_recipe(MINIMAL | change, "my.yaml")
    assert str(caught.value).startswith("my.yaml: ")
    assert "\n" not in str(caught.value)


def test_overrides_reach_into_sections_and_stages():
    recipe = override(parse_recipe(MINIMAL), {"stages.0.epochs": 7, "backbone.width": 8, "seed": 2})
    assert recipe.stages[0].epochs == 7
    assert recipe.backbone.width == 8
    assert recipe.seed == 2
    assert override(parse_recipe(MINIMAL), '{"seed": 2}').seed == 2, "as papermill -p passes it"
    assert override(recipe, "") == recipe


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"stages.1.epochs": 2}, "no such key"),
        ({"stage.0.epochs": 2}, "no such key"),
        ({"backbone.depth": 2}, "unknown key"),
        ({"stages.0.epochs": "many"}, "stages.0.epochs"),
        ({"stages.0.relabel.share": 0.5}, "relabel is called pseudo_labels now"),
        ("seed=2", "overrides: not JSON"),
        ("[1]", r"overrides \[1\]: write"),
    ],
)
def test_wrong_overrides_are_refused(changes, reason):
    with pytest.raises(InputError, match=reason):
        override(parse_recipe(MINIMAL), changes)


def test_an_unknown_name_lists_the_known_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    assert load_recipe("demo").name == "demo"
    with pytest.raises(InputError, match="no such recipe; available: .*demo"):
        load_recipe("domo")
    (tmp_path / "broken.yaml").write_text("name: [")
    with pytest.raises(InputError, match="not YAML"):
        load_recipe(tmp_path / "broken.yaml")


def test_the_table_lists_every_value():
    table = recipe_table(parse_recipe(MINIMAL))
    assert table.loc[("stages.0", "epochs"), "value"] == "1"
    assert table.loc[("view", "rate"), "value"] == "100"


def test_the_papers_peak_learning_rate():
    stage = load_recipe(Path(__file__).parents[2] / "recipes/paper-efficientnetv2b2.yaml").stages[0]
    assert stage.peak_learning_rate == pytest.approx(6e-6 * 64)


def test_a_bare_name_is_found_from_any_folder(tmp_path, monkeypatch):
    shipped = load_recipe("compact")
    monkeypatch.chdir(tmp_path)
    assert load_recipe("compact") == shipped
    (tmp_path / "recipes").mkdir()
    own = shipped.model_copy(update={"seed": 5})
    (tmp_path / "recipes" / "compact.yaml").write_text(own.model_dump_json())  # JSON is YAML
    assert load_recipe("compact").seed == 5, "one that lies here comes first"


def test_a_file_may_say_how_the_recipe_is_reduced(tmp_path):
    content = MINIMAL | {"reduced": {"view.rate": 20, "stages.0.epochs": 3}}
    path = tmp_path / "own.yaml"
    path.write_text(json.dumps(content))
    assert load_recipe(path) == parse_recipe(MINIMAL)
    small = override(parse_recipe(MINIMAL), {"view.rate": 20, "stages.0.epochs": 3})
    assert load_recipe(path, reduced=True) == small
    assert load_recipe("compact", reduced=True) == load_recipe("compact"), "it has no such section"
    for wrong, reason in ({"view.rates": 20}, "unknown key"), ({"view.rate": 3}, "view"), (7, "7"):
        path.write_text(json.dumps(MINIMAL | {"reduced": wrong}))
        with pytest.raises(InputError, match=reason):
            load_recipe(path)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_for_a_gpu_says_how_it_is_reduced(path):
    recipe, small = load_recipe(path), load_recipe(path, reduced=True)
    if recipe.view.is_series:
        return
    assert small != recipe
    assert all(branch.backbone.weights == "none" for branch in small.all_branches)
    comment = path.read_text().split("name:")[0].splitlines()
    assert 3 <= len(comment) <= 6
    assert all(line.startswith("# ") for line in comment)
    for fact in ("million parameters", "hours on a T4 × 2", "GB for a batch"):
        assert fact in " ".join(comment)


def test_folds_and_hours_are_checked_against_the_recipe():
    recipe = parse_recipe(MINIMAL)
    assert check_parameters(recipe) == (0, 1, 2, 3, 4)
    assert check_parameters(recipe, " 2, 0,2", 8) == (2, 0)
    assert check_parameters(recipe, 0) == (0,), "as papermill parses it"
    for hours in (-1, math.nan, math.inf, "abc"):
        with pytest.raises(InputError, match=rf"max_hours {hours}: give hours, or 0"):
            check_parameters(recipe, "0", hours)
    for text in ("7", "abc", "0-1", "0,", "-1", "1.0", "[0]", "٣", "1_0"):
        with pytest.raises(InputError, match="is no fold of recipe minimal, which has 0 to 4; "):
            check_parameters(recipe, text)

from pathlib import Path

import pytest

from hbac_utils.recipe import load_recipe, override, parse_recipe, recipe_table, save_recipe
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
    save_recipe(recipe, tmp_path / "recipe.json")
    assert load_recipe(tmp_path / "recipe.json") == recipe


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"epochs": 3}, "unknown key epochs"),
        ({"view": {"kind": "waveform", "rates": 100}}, "unknown key view.waveform.rates"),
        ({"stages": [{"epochs": 1, "warmup": 2}]}, "unknown key stages.0.warmup"),
        ({"stages": []}, "stages"),
        ({"stages": [{"epochs": 0}]}, "stages.0.epochs"),
        ({"view": {"kind": "wavelet"}}, "view"),
        ({"backbone": {"kind": "resnet50v2"}}, "resnet50v2 cannot read this view"),
        ({"view": {"kind": "kaggle_spectrogram"}}, "compact cannot read this view"),
        ({"data": {"band": [40, 0.5]}}, "band must rise"),
        ({"augment": {"mirror": 1.5}}, "augment.mirror"),
        ({"augment": {"cutout": 0.1}}, "augment.cutout needs a view that makes an image"),
        ({"name": "Bad Name"}, "name"),
        ({"beside": []}, "beside is called branches now"),
        ({"head": "questions"}, "questions is called hierarchical now"),
        ({"view": {"kind": "waveform", "phases": "fixed"}}, "phases is called resampling now"),
        ({"stages": [{"epochs": 1, "relabel": {}}]}, "relabel is called pseudo_labels now"),
        ({"stages": [{"epochs": 1, "learning_rate": float("inf")}]}, "finite"),
    ],
)
def test_an_error_names_the_key_in_one_line(change, reason):
    with pytest.raises(InputError, match=reason) as caught:
        parse_recipe(MINIMAL | change, "my.yaml")
    assert str(caught.value).startswith("my.yaml: ")
    assert "\n" not in str(caught.value)


def test_a_missing_key_is_named():
    content = {key: value for key, value in MINIMAL.items() if key != "stages"}
    with pytest.raises(InputError, match="missing key stages"):
        parse_recipe(content)


def test_eeg_augmentations_are_refused_for_views_of_spectrograms():
    content = MINIMAL | {
        "view": {"kind": "kaggle_spectrogram"},
        "backbone": {"kind": "resnet50v2"},
        "augment": {"polarity": 0.5},
    }
    with pytest.raises(InputError, match="polarity changes the EEG, which this view ignores"):
        parse_recipe(content)


def test_a_recipe_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        parse_recipe(MINIMAL).seed = 3


def test_overrides_reach_into_sections_and_stages():
    recipe = override(parse_recipe(MINIMAL), {"stages.0.epochs": 7, "backbone.width": 8, "seed": 2})
    assert recipe.stages[0].epochs == 7
    assert recipe.backbone.width == 8
    assert recipe.seed == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"stages.1.epochs": 2}, "no such key"),
        ({"stage.0.epochs": 2}, "no such key"),
        ({"backbone.depth": 2}, "unknown key"),
        ({"stages.0.epochs": "many"}, "stages.0.epochs"),
        ({"stages.0.relabel.share": 0.5}, "relabel is now pseudo_labels"),
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


def test_yaml_is_data_not_code(tmp_path):
    path = tmp_path / "evil.yaml"
    path.write_text("name: !!python/object/apply:os.getcwd []")
    with pytest.raises(InputError, match="not YAML"):
        load_recipe(path)


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

"""Configuration files: found, parsed, validated; errors in one line."""

import pytest

from hbac_utils.utils.config_io import StrictModel, find_config, read_config, validate
from hbac_utils.utils.errors import InputError


class Config(StrictModel):
    epochs: int
    rate: float = 0.1


@pytest.mark.parametrize(
    ("text", "content"),
    [("epochs: 3\nrate: 1.0e-3\n", {"epochs": 3, "rate": 1e-3}), ('{"epochs": 3}', {"epochs": 3})],
)
def test_yaml_and_json_are_read(text, content, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    assert read_config(path) == content


@pytest.mark.parametrize(
    "text", ["a: &x 1\nb: *x", "[" * 1000, "!!bool maybe", "!!python/object/apply:os.getcwd []"]
)
def test_unsafe_or_malformed_yaml_is_one_line(text, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"config\.yaml: not YAML \(") as caught:
        read_config(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epochs": 1, "speed": 2}, "unknown key speed"),
        ({}, "missing key epochs"),
        ({"epochs": 1, "rate": float("nan")}, "rate: Input should be a finite number"),
        ([], "Input should be a valid dictionary"),
    ],
)
def test_every_wrong_key_is_named(content, message):
    with pytest.raises(InputError, match=f"^here: {message}"):
        validate(Config, content, "here")


def test_a_bare_name_is_found_beside_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config("compact", "recipes", "recipe").is_file()
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "compact.yaml").touch()
    assert not find_config("compact", "recipes", "recipe").is_absolute(), "this folder's first"
    with pytest.raises(InputError, match=r"no such recipe; available: .*compact"):
        find_config("unknown", "recipes", "recipe")

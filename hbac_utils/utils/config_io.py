"""Find, read and validate configuration files (YAML or JSON), with one-line errors."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from hbac_utils.utils.errors import InputError, one_line
from hbac_utils.utils.files import find_resource

MAX_BYTES = 1_000_000  # of a file; the largest configuration, a blend of fifty members, has 20 kB


class StrictModel(BaseModel):
    """Base of all configuration sections: frozen, finite numbers, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Model = TypeVar("Model", bound=BaseModel)


def find_config(name: str | Path, folder: str, noun: str) -> Path:
    """Find a configuration file by its path, or a YAML file by its bare name in ``folder``.

    If there is none, an InputError calls it a ``noun`` and lists the available names.
    """
    path = Path(name)
    if not path.suffix:
        path = find_resource(Path(folder) / f"{path}.yaml")
    if not path.is_file():
        known = sorted(p.stem for p in path.parent.glob("*.yaml"))
        hint = f"; available: {', '.join(known)}" if known else ""
        raise InputError(f"{path}: no such {noun}{hint}")
    return path


def read_config(path: Path) -> object:
    """Read a YAML or JSON file; InputError if it is neither, too large, or has aliases."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: larger than {MAX_BYTES:,} bytes; is it the right file?")
        return parse_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML ({one_line(error)})") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


class _PlainLoader(yaml.SafeLoader):
    # nested aliases could expand to more than the memory holds
    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            anchor = self.peek_event().anchor
            raise yaml.YAMLError(f"*{anchor} is an alias; write the value out")
        return super().compose_node(parent, index)


def parse_yaml(text: str) -> object:
    """Parse plain YAML values; every failure is a ``yaml.YAMLError``."""
    try:
        return yaml.load(text, _PlainLoader)
    except yaml.YAMLError:
        raise
    except RecursionError:
        raise yaml.YAMLError("nested too deeply") from None
    except Exception as error:  # `!!bool maybe`, 2024-02-30
        raise yaml.YAMLError(f"{type(error).__name__}: {one_line(error)}") from None


def parse_json(text: str | bytes, source: str | Path) -> object:
    """Parse JSON; failures are an `InputError` that names ``source``."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: not JSON ({one_line(error)})") from None


def validate(kind: type[Model], content: object, source: str | Path) -> Model:
    """Build a model from parsed content; failures are an `InputError` that names each key."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(map(_describe, error.errors()))
        raise InputError(f"{source}: {problems}") from None


def _describe(problem: Mapping[str, Any]) -> str:
    key = ".".join(map(str, problem["loc"]))
    if problem["type"] in ("extra_forbidden", "missing"):
        return f"{'missing' if problem['type'] == 'missing' else 'unknown'} key {key}"
    message = problem["msg"].removeprefix("Value error, ")  # added by pydantic
    return f"{key}: {message}" if key else message

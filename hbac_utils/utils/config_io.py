"""Documents that people write, such as recipes: found, read, validated; errors in one line."""

import json
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from hbac_utils.utils.errors import InputError, one_line

LARGEST = 1_000_000
"""Bytes of a document: a blend of fifty members has 20,000."""


class Section(BaseModel):
    """A part of a document: frozen, numbers finite, and no key that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Document = TypeVar("Document", bound=BaseModel)


def find_document(name: str | Path, folder: str, noun: str) -> Path:
    """Find a document by its path, or its bare name among those of the kit.

    Parameters
    ----------
    name : str or Path
        A file, or without a suffix the name of a YAML file in the folder.
    folder : str
        Where the kit keeps such documents, such as ``recipes``: looked for here, then beside the
        package (in a kernel, and from another folder).
    noun : str
        What to call it in the message of an error.

    Raises
    ------
    InputError
        If there is none; those that there are are listed.
    """
    path = Path(name)
    if not path.suffix:
        place = Path(folder) / f"{path}.yaml"
        path = place if place.is_file() else Path(__file__).resolve().parents[1] / place
    if not path.is_file():
        known = sorted(p.stem for p in path.parent.glob("*.yaml"))
        hint = f"; there are {', '.join(known)}" if known else ""
        raise InputError(f"{path}: no such {noun}{hint}")
    return path


class PlainLoader(yaml.SafeLoader):
    """Reads values, and neither Python objects nor aliases.

    A few lines of aliases of aliases can stand for more values than a machine has memory for.
    """

    def compose_node(self, parent, index):
        """Compose a node, unless it is an alias."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(
                None, None, f"*{event.anchor} is an alias; write out what it stands for",
                event.start_mark,
            )  # fmt: skip
        return super().compose_node(parent, index)


def read_document(path: Path) -> object:
    """Read a document's content, in YAML or JSON.

    Raises
    ------
    InputError
        If it is neither, larger than any recipe, nested too deeply, or uses aliases.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path}: larger than {LARGEST:,} bytes; is it the right file?")
        return parse_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML ({one_line(error)})") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def parse_yaml(text: str) -> object:
    """Read values in YAML: no Python objects, no aliases.

    Raises
    ------
    yaml.YAMLError
    """
    try:
        return yaml.load(text, PlainLoader)
    except yaml.YAMLError:
        raise
    except RecursionError:
        raise yaml.YAMLError("nested too deeply") from None
    except Exception as error:  # what is no value of its tag: `!!bool maybe`, 2024-02-30
        raise yaml.YAMLError(f"{type(error).__name__}: {one_line(error)}") from None


def parse_json(text: str | bytes, source: str | Path) -> object:
    """Read a value in JSON; ``source`` names it in the message of an error.

    Raises
    ------
    InputError
        If it is none, or nested too deeply.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: not JSON ({one_line(error)})") from None


def validate(kind: type[Document], content: object, source: str | Path) -> Document:
    """Make a document of a content; ``source`` names it in the message of an error.

    Raises
    ------
    InputError
        If a key is unknown, missing or wrong: each is named.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{source}: {_describe(error)}") from None


def _describe(error: ValidationError) -> str:
    problems = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        said = problem["msg"].removeprefix("Value error, ")  # pydantic's, before a validator's own
        if problem["type"] == "extra_forbidden":
            problems.append(f"unknown key {key}")
        elif problem["type"] == "missing":
            problems.append(f"missing key {key}")
        else:
            problems.append(f"{key}: {said}" if key else said)
    return "; ".join(problems)

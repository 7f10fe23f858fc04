"""Build a kernel: a notebook with library and parameters, and its metadata, in one folder.

All checks that need no network are made here: Kaggle's answer to a mistake is often a notebook
that fails an hour later.
"""

import ast
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import papermill
import yaml
from papermill.translators import translate_parameters

from hbac_utils.kernels.api import ACCOUNT_PAGE
from hbac_utils.kernels.bundle import Bundle, bundle_library
from hbac_utils.kernels.metadata import KernelMetadata, load_metadata
from hbac_utils.notebooks import check_parameters
from hbac_utils.recipe import load_recipe, override
from hbac_utils.utils.config_io import parse_yaml
from hbac_utils.utils.errors import InputError
from hbac_utils.utils.resources import find_resource

BUILD = Path("build")
METADATA_FILE = "kernel-metadata.json"  # the name that the client expects

MAX_NOTEBOOK_BYTES = 1_000_000  # about; Kaggle does not document it

KAGGLE_PARAMETERS = {"training": {"max_hours": 8}}
"""Defaults of notebooks on Kaggle, where they differ. A session of a GPU notebook of a competition
ends after nine hours without output; the last epoch and the figures need some of them."""


@dataclass(frozen=True)
class Kernel:
    """A kernel that passed all checks that need no network."""

    name: str  # of the metadata, and of the folder under ``build``
    metadata: KernelMetadata  # with the placeholder ``USERNAME``
    notebook: nbformat.NotebookNode
    bundle: Bundle
    parameters: dict  # of the notebook, where they differ from its defaults

    @property
    def size(self) -> int:
        """Bytes of the notebook as the client sends it."""
        return len(json.dumps(self.notebook))

    def write(self, username: str, secrets: tuple[str, ...], build: Path = BUILD) -> Path:
        """Write the folder ``build/{name}`` that the client pushes, for a user.

        Raises
        ------
        InputError
            If the kernel belongs to somebody else, or notebook or library contain a secret.
        """
        metadata = self.metadata.for_user(username)
        content = nbformat.writes(self.notebook) + "\n"
        if any(secret in content or self.bundle.contains(secret) for secret in secrets):
            raise InputError(
                f"{self.name}: the notebook or the library contains your Kaggle credentials; "
                f"remove them, and make new ones at {ACCOUNT_PAGE} if they were pushed"
            )
        folder = build / self.name
        folder.mkdir(parents=True, exist_ok=True)
        notebook = folder / Path(self.metadata.code_file).name
        notebook.write_text(content, encoding="utf-8")
        metadata.write(folder / METADATA_FILE, notebook.name)
        return folder


def metadata_path(name: str) -> Path:
    """Path of a kernel's metadata: in the root for ``inference``, else beside the notebooks."""
    own = METADATA_FILE if name == "inference" else f"notebooks/{name}-{METADATA_FILE}"
    return find_resource(own)


def load_source(name: str) -> tuple[KernelMetadata, Path]:
    """Read a kernel's metadata and get the path of its notebook."""
    path = metadata_path(name)
    metadata = load_metadata(path)
    return metadata, path.parent / metadata.code_file


def build_kernel(name: str, parameters: dict[str, object], title: str = "") -> Kernel:
    """Put library and parameters into a notebook, and check all that needs no network.

    Parameters
    ----------
    name : str
        ``inference``, ``training``, ``eda``, or another with a
        ``notebooks/{name}-kernel-metadata.json``.
    parameters : dict
        Of the notebook, as `parse_settings` returns them.
    title : str
        Of another kernel of the same notebook; the metadata's by default.

    Raises
    ------
    InputError
        If metadata, notebook, a parameter or the recipe is missing or wrong, or the notebook is
        too large.
    """
    metadata, source = load_source(name)
    check_parameters(source, parameters)
    parameters = KAGGLE_PARAMETERS.get(source.stem, {}) | parameters
    if title:
        metadata = metadata.with_title(title)
    metadata = metadata.with_models(_pretrained_models(source, parameters, metadata))
    bundle = bundle_library()
    kernel = Kernel(name, metadata, _assemble(source, parameters, bundle), bundle, parameters)
    if kernel.size > MAX_NOTEBOOK_BYTES:
        raise InputError(
            f"{source}: {kernel.size:,} bytes with the library, and Kaggle takes "
            f"{MAX_NOTEBOOK_BYTES:,}; remove images or tables from its markdown cells"
        )
    return kernel


def parse_settings(notebook: Path, settings: list[str]) -> dict[str, object]:
    """Convert ``name=value`` texts to the types of a notebook's parameters.

    Texts need no quotes; numbers, truth values, lists and dictionaries are written as in YAML.

    Raises
    ------
    InputError
        If a setting has no ``=``, the notebook has no such parameter, or the value has another
        type than the parameter's default.
    """
    texts = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise InputError(f"setting {setting!r}: write name=value")
        texts[key.strip()] = text
    check_parameters(notebook, texts)
    defaults = _defaults(notebook)
    return {key: _convert(key, text, defaults[key]) for key, text in texts.items()}


def _defaults(notebook: Path) -> dict[str, object]:
    parameters = papermill.inspect_notebook(notebook)
    return {name: ast.literal_eval(found["default"]) for name, found in parameters.items()}


def _convert(key: str, text: str, default: object) -> object:
    if isinstance(default, str):
        return text
    try:
        value = parse_yaml(text)
    except yaml.YAMLError:
        value = text
    # exact types, since True is an int in Python; a whole number is fine for a float
    accepted = {int, float} if isinstance(default, float) else {type(default)}
    if type(value) not in accepted:
        raise InputError(
            f"setting {key}={text}: {type(value).__name__}, and the parameter is "
            f"{type(default).__name__} (its default is {default!r})"
        )
    return value


def _pretrained_models(source: Path, parameters: dict, metadata: KernelMetadata) -> list[str]:
    """Check a training notebook's recipe, and list the Kaggle models that it needs."""
    values = _defaults(source) | parameters
    if "recipe" not in values:
        return []
    name = values["recipe"]
    if name.startswith("/kaggle/"):  # in an attached data set
        return []
    if Path(name).suffix:
        raise InputError(
            f"setting recipe={name}: only the recipes in recipes/ are part of the library; put it "
            "there and give its bare name"
        )
    recipe = override(load_recipe(name), values["overrides"])
    pretrained: list[Any] = [
        branch.backbone
        for branch in recipe.all_branches
        if getattr(branch.backbone, "weights", "none") == "imagenet"
    ]
    if not pretrained or metadata.enable_internet:
        return []
    from hbac_utils.models.pretrained import kaggle_handle  # imports TensorFlow

    return [kaggle_handle(backbone) for backbone in pretrained]


def _assemble(source: Path, parameters: dict, bundle: Bundle) -> nbformat.NotebookNode:
    """Read a notebook, remove its outputs, and insert library and parameters."""
    notebook = nbformat.read(source, as_version=4)
    python = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata.setdefault("kernelspec", python)  # a push fails without it
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    if parameters:
        code = translate_parameters("python3", "python", parameters, "set by `make stage`")
        metadata = {"tags": ["injected-parameters"]}  # as papermill does
        cell = nbformat.v4.new_code_cell(code, metadata=metadata, id="hbac-parameters")
        tags = [cell.metadata.get("tags") for cell in notebook.cells]
        notebook.cells.insert(tags.index(["parameters"]) + 1, cell)
    notebook.cells.insert(0, bundle.cell())
    nbformat.validate(notebook)
    return notebook

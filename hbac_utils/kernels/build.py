"""Build a kernel: a notebook with library and parameters, and its metadata, in one folder."""

import base64
import hashlib
import io
import json
import lzma
import os
import subprocess
import tarfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import yaml
from papermill.translators import translate_parameters

from hbac_utils import __version__
from hbac_utils.ensembling.pooling import load_blend
from hbac_utils.environment import DEFAULT_RECIPES
from hbac_utils.kernels.api import ACCOUNT_PAGE
from hbac_utils.kernels.metadata import KernelMetadata, load_metadata
from hbac_utils.notebooks import check_parameters, read_parameters
from hbac_utils.parts import KerasApplication, Pretrained
from hbac_utils.recipe import SHIPPED, load_recipe, override
from hbac_utils.recipe import check_parameters as check_training
from hbac_utils.registry import Backbone
from hbac_utils.utils.config_io import parse_yaml
from hbac_utils.utils.errors import InputError
from hbac_utils.utils.files import PACKAGE, find_resource, resource_root

BUILD = Path("build")
METADATA_FILE = "kernel-metadata.json"  # the name that the client expects

MAX_NOTEBOOK_BYTES = 1_000_000  # about; Kaggle does not document it

MAX_HOURS = 8  # of a training; leaves time for packing, the last epoch and the figures
PLACES = ("data", "store", "run", "out", "recipe", "blend")  # parameters
NOT_EMBEDDED = (
    "the model in the package is too large to be embedded; attach the library as a data set (make "
    "wheel-dataset)"
)

# what no notebook imports
EXCLUDED = (
    "sweeps", "kernels", "recording", "cli.py", "__main__.py", "notebooks.py", "utils/commands.py",
    "ensembling/blend.py", "ensembling/members.py", "ensembling/optimize.py",
    "plots/recordings.py", "plots/eeg_pages.py",
    "synthetic/hours.py", "synthetic/timeline.py", "synthetic/truth.py", "synthetic/edf.py",
)  # fmt: skip

CELL = '''\
# hbac_utils {version}, commit {commit}: the library, embedded by `make stage`
import base64, hashlib, io, os, sys, tarfile, tempfile

_library = base64.b64decode("""
{library}
""")
_sha256 = hashlib.sha256(_library).hexdigest()
if _sha256 != "{sha256}":
    raise RuntimeError(f"the embedded library is damaged ({{_sha256}}): stage and push again")
_folder = tempfile.mkdtemp(prefix="hbac_utils-")  # the working folder is saved as output
tarfile.open(fileobj=io.BytesIO(_library)).extractall(_folder, filter="data")
sys.path.insert(0, _folder)
os.environ["PYTHONPATH"] = os.pathsep.join([_folder, *filter(None, [os.environ.get("PYTHONPATH")])])
del _library
print(f"hbac_utils {version}, commit {commit}, sha256 {{_sha256[:12]}}, in {{_folder}}")
'''


@dataclass(frozen=True)
class Bundle:
    """The library as a compressed archive, and the state of its repository."""

    data: bytes  # equal files give equal bytes; empty if a data set has the library
    commit: str  # with "+changes" if the library differs from it
    changed: tuple[str, ...] = ()  # paths that differ from the commit

    @property
    def sha256(self) -> str:
        """Checksum of the archive, hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()

    def contains(self, text: str) -> bool:
        """Search the files of the library for a text."""
        return bool(self.data) and text.encode() in lzma.decompress(self.data)

    def cell(self) -> nbformat.NotebookNode:
        """Code cell that verifies the archive, unpacks it and puts it on ``sys.path``."""
        library = base64.encodebytes(self.data).decode().strip()
        source = CELL.format(
            version=__version__, commit=self.commit, library=library, sha256=self.sha256
        )
        hidden = {"_kg_hide-input": True, "jupyter": {"source_hidden": True}, "tags": ["library"]}
        return nbformat.v4.new_code_cell(source, metadata=hidden, id="library")


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

        Raises InputError if the kernel is somebody else's, or notebook or library hold a secret.
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
        code_file = Path(metadata.code_file).name
        (folder / code_file).write_text(content, encoding="utf-8")
        metadata = metadata.model_copy(update={"code_file": code_file})
        text = metadata.model_dump_json(indent=2, exclude_defaults=True)
        (folder / METADATA_FILE).write_text(text + "\n", encoding="utf-8")
        return folder


def metadata_path(name: str) -> Path:
    """Path of a kernel's metadata: in the root for ``inference``, else beside the notebooks."""
    own = METADATA_FILE if name == "inference" else f"notebooks/{name}-{METADATA_FILE}"
    return find_resource(own)


def build_kernel(name: str, parameters: dict[str, object], title: str = "") -> Kernel:
    """Put library and parameters into a notebook, and check all that needs no network.

    ``name`` is ``inference``, or that of a ``notebooks/{name}-kernel-metadata.json``. A text for a
    parameter whose default is no text is parsed as YAML. Another ``title`` makes another kernel of
    the same notebook. Raises InputError for every mistake found: Kaggle's answer to one is often a
    notebook that fails an hour later.
    """
    path, parameters = metadata_path(name), dict(parameters)
    metadata = load_metadata(path, title)
    source = path.parent / metadata.code_file
    defaults = read_parameters(source)
    for key in [key for key in parameters if key in defaults]:
        parameters[key] = _convert(key, parameters[key], defaults[key])
    if "max_hours" in defaults:
        parameters.setdefault("max_hours", MAX_HOURS)
    check_parameters(source, parameters)
    for key, value in parameters.items():
        if problem := _problem(key, value, metadata):
            raise InputError(f"setting {key}={value}: {problem}")
    if "recipe" in defaults:
        metadata = _attach_weights(metadata, _check_recipe(defaults | parameters, metadata))
    data_set = metadata.library
    bundle = Bundle(b"", f"of data set {data_set}") if data_set else bundle_library()
    kernel = Kernel(name, metadata, _assemble(source, parameters, bundle), bundle, parameters)
    if kernel.size > MAX_NOTEBOOK_BYTES:
        raise InputError(
            f"{source}: {kernel.size:,} bytes with the library, and Kaggle takes "
            f"{MAX_NOTEBOOK_BYTES:,}; remove images or tables from its markdown cells"
        )
    return kernel


def _convert(key: str, value: object, default: object) -> object:
    """Parse a text, unless the parameter is a text; check that value and default are alike."""
    if isinstance(value, str) and not isinstance(default, str):
        with suppress(yaml.YAMLError):
            value = parse_yaml(value)
    # exact types, since True is an int in Python; a whole number is fine for a float
    accepted = {int, float} if isinstance(default, float) else {type(default)}
    if type(value) not in accepted:
        raise InputError(
            f"setting {key}={value}: {type(value).__name__}, and the parameter is "
            f"{type(default).__name__} (its default is {default!r})"
        )
    return value


def _problem(key: str, value: Any, metadata: KernelMetadata) -> str:
    """Say why a parameter's value would fail on Kaggle; empty if nothing is known against it."""
    if key == "max_hours" and not 0 < value < metadata.session_hours:
        return (
            f"a session on Kaggle ends after {metadata.session_hours} hours and keeps nothing; "
            "give fewer, and more than 0"
        )
    if key == "blend" and value.lstrip().startswith("{"):
        load_blend(value)
    elif key == "blend" and value and not value.startswith("/kaggle/"):
        return "not on Kaggle; BLEND=… sends the file"
    elif key == "run" and value == SHIPPED:
        return "" if metadata.library else NOT_EMBEDDED
    elif key in PLACES and value and (key != "recipe" or value.startswith("/")):
        return _missing(value, metadata)
    return ""


def _missing(place: str, metadata: KernelMetadata) -> str:
    """Say why a file or folder will not be there on Kaggle; empty if it may be."""
    if not place.startswith("/kaggle/"):
        return "not on Kaggle, where inputs are in /kaggle/input"
    if place.startswith("/kaggle/input/") and metadata.slugs.isdisjoint(place.split("/")):
        return "no such source is attached; add it to the kernel's metadata"
    return ""


def _attach_weights(metadata: KernelMetadata, backbones: list[Backbone]) -> KernelMetadata:
    """Attach KerasCV's models, and switch on the internet for what Keras downloads itself."""
    models = [part.kaggle_handle for part in backbones if isinstance(part, Pretrained)]
    downloads = any(isinstance(part, KerasApplication) for part in backbones)
    changes = {
        "model_sources": tuple(dict.fromkeys((*metadata.model_sources, *models))),
        "enable_internet": metadata.enable_internet or downloads,
    }
    return metadata.model_copy(update=changes)


def _check_recipe(parameters: dict, metadata: KernelMetadata) -> list[Backbone]:
    """Check recipe and folds of a training; list the backbones that start from ImageNet."""
    name = parameters["recipe"] or DEFAULT_RECIPES[metadata.enable_gpu]
    if name.startswith("/kaggle/"):  # in an attached data set
        return []
    if Path(name).suffix:
        raise InputError(
            f"setting recipe={name}: only the recipes in recipes/ are part of the library; put it "
            "there and give its bare name"
        )
    recipe = override(load_recipe(name), parameters["overrides"])
    check_training(recipe, parameters["folds"])
    backbones: list[Any] = [branch.backbone for branch in recipe.all_branches]
    weights = [getattr(backbone, "weights", "none") for backbone in backbones]
    labels = [stage.pseudo_labels for stage in recipe.stages if stage.pseudo_labels]
    places = [("backbone.weights", own) for own in weights if own not in ("none", "imagenet")]
    if recipe.weights == SHIPPED and not metadata.library:
        raise InputError(f"recipe {name}: weights {SHIPPED}: {NOT_EMBEDDED}")
    places += [("weights", recipe.weights)] if recipe.weights not in ("", SHIPPED) else []
    places += [("pseudo_labels.runs", run) for label in labels for run in label.runs]
    for key, place in places:
        if problem := _missing(place, metadata):
            raise InputError(f"recipe {name}: {key} {place}: {problem}")
    return [part for part in backbones if getattr(part, "weights", "") == "imagenet"]


def _assemble(source: Path, parameters: dict, bundle: Bundle) -> nbformat.NotebookNode:
    """Read a notebook, remove its outputs, and insert library and parameters."""
    notebook = nbformat.read(source, as_version=4)
    python = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata.setdefault("kernelspec", python)  # a push fails without it
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    tags = [cell.metadata.get("tags") for cell in notebook.cells]
    if parameters:
        code = translate_parameters("python3", "python", parameters, "set by `make stage`")
        metadata = {"tags": ["injected-parameters"]}  # as papermill does
        cell = nbformat.v4.new_code_cell(code, metadata=metadata, id="hbac-parameters")
        notebook.cells.insert(tags.index(["parameters"]) + 1, cell)
    if bundle.data:  # in place of the cell that searches for the library
        notebook.cells[tags.index(["library"])] = bundle.cell()
    return notebook


def bundle_library(package: Path = PACKAGE) -> Bundle:
    """Pack what the notebooks need of the library, its recipes and those of the working folder."""
    excluded = tuple(Path(package.name, part) for part in EXCLUDED)
    modules = {path.relative_to(package.parent): path for path in package.glob("**/*.py")}
    files = {
        name: path for name, path in modules.items() if not any(map(name.is_relative_to, excluded))
    }
    for folder in (resource_root() / "recipes", Path("recipes")):
        files |= {Path("recipes", path.name): path for path in folder.glob("*.yaml")}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz", preset=9) as archive:
        for name in sorted(files):
            entry, content = tarfile.TarInfo(name.as_posix()), files[name].read_bytes()
            entry.size = len(content)  # no time, no owner: equal files give equal bytes
            archive.addfile(entry, io.BytesIO(content))
    commit, changed = _git_state(package)
    return Bundle(buffer.getvalue(), f"{commit}+changes" if changed else commit, changed)


def _git_state(package: Path) -> tuple[str, tuple[str, ...]]:
    """Commit of the library's repository, and the changed paths of what is pushed."""
    if (package / "_resources").is_dir():
        return "release", ()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(package.parent), *arguments]
        options: dict = {"capture_output": True, "text": True, "check": True}
        return subprocess.run(command, env=environment, **options).stdout

    sent = ("hbac_utils", "recipes", "notebooks")
    try:
        if git("rev-parse", "--show-prefix").strip():  # a folder in somebody else's repository
            return "unknown", ("no git repository of its own",)
        commit = git("rev-parse", "--short", "HEAD").strip()
        changed = git("status", "--porcelain", "--untracked-files=all", "--", *sent)
    except (OSError, subprocess.CalledProcessError):
        return "unknown", ("no git repository",)
    return commit, tuple(line[3:] for line in changed.splitlines())

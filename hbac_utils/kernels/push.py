"""A kernel as it will be pushed: a notebook that carries library and parameters, and its metadata.

Everything that can be wrong is found here, before anything is sent: Kaggle's own answer to a
mistake is often a notebook that fails an hour later.
"""

import ast
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import papermill
import yaml
from papermill.translators import translate_parameters
from pydantic import BaseModel, ConfigDict, ValidationError

from hbac_utils.kernels.api import ACCESS, RULES, Kaggle, KaggleError, wait
from hbac_utils.kernels.bundle import Bundle, pack_library
from hbac_utils.kernels.metadata import KernelMetadata, load_metadata
from hbac_utils.notebooks import check_parameters
from hbac_utils.recipe import load_recipe, override
from hbac_utils.utils.config_io import parse_yaml
from hbac_utils.utils.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path("build")
FILE = "kernel-metadata.json"  # the name that the client looks for

LIMIT = 1_000_000  # bytes of a notebook that Kaggle takes, about

SESSION = {"training": {"max_hours": 8}}
"""What differs on Kaggle from a notebook's own defaults. A session of a GPU notebook of a
competition ends after nine hours, and nothing of it is kept; the last epoch and the figures
need some of them."""


@dataclass(frozen=True)
class Draft:
    """A kernel that passed all checks that need no network.

    Attributes
    ----------
    name : str
        Of the metadata, and of the folder under ``build``.
    metadata : KernelMetadata
        Still with ``USERNAME`` in it.
    notebook : NotebookNode
    bundle : Bundle
    parameters : dict
        As injected.
    """

    name: str
    metadata: KernelMetadata
    notebook: nbformat.NotebookNode
    bundle: Bundle
    parameters: dict

    @property
    def size(self) -> int:
        """Bytes of the notebook as the client sends it."""
        return len(_as_sent(self.notebook))


def metadata_path(name: str, root: Path = ROOT) -> Path:
    """Say where a kernel's metadata lies: at the root for ``inference``, else beside notebooks."""
    return root / FILE if name == "inference" else root / "notebooks" / f"{name}-{FILE}"


def draft(name: str, parameters: dict[str, object], root: Path = ROOT, title: str = "") -> Draft:
    """Prepare a kernel, and check all that can be checked without a network.

    Parameters
    ----------
    name : str
        ``inference``, ``training``, ``eda``, or whatever has a
        ``notebooks/{name}-kernel-metadata.json``.
    parameters : dict
        Of the notebook, as far as they differ from its defaults; `parse_settings` reads them.
    root : Path
        A clone of the repository.
    title : str
        Makes another kernel of the same notebook; the metadata's by default.

    Raises
    ------
    InputError
        If metadata, notebook, a parameter or the recipe is missing or wrong, or the notebook
        is too large.
    """
    metadata, source = described(name, root)
    check_parameters(source, parameters)
    parameters = SESSION.get(source.stem, {}) | parameters
    if title:
        metadata = metadata.retitled(title)
    metadata = metadata.with_models(_pretrained_models(source, parameters, metadata))
    bundle = pack_library(root)
    made = Draft(name, metadata, _assembled(source, parameters, bundle), bundle, parameters)
    if made.size > LIMIT:
        raise InputError(
            f"{source}: {made.size:,} bytes with the library, and Kaggle takes {LIMIT:,}; take "
            "images or tables out of its markdown cells"
        )
    return made


def described(name: str, root: Path = ROOT) -> tuple[KernelMetadata, Path]:
    """Read a kernel's metadata, and say where its notebook lies."""
    path = metadata_path(name, root)
    metadata = load_metadata(path)
    return metadata, path.parent / metadata.code_file


def parse_settings(notebook: Path, settings: list[str]) -> dict:
    """Read ``name=value`` texts as values of the types that a notebook's parameters have.

    Parameters
    ----------
    notebook : Path
    settings : list of str
        A text needs no quotes; numbers, truth values, lists and dictionaries are written as in
        YAML.

    Returns
    -------
    dict

    Raises
    ------
    InputError
        If a setting has no ``=``, the notebook has no such parameter, or the value is of
        another type than the parameter's default.
    """
    texts = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise InputError(f"setting {setting!r}: write name=value")
        texts[key.strip()] = text
    check_parameters(notebook, texts)
    known = papermill.inspect_notebook(notebook)
    return {
        key: _converted(key, text, ast.literal_eval(known[key]["default"]))
        for key, text in texts.items()
    }


def _converted(key: str, text: str, default: object) -> object:
    if isinstance(default, str):
        return text
    try:
        value = parse_yaml(text)
    except yaml.YAMLError:
        value = text
    # exact types: True is an int to Python, and a whole number will do for a float
    accepted = {int, float} if isinstance(default, float) else {type(default)}
    if type(value) not in accepted:
        raise InputError(
            f"setting {key}={text}: {type(value).__name__}, and the parameter is "
            f"{type(default).__name__} (its default is {default!r})"
        )
    return value


def _pretrained_models(source: Path, parameters: dict, metadata: KernelMetadata) -> list[str]:
    """Check the recipe that a training notebook will run, and name the models that it needs."""
    known = papermill.inspect_notebook(source)
    if "recipe" not in known:
        return []
    values = {key: ast.literal_eval(known[key]["default"]) for key in ("recipe", "overrides")}
    values |= parameters
    name = values["recipe"]
    if name.startswith("/kaggle/"):  # of an attached data set
        return []
    if Path(name).suffix:
        raise InputError(
            f"setting recipe={name}: only the recipes in recipes/ travel with the library; put it "
            "there and give its bare name"
        )
    recipe = override(load_recipe(name), values["overrides"])
    pretrained = [
        look.backbone
        for look in recipe.looks
        if getattr(look.backbone, "weights", "none") == "imagenet"
    ]
    if not pretrained or metadata.enable_internet:
        return []
    from hbac_utils.models.backbones import kaggle_handle  # starts TensorFlow

    return [kaggle_handle(backbone) for backbone in pretrained]


def _assembled(source: Path, parameters: dict, bundle: Bundle) -> nbformat.NotebookNode:
    """Put library and parameters into a notebook, and what a run left out of it."""
    notebook = nbformat.read(source, as_version=4)
    python = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata.setdefault("kernelspec", python)  # without it a push fails
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    if parameters:
        code = translate_parameters("python3", "python", parameters, "set by `make stage`")
        tags = {"tags": ["injected-parameters"]}  # where papermill would put them, and look again
        cell = nbformat.v4.new_code_cell(code, metadata=tags, id="hbac-parameters")
        notebook.cells.insert(_parameters_cell(notebook) + 1, cell)
    notebook.cells.insert(0, bundle.cell())
    nbformat.validate(notebook)
    return notebook


def _parameters_cell(notebook: nbformat.NotebookNode) -> int:
    tagged = (
        i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", [])
    )
    return next(tagged)


def _as_sent(notebook: nbformat.NotebookNode) -> str:
    # as the client makes it: sources joined, everything beyond ASCII escaped
    return json.dumps(notebook)


def write_draft(made: Draft, username: str, secrets: tuple[str, ...], build: Path = BUILD) -> Path:
    """Write a draft as the folder that the client pushes.

    Parameters
    ----------
    made : Draft
    username : str
        Whose kernel it is to be; stands in the written metadata alone.
    secrets : tuple of str
        What must not be in it: the user's credentials.
    build : Path

    Returns
    -------
    Path
        ``build/{name}``.

    Raises
    ------
    InputError
        If the kernel belongs to somebody else, or a secret stands in the notebook or library.
    """
    metadata = made.metadata.resolved(username)
    content = nbformat.writes(made.notebook) + "\n"
    if any(secret in content or made.bundle.holds(secret) for secret in secrets):
        raise InputError(
            f"{made.name}: your Kaggle credentials stand in the notebook or in the library; take "
            "them out, and make new ones at https://www.kaggle.com/settings if they were pushed"
        )
    folder = build / made.name
    folder.mkdir(parents=True, exist_ok=True)
    notebook = folder / Path(made.metadata.code_file).name
    notebook.write_text(content, encoding="utf-8")
    metadata.write(folder / FILE, notebook.name)
    return folder


RECORD = "pushed.json"

FAILED = ("ERROR", "CANCEL_REQUESTED", "CANCEL_ACKNOWLEDGED")
ENDED = ("COMPLETE", *FAILED)

SOURCES = {
    "invalid_competition_sources": f"accept the competition's rules ({RULES})",
    "invalid_kernel_sources": "push that kernel first and wait until it is COMPLETE",
    "invalid_dataset_sources": "compare the name with the data set's address",
    "invalid_model_sources": "compare the handle with the model's page, and accept its licence",
    "invalid_tags": "take the keyword out",
}
"""What Kaggle leaves out of a version without calling that an error, and what to do."""

BUSY = "session count"
"""Words of Kaggle's error where an account has as many sessions as it may."""

ERRORS = {
    BUSY: "wait until one of your sessions has ended, or end it at https://www.kaggle.com/code",
    "quota": "wait for the week to end ({access} shows it), or set enable_gpu to false in {file}",
    "title": "choose another title and id in {file}",
    "slug": "choose another title and id in {file}",
    "phone": "verify your phone number at {access}",
    "verif": "verify your account at {access}",
    "rules": "accept the competition's rules ({rules})",
}
"""Words of Kaggle's errors, and remedies."""


class Pushed(BaseModel):
    """A version on Kaggle: what ``build/{name}/pushed.json`` holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kernel: str  # owner/slug
    version: int
    url: str
    pushed: str  # when, ISO 8601
    commit: str  # of the library in it
    library_sha256: str
    parameters: dict[str, Any]
    submission: int = 0  # Kaggle's number of it, once it is submitted


def push(kaggle: Kaggle, made: Draft, folder: Path) -> Pushed:
    """Push a staged kernel and record the version.

    Parameters
    ----------
    kaggle : Kaggle
    made : Draft
    folder : Path
        As `write_draft` left it.

    Raises
    ------
    KaggleError
        If Kaggle does not take it, or takes it without one of its sources.
    """
    answer = kaggle.push(folder)
    file = metadata_path(made.name)
    if answer.error:
        raise KaggleError(f"not pushed: {answer.error.strip()} {_remedy(answer.error, file)}")
    missing = {key: value for key in SOURCES if (value := getattr(answer, key))}
    if missing:
        listed = "; ".join(
            f"{key.removeprefix('invalid_').replace('_', ' ')} {', '.join(value)}: {SOURCES[key]}"
            for key, value in missing.items()
        )
        raise KaggleError(
            f"version {answer.version_number} was saved without what it needs ({listed}); stop it "
            f"at {answer.url}, correct {file.name}, push again"
        )
    if not answer.version_number:
        raise KaggleError(f"Kaggle named no version: look at {answer.url}, then push again")
    metadata = made.metadata.resolved(kaggle.username)
    pushed = Pushed(
        kernel=metadata.id,
        version=answer.version_number,
        url=answer.url,
        pushed=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=made.bundle.label,
        library_sha256=made.bundle.sha256,
        parameters=made.parameters,
    )
    write_record(pushed, folder)
    return pushed


def _remedy(error: str, file: Path) -> str:
    for word, remedy in ERRORS.items():
        if word in error.lower():
            return f"({remedy.format(access=ACCESS, rules=RULES, file=file.name)})"
    return "(correct that, then push again)"


def is_busy(error: KaggleError) -> bool:
    """Tell whether a push was refused for as long as other sessions of the account run."""
    return BUSY in str(error).lower()


def write_record(pushed: Pushed, folder: Path) -> None:
    """Write ``pushed.json``."""
    text = json.dumps(pushed.model_dump(), indent=2, ensure_ascii=False)
    (folder / RECORD).write_text(text + "\n", encoding="utf-8")


def read_record(name: str, build: Path = BUILD) -> Pushed:
    """Read what was pushed last under a name.

    Raises
    ------
    InputError
        If nothing was, or the record is damaged.
    """
    path = build / name / RECORD
    if not path.is_file():
        raise InputError(f"{path}: nothing was pushed from here; make push NB={name}")
    try:
        return Pushed.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError:
        raise InputError(f"{path}: damaged; make push NB={name} writes it anew") from None


def wait_until_complete(kaggle: Kaggle, pushed: Pushed, minutes: float, every: float) -> None:
    """Wait until a version has run.

    Raises
    ------
    KaggleError
        If it ended otherwise than COMPLETE, or not in time.
    """
    messages = []

    def ask() -> str:
        state, message = kaggle.status(pushed.kernel, pushed.version)
        messages.append(message)
        return state

    state = wait(f"{pushed.kernel} version {pushed.version}", ask, ENDED, minutes, every)
    if state in FAILED:
        said = f" ({messages[-1].strip()})" if messages[-1] else ""
        raise KaggleError(
            f"{pushed.kernel} version {pushed.version} ended with {state}{said}: make logs says "
            f"where; {pushed.url}"
        )


def read_log(kaggle: Kaggle, pushed: Pushed) -> str:
    """Fetch what a version printed, as plain text."""
    _, log = kaggle.outputs(pushed.kernel, pushed.version)
    try:
        return "".join(str(event["data"]) for event in json.loads(log))
    except (ValueError, TypeError, KeyError):
        return log  # not in the form of events


def fetch_output(
    kaggle: Kaggle, pushed: Pushed, folder: Path, only: tuple[str, ...] = ()
) -> list[Path]:
    """Fetch the files that a version wrote; those that are complete already are left.

    Parameters
    ----------
    kaggle : Kaggle
    pushed : Pushed
    folder : Path
    only : tuple of str
        Which files; all by default.

    Returns
    -------
    list of Path

    Raises
    ------
    KaggleError
        If a file cannot be fetched, or its name leads out of the folder.
    """
    files, _ = kaggle.outputs(pushed.kernel, pushed.version)
    fetched = []
    for name in sorted(set(files) & set(only) if only else files):
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise KaggleError(f"output {name} would lie outside {folder}; fetch it by hand")
        response = kaggle.open_file(files[name], name)
        size = response.headers.get("Content-Length")
        if path.is_file() and size is not None and path.stat().st_size == int(size):
            response.close()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            kaggle.fetch(response, path)
        fetched.append(path)
    return fetched

"""A pushed version: recorded, waited for, its log and its output fetched."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from hbac_utils.errors import InputError
from hbac_utils.kernels.client import Kaggle
from hbac_utils.kernels.connection import ACCESS, RULES, KaggleError
from hbac_utils.kernels.staging import BUILD, Draft, metadata_path
from hbac_utils.kernels.waiting import wait

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

"""Push a kernel, record its version, wait for it, and fetch its log and output."""

import json
import sys
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from hbac_utils.kernels.api import ACCOUNT_PAGE, RULES_PAGE, Kaggle, KaggleError
from hbac_utils.kernels.build import BUILD, Kernel, metadata_path
from hbac_utils.utils.errors import InputError

RECORD_FILE = "pushed.json"

FAILED_STATES = ("ERROR", "CANCEL_REQUESTED", "CANCEL_ACKNOWLEDGED")
FINAL_STATES = ("COMPLETE", *FAILED_STATES)

INVALID_SOURCES = {
    "invalid_competition_sources": f"accept the competition's rules ({RULES_PAGE})",
    "invalid_kernel_sources": "push that kernel first and wait until it is COMPLETE",
    "invalid_dataset_sources": "compare the name with the data set's address",
    "invalid_model_sources": "compare the handle with the model's page, and accept its licence",
    "invalid_tags": "remove the keyword",
}
"""Fields of the answer to a push that list what Kaggle left out, without an error; remedies."""

SESSION_LIMIT = "session count"
"""Words of Kaggle's error if the account has as many sessions as allowed."""

PUSH_REMEDIES = {
    SESSION_LIMIT: "wait until a session has ended, or end it at https://www.kaggle.com/code",
    "quota": "wait for the week to end ({account} shows it), or set enable_gpu to false in {file}",
    "title": "choose another title and id in {file}",
    "slug": "choose another title and id in {file}",
    "phone": "verify your phone number at {account}",
    "verif": "verify your account at {account}",
    "rules": "accept the competition's rules ({rules})",
}
"""Words of Kaggle's errors, and remedies."""


class PushedVersion(BaseModel):
    """A version of a kernel on Kaggle, as recorded in ``build/{name}/pushed.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kernel: str  # owner/slug
    version: int
    url: str
    pushed: str  # time, ISO 8601
    commit: str  # of the embedded library
    library_sha256: str
    parameters: dict[str, Any]
    submission: int = 0  # Kaggle's number of it, once it is submitted


def push(kaggle: Kaggle, kernel: Kernel, folder: Path) -> PushedVersion:
    """Push a kernel's folder, as `Kernel.write` wrote it, and record the version.

    Raises
    ------
    KaggleError
        If Kaggle refuses it, or saves it without one of its sources.
    """
    answer = kaggle.push(folder)
    file = metadata_path(kernel.name).name
    if answer.error:
        raise KaggleError(f"not pushed: {answer.error.strip()} ({_remedy(answer.error, file)})")
    left_out = {key: value for key in INVALID_SOURCES if (value := getattr(answer, key))}
    if left_out:
        listed = "; ".join(
            f"{key.removeprefix('invalid_').replace('_', ' ')} {', '.join(value)}: "
            f"{INVALID_SOURCES[key]}"
            for key, value in left_out.items()
        )
        raise KaggleError(
            f"version {answer.version_number} was saved without some of its sources ({listed}); "
            f"stop it at {answer.url}, correct {file}, push again"
        )
    if not answer.version_number:
        raise KaggleError(f"Kaggle returned no version: look at {answer.url}, then push again")
    pushed = PushedVersion(
        kernel=kernel.metadata.for_user(kaggle.username).id,
        version=answer.version_number,
        url=answer.url,
        pushed=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=kernel.bundle.label,
        library_sha256=kernel.bundle.sha256,
        parameters=kernel.parameters,
    )
    write_record(pushed, folder)
    return pushed


def _remedy(error: str, file: str) -> str:
    for words, remedy in PUSH_REMEDIES.items():
        if words in error.lower():
            return remedy.format(account=ACCOUNT_PAGE, rules=RULES_PAGE, file=file)
    return "correct that, then push again"


def is_session_limit(error: KaggleError) -> bool:
    """Whether a push was refused because the account has too many running sessions."""
    return SESSION_LIMIT in str(error).lower()


def write_record(pushed: PushedVersion, folder: Path) -> None:
    """Write ``pushed.json`` into a kernel's folder."""
    text = json.dumps(pushed.model_dump(), indent=2, ensure_ascii=False)
    (folder / RECORD_FILE).write_text(text + "\n", encoding="utf-8")


def read_record(name: str, build: Path = BUILD) -> PushedVersion:
    """Read which version of a kernel was pushed last.

    Raises
    ------
    InputError
        If none was, or the record is damaged.
    """
    path = build / name / RECORD_FILE
    if not path.is_file():
        raise InputError(f"{path}: nothing was pushed from here; run make push NB={name}")
    try:
        return PushedVersion.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError:
        raise InputError(f"{path}: damaged; make push NB={name} writes it again") from None


def wait_until_complete(
    kaggle: Kaggle, pushed: PushedVersion, minutes: float, poll_interval: float
) -> None:
    """Wait until a version has run.

    Raises
    ------
    KaggleError
        If it failed or was cancelled, or did not end in time.
    """
    message = ""

    def get_state() -> str:
        nonlocal message
        state, message = kaggle.status(pushed.kernel, pushed.version)
        return state

    name = f"{pushed.kernel} version {pushed.version}"
    state = poll(name, get_state, FINAL_STATES, minutes, poll_interval)
    if state in FAILED_STATES:
        details = f" ({message.strip()})" if message else ""
        raise KaggleError(f"{name} ended with {state}{details}: see make logs, or {pushed.url}")


def poll(
    name: str,
    get_state: Callable[[], str],
    final_states: Collection[str],
    minutes: float,
    poll_interval: float,
) -> str:
    """Wait until a state is final, and return it; show each change on standard error.

    Raises
    ------
    KaggleError
        If it is not final after ``minutes``.
    """
    start, shown, is_terminal = time.monotonic(), "", sys.stderr.isatty()
    while True:
        state = get_state()
        passed = (time.monotonic() - start) / 60
        text = f"{name}: {state.lower()}, {passed:.0f} min"
        if is_terminal:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
        elif state != shown:
            print(text, file=sys.stderr, flush=True)
        shown = state
        if state in final_states or passed >= minutes:
            break
        time.sleep(poll_interval)
    if is_terminal:
        print(file=sys.stderr)
    if state not in final_states:
        raise KaggleError(
            f"{name} is still {state.lower()} after {minutes:g} minutes; it continues on Kaggle: "
            "run the command again, or wait longer with MINUTES=…"
        )
    return state


def read_log(kaggle: Kaggle, pushed: PushedVersion) -> str:
    """Fetch what a version printed, as plain text."""
    log = kaggle.log(pushed.kernel, pushed.version)
    try:
        return "".join(str(event["data"]) for event in json.loads(log))
    except (ValueError, TypeError, KeyError):
        return log  # not in the form of events

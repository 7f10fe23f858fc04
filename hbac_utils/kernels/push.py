"""Push a kernel, record its version, wait for it, and submit its output."""

import json
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from hbac_utils.data.competition import read_table
from hbac_utils.kernels.api import ACCOUNT_PAGE, RULES_PAGE, SUBMISSIONS_PAGE, Kaggle, KaggleError
from hbac_utils.kernels.build import BUILD, Kernel
from hbac_utils.metric import check_probabilities
from hbac_utils.utils.config_io import StrictModel, parse_json, validate
from hbac_utils.utils.errors import InputError

RECORD_FILE = "pushed.json"
SUBMISSION_FILE, REPORT_FILE = "submission.csv", "inference_report.json"

SHORT_SESSION = 0.5  # hours that a notebook without the parameter max_hours may take
LOOK_AFTER = 5.0  # seconds after a push without an answer

FAILED_STATES = ("ERROR", "CANCEL_REQUESTED", "CANCEL_ACKNOWLEDGED")

# fields of the answer to a push that list what Kaggle left out, without an error; remedies
INVALID_SOURCES = {
    "invalid_competition_sources": f"accept the competition's rules ({RULES_PAGE})",
    "invalid_kernel_sources": "push that kernel first and wait until it is COMPLETE",
    "invalid_dataset_sources": "compare the name with its page (hbac-utils: make wheel-dataset)",
    "invalid_model_sources": "compare the handle with the model's page, and accept its licence",
    "invalid_tags": "remove the keyword",
}

SESSION_LIMIT = "session count"  # in Kaggle's error if the account may run no further session

# words of Kaggle's errors, and remedies
PUSH_REMEDIES = {
    SESSION_LIMIT: "wait until a session has ended, or end it at https://www.kaggle.com/code",
    "quota": f"wait for the week to end ({ACCOUNT_PAGE} shows it), or set enable_gpu to false",
    "title": "choose another title and id in the kernel's metadata",
    "slug": "choose another title and id in the kernel's metadata",
    "verif": f"verify your account and phone number at {ACCOUNT_PAGE}",
    "rules": f"accept the competition's rules ({RULES_PAGE})",
    "": "correct that, then push again",
}


class PushedVersion(StrictModel):
    """A version of a kernel on Kaggle, as recorded in ``build/{name}/pushed.json``."""

    kernel: str  # owner/slug
    version: int
    url: str
    pushed: str  # time, ISO 8601
    commit: str  # of the embedded library
    library_sha256: str
    parameters: dict[str, Any]
    submission: int = 0  # Kaggle's number of it, once it is submitted

    def write(self, folder: Path) -> None:
        """Write ``pushed.json`` into a kernel's folder."""
        text = self.model_dump_json(indent=2) + "\n"
        (folder / RECORD_FILE).write_text(text, encoding="utf-8")

    def wait(self, kaggle: Kaggle, minutes: float, poll_interval: float) -> None:
        """Wait until the version has run; KaggleError if it failed or did not end in time."""
        name, remedy = f"{self.kernel} version {self.version}", f"see make logs, or {self.url}"
        get_state = partial(kaggle.status, self.kernel, self.version)
        wait(name, get_state, remedy, minutes, poll_interval)


def check_quota(kaggle: Kaggle, kernel: Kernel, force: bool = False) -> None:
    """Show the GPU hours left of this week; InputError if they will not suffice, unless forced."""
    if not kernel.metadata.enable_gpu:
        return
    needed, left = kernel.parameters.get("max_hours", SHORT_SESSION), None
    try:
        left = kaggle.gpu_hours_left()
    except KaggleError as error:
        print(error, file=sys.stderr)
    known = "unknown" if left is None else f"{left:.1f} h of GPU are left this week"
    print(f"quota   {known}; this session may need {needed:g} h")
    if left is not None and left < needed and not force:
        raise InputError(
            f"{kernel.name}: the GPU quota will not suffice: wait for the week to end, set fewer "
            "max_hours if it is a training, or push it with FORCE=1 (--force)"
        )


def push(kaggle: Kaggle, kernel: Kernel, folder: Path) -> PushedVersion:
    """Push a kernel's folder, as `Kernel.write` wrote it, and record the version.

    Raises KaggleError if Kaggle refuses it, or saves it without one of its sources. If the answer
    is lost, the new version is looked for.
    """
    name = kernel.metadata.for_user(kaggle.username).id
    url, before = f"https://www.kaggle.com/code/{name}", None
    with suppress(KaggleError):  # needed only if the push has no answer
        before = kaggle.latest_version(name, attempts=1)
    try:
        answer = kaggle.push(folder)
    except KaggleError as error:
        if not error.may_have_succeeded:
            raise
        version = _find_version(kaggle, name, before, error)
    else:
        _check_answer(answer)
        url, version = answer.url, answer.version_number
    pushed = PushedVersion(
        kernel=name,
        version=version,
        url=url,
        pushed=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=kernel.bundle.commit,
        library_sha256=kernel.bundle.sha256,
        parameters=kernel.parameters,
    )
    pushed.write(folder)
    return pushed


def _find_version(kaggle: Kaggle, name: str, before: int | None, error: KaggleError) -> int:
    """Find the version that a push has saved whose answer was lost."""
    time.sleep(LOOK_AFTER)
    version = None
    with suppress(KaggleError):
        version = kaggle.latest_version(name)
    if version is None or before is None:
        page = f"https://www.kaggle.com/code/{name}"
        raise KaggleError(f"{error}: look at {page} before you push again")
    if version == before:
        raise KaggleError(f"{error}, but no new version appeared: push again")
    print(f"{error}: version {version} appeared and is taken for it", file=sys.stderr)
    return version


def _check_answer(answer: Any) -> None:
    """Raise KaggleError if a push was refused, or saved without one of its sources."""
    if answer.error:
        error = answer.error.strip()
        remedy = next(PUSH_REMEDIES[words] for words in PUSH_REMEDIES if words in error.lower())
        raise KaggleError(f"not pushed: {error} ({remedy})")
    left_out = [
        f"{field.removeprefix('invalid_').replace('_', ' ')} {', '.join(sources)}: {remedy}"
        for field, remedy in INVALID_SOURCES.items()
        if (sources := getattr(answer, field))
    ]
    if left_out:
        raise KaggleError(
            f"version {answer.version_number} was saved without some of its sources "
            f"({'; '.join(left_out)}); stop it at {answer.url}, correct that, push again"
        )
    if not answer.version_number:
        raise KaggleError(f"Kaggle returned no version: look at {answer.url}, then push again")


def is_session_limit(error: KaggleError) -> bool:
    """Whether a push was refused because the account has too many running sessions."""
    return SESSION_LIMIT in str(error).lower()


def read_record(name: str, build: Path = BUILD) -> PushedVersion:
    """Read which version of a kernel was pushed last; InputError if none was."""
    path = build / name / RECORD_FILE
    if not path.is_file():
        raise InputError(f"{path}: nothing was pushed from here; run make push NB={name}")
    return validate(PushedVersion, parse_json(path.read_bytes(), path), path)


def wait(
    name: str,
    get_state: Callable[[], tuple[str, str]],
    remedy: str,
    minutes: float,
    poll_interval: float,
) -> str:
    """Ask for a state and its message until it is COMPLETE, and return the message.

    Each change is shown on standard error. Raises KaggleError, with ``remedy``, if the state is a
    failure, or after ``minutes``; ``poll_interval`` is in seconds.
    """
    start, shown = time.monotonic(), ""
    while True:
        state, message = get_state()
        passed = (time.monotonic() - start) / 60
        if state != shown:
            print(f"{name}: {state.lower()}, {passed:.0f} min", file=sys.stderr, flush=True)
            shown = state
        if state == "COMPLETE":
            return message
        if state in FAILED_STATES:
            raise KaggleError(f"{name} ended with {state} ({message or 'no reason'}): {remedy}")
        if passed >= minutes:
            raise KaggleError(
                f"{name} is still {state.lower()} after {minutes:g} minutes; it continues on "
                "Kaggle: run the command again, or wait longer with MINUTES=…"
            )
        time.sleep(poll_interval)


def submit(
    kaggle: Kaggle, pushed: PushedVersion, folder: Path, minutes: float, poll_interval: float
) -> str:
    """Submit a pushed version and return its public score.

    A version that was submitted already is not submitted again; only its score is waited for.
    ``folder`` is that of its record; ``minutes`` is the longest wait for the version, and again
    for the score; ``poll_interval`` is in seconds.

    Raises InputError if the version's ``submission.csv`` is not valid, and KaggleError if it wrote
    none or failed, or Kaggle refuses it or cannot score it.
    """
    if not pushed.submission:
        pushed.wait(kaggle, minutes, poll_interval)
        message = _describe(pushed, _check_output(kaggle, pushed, folder / f"v{pushed.version}"))
        answer = kaggle.submit(pushed.kernel, pushed.version, SUBMISSION_FILE, message)
        if not answer.ref:
            raise KaggleError(
                f"Kaggle returned no submission number ({answer.message or 'no reason given'}): "
                f"look at {SUBMISSIONS_PAGE} before you submit again"
            )
        pushed = pushed.model_copy(update={"submission": answer.ref})
        pushed.write(folder)
        print(f"submitted  {pushed.kernel} version {pushed.version}: {message}")
    get_state = partial(kaggle.submission, pushed.submission)
    remedy = f"the hidden re-run failed, see {SUBMISSIONS_PAGE}"
    return wait(f"submission {pushed.submission}", get_state, remedy, minutes, poll_interval)


def _check_output(kaggle: Kaggle, pushed: PushedVersion, folder: Path) -> dict:
    """Download and check a version's submission; return its ``inference_report.json``."""
    pattern = rf"^({SUBMISSION_FILE}|{REPORT_FILE})$".replace(".", r"\.")
    found = kaggle.download_output(pushed.kernel, pushed.version, folder, pattern)
    files = {path.name: path for path in found}
    if SUBMISSION_FILE not in files:
        raise KaggleError(
            f"{pushed.kernel} version {pushed.version} wrote no {SUBMISSION_FILE}: is it the "
            f"inference notebook? see {pushed.url}"
        )
    check_probabilities(read_table(files[SUBMISSION_FILE]), str(files[SUBMISSION_FILE]))
    return json.loads(files[REPORT_FILE].read_text()) if REPORT_FILE in files else {}


def _describe(pushed: PushedVersion, report: dict) -> str:
    """Describe a submission: recipe and out-of-fold score of each run, blend, commit."""
    runs = [
        f"{run['recipe']} ({run['models']} models, out of fold {run['kl_all']:.4f} on all votes"
        + (f", {run['kl_reliable']:.4f} on 10 or more)" if run["kl_reliable"] is not None else ")")
        for run in report.get("runs", [])
    ]
    text = " + ".join(runs) or "unknown run"
    if report.get("blend"):
        text += f", blended ({report['blend']})"
    return f"{text}, commit {pushed.commit}, version {pushed.version}"

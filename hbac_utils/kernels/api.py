"""Kaggle's API: sign in, send requests, retry them, and explain failures."""

import contextlib
import io
import json
import os
import re
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import requests
from kagglesdk import kaggle_client, kaggle_http_client
from kagglesdk.kaggle_env import get_access_token_from_env
from kagglesdk.kernels.types.kernels_api_service import ApiGetKernelRequest
from urllib3.util import Retry

from hbac_utils.data.layout import SLUG
from hbac_utils.utils.config_io import parse_json
from hbac_utils.utils.errors import InputError, one_line

MAX_ATTEMPTS = 4
FIRST_PAUSE = 2.0  # seconds before the second attempt; doubled for each further one
MAX_PAUSE = 120.0  # seconds; a longer Retry-After is reported instead of waited for

MAX_PAGES = 100  # of a list of files; each has a hundred
VERSION_FILE = ".kaggle-version"  # in a folder of output: the kernel and version that wrote it

ACCOUNT_PAGE = "https://www.kaggle.com/settings"
RULES_PAGE = f"https://www.kaggle.com/competitions/{SLUG}/rules"
SUBMISSIONS_PAGE = f"https://www.kaggle.com/competitions/{SLUG}/submissions"
NEW_TOKEN = (
    f"make a token at {ACCOUNT_PAGE} and save it as ~/.kaggle/access_token (or kaggle.json in "
    "~/.kaggle), or set KAGGLE_API_TOKEN"
)

# what to do about an HTTP error, by its status code
REMEDIES = {
    401: f"the credentials are not valid (any more): make new ones at {ACCOUNT_PAGE}",
    403: f"check that it is yours, that the competition's rules are accepted ({RULES_PAGE}) and "
    f"that your phone number is verified ({ACCOUNT_PAGE})",
    404: "it does not exist on Kaggle, or is not yours",
    409: "the title is in use: change title and id in the kernel's metadata",
    429: "too many requests: wait some minutes, then try again",
}
OUTPUT_REMEDIES = REMEDIES | {403: "it is not yours, or a download link expired: try again"}
DATA_REMEDIES = REMEDIES | {403: f"accept the competition's rules first: {RULES_PAGE}"}
SUBMIT_REMEDIES = DATA_REMEDIES | {404: "version not found, or submissions have closed"}

NAME, SECRET = re.compile(r"[\w-]+", re.ASCII), re.compile(r"[\w.~+/=-]+", re.ASCII)


class KaggleError(InputError):
    """Kaggle refused a request, failed, or could not be reached; ``status`` is the HTTP code."""

    exit_code = 1

    def __init__(self, message: str = "", status: int | None = None):
        super().__init__(message)
        self.status = status

    @property
    def may_have_succeeded(self) -> bool:
        """Whether Kaggle may have done what was asked: it failed, or its answer was lost."""
        return self.status is None or self.status >= 500


class Kaggle:
    """Kaggle's API with the user's credentials.

    Every method raises `KaggleError` if its request fails, and InputError is raised if there are
    no valid credentials. ``timeout`` is in seconds, for an answer or the next bytes of a file.
    """

    def __init__(self, timeout: float = 60.0):
        self._timeout = timeout
        self._token = _read_token()
        self._api = _import_client(timeout)
        if not self._config("CONFIG_NAME_AUTH_METHOD"):  # the import suppresses errors
            self._request("sign in", self._authenticate)
        method, file = self._config("CONFIG_NAME_AUTH_METHOD"), Path(self._api.config)
        if not method and file.is_file():
            content = parse_json(file.read_bytes(), file)
            if not isinstance(content, dict) or not {"username", "key"} <= content.keys():
                raise InputError(f'{file}: write {{"username": …, "key": …}}, {NEW_TOKEN}')
        if not method:
            raise InputError(f"no valid Kaggle credentials: {NEW_TOKEN}")
        if method == "LEGACY_API_KEY":
            for name, pattern in (("username", NAME), ("key", SECRET)):
                variable = f"KAGGLE_{name.upper()}"
                source = variable if variable in os.environ else f"{file}: {name}"
                _check(source, self._api.get_config_value(name), pattern)

    def _config(self, name: str) -> Any:
        values = self._api.config_values
        return values.get(getattr(self._api, name)) if isinstance(values, dict) else None

    def _authenticate(self) -> None:
        # raised if there are no credentials, or kaggle.json or credentials.json is no mapping
        ignored = contextlib.suppress(SystemExit, TypeError, AttributeError)
        with ignored, contextlib.redirect_stdout(io.StringIO()):
            self._api.authenticate()

    @property
    def username(self) -> str:
        """Name of the signed-in user."""
        return self._config("CONFIG_NAME_USER")

    @property
    def secrets(self) -> tuple[str, ...]:
        """Credentials, which must not appear in messages, logs or files."""
        found = map(self._config, ("CONFIG_NAME_KEY", "CONFIG_NAME_TOKEN"))
        return tuple(filter(None, [*found, self._token]))

    def gpu_hours_left(self) -> float | None:
        """Get what is left of this week's GPU quota, in hours; None if Kaggle does not say."""
        quota = self._request("get the GPU quota", self._api.quota_view, attempts=1).gpu_quota
        if not quota or not quota.total_time_allowed:
            return None
        spent = (quota.time_used, quota.time_reserved)  # reserved: by running sessions
        seconds = quota.total_time_allowed.total_seconds()
        return max(0, seconds - sum(part.total_seconds() for part in spent if part)) / 3600

    def latest_version(self, kernel: str, attempts: int = MAX_ATTEMPTS) -> int:
        """Get the number of a kernel's latest version; 0 if there is no such kernel."""
        request = ApiGetKernelRequest()
        request.user_name, request.kernel_slug = kernel.split("/")
        try:
            with self._api.build_kaggle_client() as client:
                get_kernel = client.kernels.kernels_api_client.get_kernel
                answer = self._request(f"find {kernel}", get_kernel, request, attempts=attempts)
        except KaggleError as error:
            if error.status in (403, 404):
                return 0
            raise
        return answer.metadata.current_version_number or 0

    def push(self, folder: Path) -> Any:
        """Push a kernel's folder; the answer may hold an ``error`` or ``invalid_*`` sources."""
        # not repeated: every version uses GPU hours
        unsure = "it may have been saved"
        return self._request(
            "save the notebook", self._api.kernels_push, str(folder), unsure=unsure
        )

    def save_dataset(self, dataset: str, folder: Path, notes: str) -> str:
        """Create a data set from a folder, or a new version of it, and return its address."""
        page = f"https://www.kaggle.com/datasets/{dataset}"
        try:
            self._request(f"find {dataset}", self._api.dataset_status, dataset)
            call = partial(self._api.dataset_create_version, version_notes=notes)
        except KaggleError as error:
            if error.status not in (403, 404):
                raise
            call = self._api.dataset_create_new
        unsure = f"it may have been saved: look at {page} before you try again"
        answer = self._request(f"save {dataset}", call, str(folder), quiet=True, unsure=unsure)
        if answer.error or answer.status.lower() != "ok":
            raise KaggleError(f"{dataset} was not saved: {answer.error or 'no reason given'}")
        return answer.url or page

    def status(self, kernel: str, version: int) -> tuple[str, str]:
        """Get a version's state, such as ``RUNNING`` or ``COMPLETE``, and its failure message."""
        action = f"get the state of {kernel} version {version}"
        answer = self._request(action, self._api.kernels_status, f"{kernel}/{version}")
        return answer.status.name, answer.failure_message

    def log(self, kernel: str, version: int) -> str:
        """Get what a version printed, as plain text."""
        action = f"get the log of {kernel} version {version}"
        log = self._request(action, self._api.kernels_logs, f"{kernel}/{version}")
        try:
            return "".join(str(event["data"]) for event in json.loads(log))
        except (ValueError, TypeError, KeyError):  # not in the form of events
            return log

    def download_output(
        self, kernel: str, version: int, folder: Path, pattern: str | None = None
    ) -> list[Path]:
        """Download the files that a version wrote and whose names match; skip complete ones.

        If the folder holds other files, none is taken for complete.
        """
        origin, record = f"{kernel} version {version}", folder / VERSION_FILE
        folder.mkdir(parents=True, exist_ok=True)
        known = record.read_text(encoding="utf-8").strip() if record.is_file() else ""
        fresh = known == origin or not any(folder.iterdir())
        if fresh:  # an interrupted download can continue
            record.write_text(f"{origin}\n", encoding="utf-8")
        elif known:
            print(f"{folder}: files of {known} are replaced, others stay", file=sys.stderr)
            record.unlink()
        files: dict[str, None] = {}
        token, tokens = "", {""}
        while len(tokens) <= MAX_PAGES:
            page, token = self._request(
                f"download the output of {origin}", self._api.kernels_output,
                f"{kernel}/{version}", str(folder), pattern, force=not fresh,
                quiet=not sys.stderr.isatty(), page_size=100, page_token=token,
                remedies=OUTPUT_REMEDIES,
            )  # fmt: skip
            repeated = token in tokens or (page and files.keys() >= set(page))
            files |= dict.fromkeys(page)
            tokens.add(token)
            if not token or repeated:
                break
        else:
            raise KaggleError(f"the list of {origin}'s files has no end: {MAX_PAGES} pages")
        if token:
            print(
                f"Kaggle repeats its list after {len(files)} files: is one missing?",
                file=sys.stderr,
            )
        record.write_text(f"{origin}\n", encoding="utf-8")
        return list(map(Path, files))

    def submit(self, kernel: str, version: int, file: str, message: str) -> Any:
        """Submit a version's output file; the answer has a ``message`` and a ``ref``."""
        # not repeated: each one counts against the five of a day
        return self._request(
            f"submit {kernel} version {version}", self._api.competition_submit_code,
            file, message, SLUG, kernel, version, quiet=True, remedies=SUBMIT_REMEDIES,
            unsure=f"it may have been submitted: look at {SUBMISSIONS_PAGE} before you try again",
        )  # fmt: skip

    def submission(self, ref: int) -> tuple[str, str]:
        """Get a submission's state, and its public score or the description of its error."""
        try:
            answer = self._request(f"get submission {ref}", self._api.get_submission, ref)
        except KaggleError as error:
            if error.status == 404:  # a new submission is not visible at once
                return "PENDING", ""
            raise
        return answer.status.name, answer.error_description or answer.public_score

    def download_competition(self, folder: Path) -> None:
        """Download the competition as ``folder/{SLUG}.zip``, or resume the download."""
        self._request(
            "download the competition's files", self._api.competition_download_files,
            SLUG, str(folder), quiet=not sys.stderr.isatty(), remedies=DATA_REMEDIES,
        )  # fmt: skip

    def _request(
        self, action: str, call: Callable, *arguments, remedies=REMEDIES, unsure="",
        attempts=MAX_ATTEMPTS, **options,
    ) -> Any:  # fmt: skip
        """Call the client, with retries; ``action`` completes "Kaggle: could not …".

        With ``unsure``, the advice if it may have succeeded, it is not repeated then.
        """
        attempt, repeat = 0, not unsure
        hint = unsure or "check your connection, then run the same command again"
        while True:
            status, again, pause = None, repeat, FIRST_PAUSE * 2**attempt
            attempt += 1
            try:
                with contextlib.redirect_stdout(sys.stderr):  # hints for the client's users
                    return call(*arguments, **options)
            except requests.Timeout:
                reason = f"no answer within {self._timeout:g} s; {hint}"
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                reason = f"the connection failed; {hint}"
            except Exception as error:
                response = _response(error)
                if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
                    raise  # of the disk
                if response is None:
                    advice = unsure or "try again later"
                    reason, again = f"unexpected answer ({self._redact(error)}); {advice}", False
                else:
                    status = response.status_code
                    again = status == 429 or (repeat and status >= 500)
                    pause = Retry().get_retry_after(response.raw) or pause
                    # an address is not shown: it may hold a signature
                    text = response.reason if " for url: " in str(error) else self._redact(error)
                    remedy = (
                        unsure
                        if status >= 500 and unsure
                        else remedies.get(status, "Kaggle has a problem: try again later")
                    )
                    reason = f"{text} (HTTP {status}); {remedy}"
            message = f"Kaggle: could not {action}: {reason}"
            if not again or pause > MAX_PAUSE or attempt == attempts:
                raise KaggleError(message, status)
            print(f"{message}\nretrying in {pause:.0f} s", file=sys.stderr)
            time.sleep(pause)

    def _redact(self, error: Exception) -> str:
        text = one_line(error)
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text


def _read_token() -> str | None:
    """Read the access token; refuse one that no request can carry, which the client would show."""
    try:
        token, source = get_access_token_from_env()
    except (OSError, UnicodeDecodeError):
        raise InputError(f"the Kaggle token is not a text file: {NEW_TOKEN}") from None
    if token:
        name = source if source.startswith("KAGGLE") else "~/.kaggle/access_token"
        _check(name, token, SECRET)
    return token


def _check(source: str, value: object, pattern: re.Pattern) -> None:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        problem = "has quotes, blanks or other special characters" if value else "is empty"
        raise InputError(f"{source} {problem}: write it as {ACCOUNT_PAGE} shows it, or remove it")


def _import_client(timeout: float) -> Any:
    """Import the client, whose requests would wait forever without ``timeout`` in seconds."""

    class HttpClient(kaggle_http_client.KaggleHttpClient):
        def _init_session(self):
            if self._session is None:
                super()._init_session()
                self._session.send = partial(self._session.send, timeout=timeout)

    kaggle_client.KaggleHttpClient = HttpClient
    for variable in ("VERBOSE", "VERBOSE_OUTPUT"):
        os.environ.pop(variable, None)  # would print every request, with the credentials
    with contextlib.redirect_stdout(io.StringIO()):  # help, if there are no credentials
        import kaggle
    return kaggle.api


def _response(error: BaseException) -> requests.Response | None:
    """Response behind an error; the client replaces some HTTP errors by its own."""
    origin = error if isinstance(error, requests.HTTPError) else error.__context__
    return origin.response if isinstance(origin, requests.HTTPError) else None

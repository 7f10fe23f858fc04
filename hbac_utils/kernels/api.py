"""Kaggle's API: sign in, send requests, retry them, and explain failures."""

import contextlib
import io
import json
import os
import shutil
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import requests
from kagglesdk import kaggle_client, kaggle_http_client
from tqdm import tqdm
from urllib3.util import Retry

from hbac_utils.data.layout import SLUG
from hbac_utils.utils.errors import InputError, one_line

MAX_ATTEMPTS = 4
FIRST_PAUSE = 2.0  # seconds before the second attempt; doubled for each further one
MAX_PAUSE = 120.0  # seconds; a longer Retry-After is reported instead of waited for

ARCHIVE_SIZE = 26e9  # bytes; parquet is compressed already, so its files take as much again

ACCOUNT_PAGE = "https://www.kaggle.com/settings"
RULES_PAGE = f"https://www.kaggle.com/competitions/{SLUG}/rules"

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


class KaggleError(InputError):
    """Kaggle refused a request, failed, or could not be reached; ``status`` is the HTTP code."""

    exit_code = 1

    def __init__(self, message: str = "", status: int | None = None):
        super().__init__(message)
        self.status = status


class Kaggle:
    """Kaggle's API with the user's credentials.

    Every method raises `KaggleError` if its request fails, and InputError is raised if there are
    no valid credentials. ``timeout`` is in seconds, for an answer or the next bytes of a file.
    """

    def __init__(self, timeout: float = 60.0):
        self._timeout = timeout
        self._api = _import_client(timeout)
        if not self._config("CONFIG_NAME_AUTH_METHOD"):  # the import suppresses errors
            self._request("sign in", self._authenticate)
        if not self._config("CONFIG_NAME_AUTH_METHOD"):
            raise InputError(
                f"no valid Kaggle credentials: make a token at {ACCOUNT_PAGE} and save it as "
                "~/.kaggle/access_token (or kaggle.json in ~/.kaggle), or set KAGGLE_API_TOKEN"
            )

    def _config(self, name: str) -> Any:
        return self._api.get_config_value(getattr(self._api, name))

    def _authenticate(self) -> None:
        with contextlib.suppress(SystemExit):  # raised if there are no credentials
            self._api.authenticate()

    @property
    def username(self) -> str:
        """Name of the signed-in user."""
        return self._config("CONFIG_NAME_USER")

    @property
    def secrets(self) -> tuple[str, ...]:
        """Credentials, which must not appear in messages, logs or files."""
        found = map(self._config, ("CONFIG_NAME_KEY", "CONFIG_NAME_TOKEN"))
        return tuple(filter(None, [*found, self._api.get_config_value("api_token")]))

    def push(self, folder: Path) -> Any:
        """Push a kernel's folder; the answer may hold an ``error`` or ``invalid_*`` sources."""
        # not repeated: every version uses GPU hours
        return self._request("save the notebook", self._api.kernels_push, str(folder), repeat=False)

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
        """Download the files that a version wrote and whose names match; skip complete ones."""
        action = f"download the output of {kernel} version {version}"
        files, token, seen = [], "", set()
        while token not in seen:  # the API sometimes repeats a page's token
            seen |= {token, ""}
            page, token = self._request(
                action, self._api.kernels_output, f"{kernel}/{version}", str(folder), pattern,
                quiet=not sys.stderr.isatty(), page_size=100, page_token=token,
                remedies=OUTPUT_REMEDIES,
            )  # fmt: skip
            files += map(Path, page)
        return files

    def submit(self, kernel: str, version: int, file: str, message: str) -> Any:
        """Submit a version's output file; the answer has a ``message`` and a ``ref``."""
        # not repeated: each one counts against the five of a day
        return self._request(
            f"submit {kernel} version {version}", self._api.competition_submit_code,
            file, message, SLUG, kernel, version, quiet=True,
            remedies=SUBMIT_REMEDIES, repeat=False,
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
        """Download and unpack the competition; what is complete is skipped.

        Raises InputError if the disk has too little space, and KaggleError if the archive is
        damaged; it is removed then.
        """
        archive = folder / f"{SLUG}.zip"
        tables = [folder / f"{name}.csv" for name in ("train", "test", "sample_submission")]
        if not archive.exists() and all(path.is_file() for path in tables):
            print(f"complete already: {folder}")
            return
        folder.mkdir(parents=True, exist_ok=True)
        if not zipfile.is_zipfile(archive):  # not yet whole: the table of contents comes last
            needed = 2 * ARCHIVE_SIZE - (archive.stat().st_size if archive.exists() else 0)
            free = shutil.disk_usage(folder).free
            if needed > free:
                raise InputError(
                    f"{folder}: {needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free: "
                    "make room, or name a folder on another disk (OUT=…)"
                )
            self._request(
                "download the competition's files", self._api.competition_download_files,
                SLUG, str(folder), quiet=not sys.stderr.isatty(), remedies=DATA_REMEDIES,
            )  # fmt: skip
        _unpack(archive, folder)

    def _request(
        self, action: str, call: Callable, *arguments, remedies=REMEDIES, repeat=True, **options
    ) -> Any:
        """Call the client, with retries; ``action`` completes "Kaggle: could not …"."""
        # without `repeat` a call that may have reached Kaggle is made once
        hint = "check your connection, then run the same command again"
        if not repeat:
            hint = "it may have succeeded: check https://www.kaggle.com before you try again"
        attempt = 0
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
                    reason = f"unexpected answer ({self._redact(error)}); try again later"
                    again = False
                else:
                    status = response.status_code
                    again = status == 429 or (repeat and status >= 500)
                    pause = Retry().get_retry_after(response.raw) or pause
                    # an address is not shown: it may hold a signature
                    text = response.reason if " for url: " in str(error) else self._redact(error)
                    remedy = remedies.get(status, "Kaggle has a problem: try again later")
                    reason = f"{text} (HTTP {status}); {remedy}"
            message = f"Kaggle: could not {action}: {reason}"
            if not again or pause > MAX_PAUSE or attempt == MAX_ATTEMPTS:
                raise KaggleError(message, status)
            print(f"{message}\nretrying in {pause:.0f} s", file=sys.stderr)
            time.sleep(pause)

    def _redact(self, error: Exception) -> str:
        text = one_line(error)
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text


def _unpack(archive: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as content:
            for entry in tqdm(content.infolist(), desc="unpack", unit="file"):
                path = folder / entry.filename
                if not path.is_file() or path.stat().st_size != entry.file_size:
                    content.extract(entry, folder)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        archive.unlink()
        raise KaggleError(
            f"{archive}: damaged ({one_line(error)}) and removed; run the command again"
        ) from None
    archive.unlink()


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

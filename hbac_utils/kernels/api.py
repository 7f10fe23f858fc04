"""Kaggle's API: sign in, send requests, retry them, and explain failures.

The ``kaggle`` client is used in this process, not through its command line: its answers hold the
version, the error and the missing sources of a push, and its command line exits with 0 even for
a push that failed.
"""

import contextlib
import io
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import requests
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from hbac_utils.data.layout import SLUG
from hbac_utils.utils.errors import InputError, one_line

MAX_ATTEMPTS = 4
FIRST_PAUSE = 2.0  # seconds before the second attempt; doubled for each further one
MAX_PAUSE = 120.0  # seconds; a longer Retry-After is reported instead of waited for

ACCOUNT_PAGE = "https://www.kaggle.com/settings"
RULES_PAGE = f"https://www.kaggle.com/competitions/{SLUG}/rules"

REMEDIES = {
    400: "compare kaggle's version with requirements.txt",
    401: f"the credentials are not valid (any more): make new ones at {ACCOUNT_PAGE}",
    403: f"check that it is yours, that the competition's rules are accepted ({RULES_PAGE}) and "
    f"that your phone number is verified ({ACCOUNT_PAGE})",
    404: "it does not exist on Kaggle, or is not yours",
    409: "it conflicts with something that exists",
    429: "too many requests: wait some minutes, then try again",
}
"""What to do about an HTTP error, by its status code."""

ACCEPT_RULES = {403: f"accept the competition's rules first: {RULES_PAGE}"}


class KaggleError(InputError):
    """Kaggle refused a request, failed, or could not be reached; ``status`` is the HTTP code."""

    exit_code = 1

    def __init__(self, message: str = "", status: int | None = None):
        super().__init__(message)
        self.status = status


class Kaggle:
    """Kaggle's API with the user's credentials.

    Parameters
    ----------
    timeout : float
        Seconds to wait for an answer, or for the next bytes of a file.

    Raises
    ------
    InputError
        If there are no valid credentials.
    KaggleError
        If they could not be checked; every method raises it if its request fails.
    """

    def __init__(self, timeout: float = 60.0):
        self._timeout = timeout
        self._api = _import_client(timeout)
        if not self._is_signed_in:  # the import tries that, and suppresses its errors
            self._request("sign in", self._authenticate)
        if not self._is_signed_in:
            raise InputError(
                f"no valid Kaggle credentials: make a token at {ACCOUNT_PAGE} and save it as "
                "~/.kaggle/access_token (or kaggle.json in ~/.kaggle), or set KAGGLE_API_TOKEN"
            )

    @property
    def username(self) -> str:
        """Name of the signed-in user."""
        return self._api.get_config_value(self._api.CONFIG_NAME_USER)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Credentials, which must not appear in messages, logs or files."""
        names = (self._api.CONFIG_NAME_KEY, self._api.CONFIG_NAME_TOKEN, "api_token")
        return tuple(filter(None, map(self._api.get_config_value, names)))

    @property
    def _is_signed_in(self) -> bool:
        return bool(self._api.get_config_value(self._api.CONFIG_NAME_AUTH_METHOD))

    def _authenticate(self) -> None:
        with contextlib.suppress(SystemExit):  # raised if there are no credentials
            self._api.authenticate()

    def push(self, folder: Path) -> Any:
        """Push a kernel's folder; the answer may hold an ``error`` or ``invalid_*`` sources."""
        title_in_use = "the title is in use: change title and id in the kernel's metadata"
        return self._request(
            "save the notebook",
            partial(self._api.kernels_push, str(folder)),
            repeat=False,  # every version uses GPU hours
            remedies={409: title_in_use, 413: "the notebook is too large"},
        )

    def status(self, kernel: str, version: int) -> tuple[str, str]:
        """Get a version's state, such as ``RUNNING`` or ``COMPLETE``, and its failure message."""
        answer = self._request(
            f"get the state of {kernel} version {version}",
            partial(self._api.kernels_status, f"{kernel}/{version}"),
        )
        return answer.status.name, answer.failure_message

    def log(self, kernel: str, version: int) -> str:
        """Get what a version printed, as Kaggle stores it (JSON)."""
        return self._request(
            f"get the log of {kernel} version {version}",
            partial(self._api.kernels_logs, f"{kernel}/{version}"),
        )

    def download_output(
        self, kernel: str, version: int, folder: Path, pattern: str | None = None
    ) -> list[Path]:
        """Download the files that a version wrote; complete and current files are skipped.

        ``pattern`` is a regular expression for the names of the files; all by default.
        """
        expired = "check that the kernel is yours; if so, a download link expired: try again"
        download = partial(
            self._api.kernels_output, f"{kernel}/{version}", str(folder), pattern,
            quiet=not sys.stderr.isatty(), page_size=100,
        )  # fmt: skip
        files, token, seen = [], "", set()
        while token not in seen:  # the API sometimes repeats a page's token
            seen |= {token, ""}
            page, token = self._request(
                f"download the output of {kernel} version {version}",
                partial(download, page_token=token),
                remedies={403: expired},
            )
            files += map(Path, page)
        return files

    def submit(self, kernel: str, version: int, file: str, message: str) -> Any:
        """Submit a version's output file; the answer has a ``message`` and a ``ref``."""
        closed = "competition, notebook or version not found, or submissions have closed"
        return self._request(
            f"submit {kernel} version {version}",
            partial(
                self._api.competition_submit_code, file, message, SLUG, kernel, version, quiet=True
            ),
            repeat=False,  # each one counts against the five of a day
            remedies=ACCEPT_RULES | {404: closed},
        )

    def submission(self, ref: int) -> Any:
        """Get a submission's ``status``, ``public_score`` and ``error_description``."""
        return self._request(f"get submission {ref}", partial(self._api.get_submission, ref))

    def download_competition(self, folder: Path) -> None:
        """Download the competition as ``folder/{SLUG}.zip``, or resume the download."""
        quiet = not sys.stderr.isatty()
        self._request(
            "download the competition's files",
            partial(self._api.competition_download_files, SLUG, str(folder), quiet=quiet),
            remedies=ACCEPT_RULES,
        )

    def _request(
        self,
        action: str,
        call: Callable[[], Any],
        *,
        repeat: bool = True,
        remedies: dict[int, str] | None = None,
    ) -> Any:
        """Call the client, with retries.

        ``action`` completes "Kaggle: could not …". Without ``repeat`` a call that may have reached
        Kaggle is made once; one refused for too many requests (429) is always repeated.
        """
        if_lost = (
            "check your connection, then run the same command again"
            if repeat
            else "it may have succeeded: check https://www.kaggle.com before you try again"
        )
        for attempt in range(1, MAX_ATTEMPTS + 1):
            status, again, pause = None, repeat, FIRST_PAUSE * 2 ** (attempt - 1)
            try:
                with contextlib.redirect_stdout(sys.stderr):  # hints for the client's users
                    return call()
            except requests.Timeout:
                reason = f"no answer within {self._timeout:g} s; {if_lost}"
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
                reason = f"the connection failed ({_root_cause(error)}); {if_lost}"
            except Exception as error:
                refusal = _http_error(error)
                if refusal is not None:
                    status = refusal.response.status_code
                    reason = self._explain(refusal, REMEDIES | (remedies or {}))
                    again = status == 429 or (repeat and status >= 500)
                    pause = _retry_after(refusal.response, pause)
                elif isinstance(error, InputError) or _is_disk_error(error):
                    raise
                else:
                    reason = f"unexpected answer ({self._redact(error)}); try again later"
                    again = False
            message = f"Kaggle: could not {action}: {reason}"
            if not again or pause > MAX_PAUSE or attempt == MAX_ATTEMPTS:
                raise KaggleError(message, status)
            print(f"{message}\nretrying in {pause:.0f} s", file=sys.stderr)
            time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _explain(self, error: requests.HTTPError, remedies: dict[int, str]) -> str:
        status = error.response.status_code
        # a text with an address is not shown: it may hold a signature
        text = error.response.reason if " for url: " in str(error) else self._redact(error)
        default = "Kaggle has a problem: try again later" if status >= 500 else "see Kaggle's page"
        return f"{text} (HTTP {status}); {remedies.get(status, default)}"

    def _redact(self, error: Exception) -> str:
        text = one_line(error)
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text


def _import_client(timeout: float) -> Any:
    for variable in ("VERBOSE", "VERBOSE_OUTPUT"):
        os.environ.pop(variable, None)  # would print every request, with the credentials
    try:
        _set_timeout(timeout)
        with contextlib.redirect_stdout(io.StringIO()):  # help, if there are no credentials
            import kaggle
    except (ImportError, OSError) as error:
        raise InputError(
            f"the kaggle client cannot be used ({one_line(error)}): pip install kaggle six, and "
            "make ~/.kaggle writable"
        ) from None
    return kaggle.api


def _set_timeout(seconds: float) -> None:
    """Give the client's requests a timeout; by default they wait forever."""
    from kagglesdk import kaggle_client, kaggle_http_client

    class HttpClient(kaggle_http_client.KaggleHttpClient):
        def _init_session(self):
            if self._session is None:
                super()._init_session()
                self._session.send = partial(self._session.send, timeout=seconds)

    kaggle_client.KaggleHttpClient = HttpClient


def _http_error(error: BaseException) -> requests.HTTPError | None:
    """Find the HTTP error behind an error; the client replaces some by its own."""
    for candidate in (error, error.__context__):
        if isinstance(candidate, requests.HTTPError) and candidate.response is not None:
            return candidate
    return None


def _is_disk_error(error: Exception) -> bool:
    return isinstance(error, OSError) and not isinstance(error, requests.RequestException)


def _retry_after(response: requests.Response, default: float) -> float:
    """Seconds of the header ``Retry-After``, which may be a number or a date."""
    try:
        return Retry().parse_retry_after(response.headers["Retry-After"])
    except (KeyError, InvalidHeader):
        return default


def _root_cause(error: BaseException) -> str:
    """Name the first error of a chain; the texts may hold addresses with signatures."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return type(error).__name__

"""Kaggle's API: sign in, send requests, retry them, and explain failures.

The ``kaggle`` client is used in this process, not through its command line: its answers hold the
version, the error and the missing sources of a push, and its command line exits with 0 even for
a push that failed.
"""

import contextlib
import functools
import io
import os
import sys
import time
from collections.abc import Callable, Collection
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
NOT_REPEATED = "it may have succeeded: check https://www.kaggle.com before you try again"


class KaggleError(InputError):
    """Kaggle refused a request, failed, or could not be reached.

    Attributes
    ----------
    status : int or None
        HTTP status code, if there was an answer.
    """

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
        If they could not be checked.
    """

    def __init__(self, timeout: float = 60.0):
        self._timeout = timeout
        self._api = None
        # importing the client signs in, but without an error if that fails: then try again
        self._api = self._request("sign in", lambda: _import_client(timeout), repeat=False)
        if not self._is_signed_in:
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
        if self._api is None:
            return ()
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
        return self._request(
            "save the notebook",
            lambda: self._api.kernels_push(str(folder)),
            repeat=False,  # every version uses GPU hours
            remedies={
                409: "the title is in use: change title and id in the kernel's metadata",
                413: "the notebook is too large",
            },
        )

    def status(self, kernel: str, version: int) -> tuple[str, str]:
        """Get the state of a version, such as ``QUEUED``, ``RUNNING``, ``COMPLETE`` or ``ERROR``.

        Returns
        -------
        state : str
        message : str
            Kaggle's message about a failure.
        """
        answer = self._request(
            f"get the state of {kernel} version {version}",
            lambda: self._api.kernels_status(f"{kernel}/{version}"),
        )
        return answer.status.name, answer.failure_message

    def log(self, kernel: str, version: int) -> str:
        """Get what a version printed, as Kaggle stores it (JSON)."""
        return self._request(
            f"get the log of {kernel} version {version}",
            lambda: self._api.kernels_logs(f"{kernel}/{version}"),
        )

    def download_output(
        self, kernel: str, version: int, folder: Path, pattern: str | None = None
    ) -> list[Path]:
        """Download the files that a version wrote; complete and current files are skipped.

        Parameters
        ----------
        kernel : str
        version : int
        folder : Path
        pattern : str, optional
            Regular expression for the names of the files; all by default.
        """
        files, tokens = [], [""]
        while True:
            page, token = self._request(
                f"download the output of {kernel} version {version}",
                functools.partial(
                    self._api.kernels_output, f"{kernel}/{version}", str(folder), pattern,
                    quiet=not sys.stderr.isatty(), page_token=tokens[-1], page_size=100,
                ),
                remedies={403: "check that the kernel is yours; if so, a download link expired: "
                          "try again"},
            )  # fmt: skip
            files += page
            if not token or token in tokens:  # the API sometimes repeats a page's token
                return [Path(file) for file in files]
            tokens.append(token)

    def submit(self, kernel: str, version: int, file: str, message: str) -> Any:
        """Submit a version's output file; the answer has a ``message`` and a ``ref``."""
        return self._request(
            f"submit {kernel} version {version}",
            lambda: self._api.competition_submit_code(
                file, message, SLUG, kernel, version, quiet=True
            ),
            repeat=False,  # each one counts against the five of a day
            remedies=ACCEPT_RULES
            | {404: "competition, notebook or version not found, or submissions have closed"},
        )

    def submission(self, ref: int) -> Any:
        """Get a submission's ``status``, ``public_score`` and ``error_description``."""
        return self._request(f"get submission {ref}", lambda: self._api.get_submission(ref))

    def download_competition(self, folder: Path) -> None:
        """Download the competition as ``folder/{SLUG}.zip``, or resume the download."""
        self._request(
            "download the competition's files",
            lambda: self._api.competition_download_files(
                SLUG, str(folder), quiet=not sys.stderr.isatty()
            ),
            no_answer="run the command again, it resumes the download",
            remedies=ACCEPT_RULES,
        )

    def _request(
        self,
        action: str,
        call: Callable[[], Any],
        *,
        repeat: bool = True,
        no_answer: str = "",
        remedies: dict[int, str] | None = None,
    ) -> Any:
        """Call the client, with retries.

        Parameters
        ----------
        action : str
            Completes "Kaggle: could not …" in a message.
        call : callable
        repeat : bool
            Whether to repeat a call that may have reached Kaggle. One that was refused for too
            many requests (429) is always repeated.
        no_answer : str
            What the user can do if the connection failed.
        remedies : dict of int to str, optional
            Replace those of ``REMEDIES``.

        Raises
        ------
        KaggleError
        """
        no_answer = no_answer or (
            "check your connection, then try again" if repeat else NOT_REPEATED
        )
        for attempt in range(1, MAX_ATTEMPTS + 1):
            pause = FIRST_PAUSE * 2 ** (attempt - 1)
            status, again = None, repeat
            try:
                # the client prints hints for its own command line
                with contextlib.redirect_stdout(sys.stderr):
                    return call()
            except requests.Timeout:
                reason = f"no answer within {self._timeout:g} s; {no_answer}"
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
                reason = f"the connection failed ({_root_cause(error)}); {no_answer}"
            except Exception as error:
                refusal = _http_error(error)
                if refusal is not None:
                    status = refusal.response.status_code
                    reason = self._explain(refusal, REMEDIES | (remedies or {}))
                    again = status == 429 or (repeat and status >= 500)
                    pause = _retry_after(refusal.response, pause)
                elif isinstance(error, InputError) or _is_local(error):
                    raise
                else:
                    text = self._redact(one_line(error))
                    reason, again = f"unexpected answer ({text}); try again later", False
            message = f"Kaggle: could not {action}: {reason}"
            if not again or pause > MAX_PAUSE or attempt == MAX_ATTEMPTS:
                raise KaggleError(message, status)
            print(f"{message}\nretrying in {pause:.0f} s", file=sys.stderr)
            time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _explain(self, error: requests.HTTPError, remedies: dict[int, str]) -> str:
        status = error.response.status_code
        # a text with an address is not shown: it may hold a signature
        has_address = " for url: " in str(error)
        text = error.response.reason if has_address else self._redact(one_line(error))
        default = "Kaggle has a problem: try again later" if status >= 500 else "see Kaggle's page"
        return f"{text} (HTTP {status}); {remedies.get(status, default)}"

    def _redact(self, text: str) -> str:
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text


def _import_client(timeout: float) -> Any:
    for variable in ("VERBOSE", "VERBOSE_OUTPUT"):
        os.environ.pop(variable, None)  # would print every request, with the credentials
    try:
        _set_timeout(timeout)
        # without credentials the import prints a page of help
        with contextlib.redirect_stdout(io.StringIO()):
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
                self._session.send = functools.partial(self._session.send, timeout=seconds)

    kaggle_client.KaggleHttpClient = HttpClient


def _http_error(error: BaseException) -> requests.HTTPError | None:
    """Find the HTTP error behind an error; the client replaces some by its own."""
    for candidate in (error, error.__context__):
        if isinstance(candidate, requests.HTTPError) and candidate.response is not None:
            return candidate
    return None


def _is_local(error: Exception) -> bool:
    """Tell errors of this machine's disk from those of a request."""
    return isinstance(error, OSError) and not isinstance(error, requests.RequestException)


def _retry_after(response: requests.Response, default: float) -> float:
    """Seconds of the header ``Retry-After``, which may be a number or a date."""
    try:
        return Retry().parse_retry_after(response.headers["Retry-After"])
    except (KeyError, InvalidHeader):
        return default


def _root_cause(error: BaseException) -> str:
    """Name the first error of a chain; the texts may hold addresses with signatures."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__
    return type(error).__name__


def poll(
    name: str,
    get_state: Callable[[], str],
    final_states: Collection[str],
    minutes: float,
    poll_interval: float,
) -> str:
    """Wait until a state is final; show each change on standard error.

    Parameters
    ----------
    name : str
        What is waited for, for the messages.
    get_state : callable
    final_states : collection of str
    minutes : float
        When to give up.
    poll_interval : float
        Seconds between two requests.

    Returns
    -------
    str
        The final state.

    Raises
    ------
    KaggleError
        If the time is over.
    """
    start, shown = time.monotonic(), ""
    while True:
        state = get_state()
        passed = (time.monotonic() - start) / 60
        if sys.stderr.isatty():
            print(f"\r\x1b[K{name}: {state.lower()}, {passed:.0f} min", end="", file=sys.stderr)
        elif state != shown:
            print(f"{name}: {state.lower()}, {passed:.0f} min", file=sys.stderr, flush=True)
        shown = state
        if state in final_states or passed >= minutes:
            break
        time.sleep(poll_interval)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if state not in final_states:
        raise KaggleError(
            f"{name} is still {state.lower()} after {minutes:g} minutes; it continues on Kaggle: "
            "run the command again, or wait longer with MINUTES=…"
        )
    return state

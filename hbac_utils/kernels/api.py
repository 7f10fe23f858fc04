"""The kaggle client, signed in: the few things that are asked of Kaggle.

It is used unchanged and in this process, because its answers say more as objects than its
command line prints: a push that failed is a good answer with an ``error`` in it, which the
command line reports with exit code 0. Versions are asked for by name through the client's own
SDK, since kaggle 2.2.4 drops them.
"""

import contextlib
import io
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import requests
from tqdm import tqdm

from hbac_utils.data.layout import SLUG
from hbac_utils.utils.errors import InputError, one_line

PERHAPS = "it may have got through: look at https://www.kaggle.com before you call again"
SHOWN = 10_000_000  # bytes of a file from which on its download shows how far it is


class Kaggle:
    """The client, signed in with the user's credentials.

    Parameters
    ----------
    patience : float
        Seconds to wait for an answer, or for the next byte of a file. The client itself would
        wait for ever.

    Raises
    ------
    InputError
        If there are no credentials.
    KaggleError
        If they are not accepted, or could not be checked.
    """

    def __init__(self, patience: float = 60.0):
        self._api = None
        self._connection = Connection(patience, lambda: self.secrets)
        # the import signs in already; where that fails it is silent, so it is tried again
        self._api = self._connection.ask("to sign in", _imported, repeat=False)
        if not self._signed_in:
            self._connection.ask("to sign in", self._authenticate)
        if not self._signed_in:
            raise InputError(
                f"no valid Kaggle credentials: make a token at {ACCESS} and put it into "
                "~/.kaggle/access_token (or kaggle.json into ~/.kaggle), or set KAGGLE_API_TOKEN"
            )

    @property
    def username(self) -> str:
        """Whose credentials they are."""
        return self._api.get_config_value(self._api.CONFIG_NAME_USER)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be written anywhere."""
        if self._api is None:
            return ()
        names = (self._api.CONFIG_NAME_KEY, self._api.CONFIG_NAME_TOKEN, "api_token")
        return tuple(filter(None, map(self._api.get_config_value, names)))

    @property
    def _signed_in(self) -> bool:
        return bool(self._api.get_config_value(self._api.CONFIG_NAME_AUTH_METHOD))

    def _authenticate(self) -> None:
        with contextlib.suppress(SystemExit):  # its way to say that there are no credentials
            self._api.authenticate()

    def push(self, folder: Path) -> Any:
        """Push a staged kernel; the answer may hold an ``error`` or ``invalid_*`` sources."""
        return self._connection.ask(
            "to save the notebook",
            lambda: self._api.kernels_push(str(folder)),
            repeat=False,  # each version uses GPU hours
            lost=PERHAPS,
            remedies={
                409: "the title is in use: change title and id in the kernel's metadata",
                413: "the notebook is too large",
            },
        )

    def status(self, kernel: str, version: int) -> tuple[str, str]:
        """Ask for a version's state.

        Returns
        -------
        state : str
            ``QUEUED``, ``RUNNING``, ``COMPLETE``, ``ERROR`` and a few more.
        message : str
            Kaggle's, of a failure.
        """
        from kagglesdk.kernels.types.kernels_api_service import ApiGetKernelSessionStatusRequest

        request = _of_version(ApiGetKernelSessionStatusRequest(), kernel, version)
        answer = self._connection.ask(
            f"for the state of {kernel} version {version}",
            lambda: self._service("kernels").get_kernel_session_status(request),
        )
        return answer.status.name, answer.failure_message

    def outputs(self, kernel: str, version: int) -> tuple[dict[str, str], str]:
        """List what a version wrote.

        Returns
        -------
        files : dict of str to str
            From a path within the output to where it can be fetched for some minutes.
        log : str
            As Kaggle keeps it, JSON.
        """
        from kagglesdk.kernels.types.kernels_api_service import ApiListKernelSessionOutputRequest

        files, token, log = {}, "", ""
        while True:
            request = _of_version(ApiListKernelSessionOutputRequest(), kernel, version)
            request.page_size, request.page_token = 100, token
            answer = self._connection.ask(
                f"for the output of {kernel} version {version}",
                lambda request=request: self._service("kernels").list_kernel_session_output(
                    request
                ),
            )
            files |= {file.file_name: file.url for file in answer.files or []}
            log = log or answer.log or ""
            token = answer.next_page_token
            if not token:
                return files, log

    def submit(self, kernel: str, version: int, file: str, message: str) -> Any:
        """Submit a version's output file; the answer has a ``message`` and a ``ref``."""
        return self._connection.ask(
            f"to submit {kernel} version {version}",
            lambda: self._api.competition_submit_code(
                file, message, SLUG, kernel, version, quiet=True
            ),
            repeat=False,  # a second one would count against the day's five
            lost=PERHAPS,
            remedies={
                403: f"accept the competition's rules first: {RULES}",
                404: "competition, notebook or version does not exist, or submissions have closed",
            },
        )

    def submission(self, ref: int) -> Any:
        """Ask for a submission's ``status``, ``public_score``, ``error_description``."""
        from kagglesdk.competitions.types.competition_api_service import ApiGetSubmissionRequest

        request = ApiGetSubmissionRequest()
        request.ref = ref
        return self._connection.ask(
            f"for submission {ref}", lambda: self._service("competition").get_submission(request)
        )

    def archive(self) -> requests.Response:
        """Ask for the competition's files, one zip; the answer's body is not read yet."""
        from kagglesdk.competitions.types.competition_api_service import (
            ApiDownloadDataFilesRequest,
        )

        request = ApiDownloadDataFilesRequest()
        request.competition_name = SLUG
        return self._connection.ask(
            "for the competition's files",
            lambda: self._service("competition").download_data_files(request),
            remedies={403: f"accept the competition's rules first: {RULES}"},
        )

    def open_file(self, url: str, name: str) -> requests.Response:
        """Ask for a file of an output; the answer's body is not read yet."""

        def call() -> requests.Response:
            response = requests.get(
                url,
                stream=True,
                timeout=self._connection.patience,
                headers={"Accept-Encoding": "identity"},  # so that its length is the file's
            )
            response.raise_for_status()
            return response

        return self._connection.ask(
            f"for {name}", call, remedies={403: "the address has expired: call again"}
        )

    def fetch(self, response: requests.Response, path: Path) -> None:
        """Write an answer's body to a file; what an earlier call wrote of it is kept.

        Raises
        ------
        KaggleError
            If no byte arrives for as long as the patience is, or the connection is lost again
            and again.
        """
        size = int(response.headers.get("Content-Length") or 0)
        with tqdm(
            total=size, desc=path.name, unit="B", unit_scale=True, disable=size < SHOWN
        ) as bar:

            def moving() -> int:
                bar.update((path.stat().st_size if path.exists() else 0) - bar.n)
                return bar.n

            self._connection.ask(
                f"for {path.name}",
                lambda: self._api.download_file(response, str(path), None, resume=True),
                repeat=False,  # the client repeats by itself
                lost="call again, it goes on where it stopped",
                moving=moving,
            )

    def _service(self, name: str) -> Any:
        client = self._api.build_kaggle_client()
        return {
            "kernels": client.kernels.kernels_api_client,
            "competition": client.competitions.competition_api_client,
        }[name]


def _imported() -> Any:
    for variable in ("VERBOSE", "VERBOSE_OUTPUT"):
        os.environ.pop(variable, None)  # it would print every request, the credentials included
    try:
        # where it cannot sign in it explains at length how to
        with contextlib.redirect_stdout(io.StringIO()):
            import kaggle
    except (ImportError, OSError) as error:
        raise InputError(
            f"the kaggle client cannot be used ({one_line(error)}): pip install kaggle six, and "
            "let ~/.kaggle be writable"
        ) from None
    return kaggle.api


def _of_version(request: Any, kernel: str, version: int) -> Any:
    request.user_name, request.kernel_slug = kernel.split("/")
    request.version_label = f"v{version}"  # a bare number is answered with 404
    return request


ATTEMPTS = 4  # at a question that Kaggle was too busy for, or that did not get through
PAUSE = 2.0  # seconds before the second attempt; doubled each time
LONGEST_PAUSE = 120.0  # seconds that Kaggle may ask for; beyond, the user is told instead

ACCESS = "https://www.kaggle.com/settings"
RULES = f"https://www.kaggle.com/competitions/{SLUG}/rules"

REMEDIES = {
    400: "the request was wrong; compare kaggle's version with requirements.txt",
    401: f"the credentials are not valid (any more): make new ones at {ACCESS}",
    403: f"is it yours, are the competition's rules accepted ({RULES}), and is the phone number "
    f"verified ({ACCESS})?",
    404: "there is no such thing on Kaggle, or it is not yours",
    409: "it clashes with something that is there",
    429: "too many requests: wait some minutes, then call again",
}
UNAVAILABLE = "the fault is Kaggle's: call again later"

LOST = (
    requests.exceptions.ConnectionError,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.Timeout,
)


class KaggleError(InputError):
    """Kaggle refused, failed, or could not be reached: why, and what to do about it."""

    exit_code = 1


class Connection:
    """How Kaggle is asked.

    Parameters
    ----------
    patience : float
        Seconds to wait for an answer, or for the next byte of a file.
    secrets : callable
        Gives the texts that no message may hold.
    """

    def __init__(self, patience: float, secrets: Callable[[], tuple[str, ...]]):
        self.patience = patience
        self._secrets = secrets

    def ask(
        self,
        what: str,
        call: Callable[[], Any],
        *,
        repeat: bool = True,
        lost: str = "look at your connection, then call again",
        remedies: dict[int, str] | None = None,
        moving: Callable[[], int] | None = None,
    ) -> Any:
        """Ask Kaggle something, again if it was too busy, and explain a failure.

        Parameters
        ----------
        what : str
            Completes "Kaggle was asked …" in a message.
        call : callable
        repeat : bool
            Whether a call may be repeated that might have reached Kaggle. One that was refused
            with 429 is repeated in any case.
        lost : str
            What to do if there is no answer.
        remedies : dict of int to str, optional
            For HTTP codes that mean something particular here.
        moving : callable, optional
            A number that changes as long as the call gets on.

        Raises
        ------
        KaggleError
        """
        for attempt in range(1, ATTEMPTS + 1):
            again, pause = repeat, PAUSE * 2 ** (attempt - 1)
            try:
                # what it prints are warnings, and hints for its own command line
                with contextlib.redirect_stdout(sys.stderr):
                    return _within(self.patience, call, moving)
            except InputError:
                raise
            except requests.exceptions.HTTPError as error:
                reason = self._refusal(error, REMEDIES | (remedies or {}))
                if error.response.status_code == 429:
                    again, pause = True, _asked_pause(error.response, pause)
                elif error.response.status_code < 500:
                    again = False
            except TimeoutError:
                reason = f"no answer within {self.patience:g} s: {lost}"
            except LOST as error:
                reason = f"the connection failed ({_cause(error)}): {lost}"
            except Exception as error:  # of the client, over an answer that it did not expect
                text = self._redacted(one_line(error))
                reason, again = f"the answer is not understood ({text}): call again later", False
            if not again or pause > LONGEST_PAUSE or attempt == ATTEMPTS:
                raise KaggleError(f"Kaggle was asked {what}; {reason}")
            print(f"Kaggle was asked {what}; {reason}", file=sys.stderr)
            print(f"trying again in {pause:.0f} s", file=sys.stderr)
            time.sleep(pause)
        raise AssertionError("the last attempt ends above")

    def _refusal(self, error: requests.exceptions.HTTPError, remedies: dict[int, str]) -> str:
        code = error.response.status_code
        # the text of the error itself may hold an address with a signature in it
        said = "" if " for url: " in str(error) else self._redacted(one_line(error))
        remedy = remedies.get(code, UNAVAILABLE if code >= 500 else "look at the page on Kaggle")
        return f"it refused: {said or error.response.reason} (HTTP {code}); {remedy}"

    def _redacted(self, text: str) -> str:
        """Take credentials out of a text."""
        for secret in self._secrets():
            text = text.replace(secret, "***")
        return text


def _within(
    seconds: float, call: Callable[[], Any], moving: Callable[[], int] | None = None
) -> Any:
    """Call something, and give up when nothing has moved for so long.

    The client gives no way to limit its waiting, so it waits in a thread that is left behind.
    """
    answers: queue.SimpleQueue = queue.SimpleQueue()

    def work() -> None:
        try:
            answers.put((call(), None))
        except BaseException as error:
            answers.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    seen, since = moving() if moving else None, time.monotonic()
    while True:
        with contextlib.suppress(queue.Empty):
            answer, error = answers.get(timeout=min(seconds, 1.0))
            if error is not None:
                raise error
            return answer
        now = moving() if moving else None
        if now != seen:
            seen, since = now, time.monotonic()
        elif time.monotonic() - since >= seconds:
            raise TimeoutError


def _asked_pause(response: requests.Response, usual: float) -> float:
    """Read how long Kaggle asks to wait, in seconds, or as a date."""
    asked = response.headers.get("Retry-After", "")
    with contextlib.suppress(ValueError):
        return max(0.0, float(asked))
    with contextlib.suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(asked) - datetime.now(UTC)).total_seconds())
    return usual


def _cause(error: BaseException) -> str:
    """Name what is at the bottom of a chain of errors; its text may hold addresses."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__
    return type(error).__name__


def wait(
    what: str, ask: Callable[[], str], ends: Collection[str], minutes: float, every: float
) -> str:
    """Ask again and again until the state is one of the ends.

    Parameters
    ----------
    what : str
        Whose state, for the progress line.
    ask : callable
        Gives the state.
    ends : collection of str
    minutes : float
        When to give up.
    every : float
        Seconds between two questions.

    Returns
    -------
    str
        The state at the end.

    Raises
    ------
    KaggleError
        If the time is over; what is waited for goes on.
    """
    begun, shown = time.monotonic(), ""
    while True:
        state = ask()
        passed = (time.monotonic() - begun) / 60
        shown = _show(f"{what}: {state.lower()}", passed, shown)
        if state in ends or passed >= minutes:
            break
        time.sleep(every)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if state not in ends:
        raise KaggleError(
            f"{what} is still {state.lower()} after {minutes:g} minutes: it goes on, call again, "
            "or wait longer with MINUTES=…"
        )
    return state


def _show(text: str, passed: float, shown: str) -> str:
    """Write the line over on a terminal; elsewhere only where the text is new."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}, {passed:.0f} min", end="", file=sys.stderr, flush=True)
    elif text != shown:
        print(f"{text}, {passed:.0f} min", file=sys.stderr, flush=True)
    return text

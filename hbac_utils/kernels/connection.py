"""A question to Kaggle: given up in time, asked again where that helps, explained where it fails.

The client waits for ever, repeats little and leaves it to its user to guess what an HTTP code
means.
"""

import contextlib
import queue
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import requests

from hbac_utils.data.competition import SLUG
from hbac_utils.errors import InputError, one_line

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

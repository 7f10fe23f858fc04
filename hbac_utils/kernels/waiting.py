"""Waiting for something on Kaggle, with one line that says how it stands."""

import sys
import time
from collections.abc import Callable, Collection

from hbac_utils.kernels.connection import KaggleError


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

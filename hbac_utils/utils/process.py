"""Turn SIGTERM into an exception; ignore signals at shutdown."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from hbac_utils.utils.errors import Terminated


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM raise `Terminated` once, so that open files and locks are cleaned up."""
    if threading.current_thread() is not threading.main_thread():  # receives no signals
        yield
        return

    def interrupt(*_) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def ignore_signals() -> None:
    """Ignore Ctrl-C and SIGTERM during interpreter shutdown, which keeps the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)

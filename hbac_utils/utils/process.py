"""Being asked to end: SIGTERM is an exception like that of Ctrl-C, and at last neither is heard."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from hbac_utils.utils.errors import Terminated


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM raise `Terminated`, once, so that what is at work puts things in their place.

    In another thread than the main one, which hears of no signals, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def unheard() -> None:
    """Ignore Ctrl-C and SIGTERM while Python takes its leave: what was to be done is done.

    Else a signal in that last second would replace the exit code, or print a traceback.
    """
    for told in (signal.SIGINT, signal.SIGTERM):
        signal.signal(told, signal.SIG_IGN)

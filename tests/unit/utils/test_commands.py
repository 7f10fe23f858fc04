"""Signals during the work and at shutdown."""

import os
import signal
import subprocess
import sys

import pytest

from hbac_utils.utils.commands import terminable
from hbac_utils.utils.errors import Terminated

SHUTDOWN = """
import atexit, sys, time
from hbac_utils.utils.commands import ignore_signals
atexit.register(lambda: (print("leaving", flush=True), time.sleep(0.3)))
ignore_signals()
sys.exit(2)
"""


def interrupted() -> None:
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    finally:
        os.kill(os.getpid(), signal.SIGTERM)  # ignored while the first is handled


def test_sigterm_raises_once_and_the_handler_is_restored():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated), terminable():
        interrupted()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_shutdown_does_not_change_the_exit_code(number):
    child = subprocess.Popen([sys.executable, "-c", SHUTDOWN], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"leaving\n"
    child.send_signal(number)
    assert child.wait() == 2

"""Verbs that are asked to end."""

import os
import signal
import subprocess
import sys

import pytest

from hbac_utils import verbs
from hbac_utils.__main__ import main

LEAVING = """
import atexit, runpy, sys, time
atexit.register(lambda: (print("leaving", flush=True), time.sleep(0.5)))
sys.argv = ["hbac", "scores", "nowhere"]
runpy.run_module("hbac_utils", run_name="__main__")
"""


def test_sigterm_is_one_line_and_its_exit_code(monkeypatch, capsys):
    def scores(options):
        """Be told to end."""
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(verbs, "scores", scores)
    assert main(["scores", "run"]) == 143
    assert capsys.readouterr().err == "stopped\n"
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_what_is_done_is_not_undone_by_a_signal_at_the_end(told):
    child = subprocess.Popen(
        [sys.executable, "-c", LEAVING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "leaving\n"
    child.send_signal(told)
    _, errors = child.communicate()
    assert child.returncode == 2
    assert errors.startswith("error: nowhere: ")
    assert errors.count("\n") == 1

"""SIGKILL, Ctrl-C and SIGTERM at random moments, and two processes at once.

The same command then ends as if nothing had happened.
"""

import signal
import time

import pytest
from operations import finish, kill, running

pytestmark = pytest.mark.faults


def tried(fault: str, **tries: int) -> list:
    """Parameters of the tests: names of commands, and how often each is disturbed."""
    return [
        pytest.param(name, n, marks=pytest.mark.fault(f"{fault}, {name}", tries=n), id=name)
        for name, n in tries.items()
    ]


KILLED = {"pack": 12, "train": 8, "train, notebook": 1, "infer": 2, "blend": 4, "sweep": 12}
SIGNALLED = dict.fromkeys(["pack", "train, notebook", "infer", "blend", "sweep"], 1)
TOGETHER = dict.fromkeys(["pack", "train", "infer", "sweep"], 1)


@pytest.mark.parametrize(("operation", "tries"), tried("SIGKILL", **KILLED), indirect=["operation"])
def test_a_killed_command_continues(operation, tries, random):
    """Half of the times only the command's own process is killed, not those that it started."""

    def strike(process):
        kill(process, children=random.random() < 0.5)

    operation.disturb(random, tries, strike, lambda result: result.code == -signal.SIGKILL)


@pytest.mark.parametrize(
    ("operation", "tries"), tried("Ctrl-C or SIGTERM", **SIGNALLED), indirect=["operation"]
)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_command_ends_in_one_line(operation, tries, number, code, random):
    operation.disturb(
        random, tries, lambda process: process.send_signal(number),
        lambda result: (result.code, result.last) == (code, "stopped"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("operation", "_"), tried("two at once", **TOGETHER), indirect=["operation"]
)
def test_two_processes_at_once_in_one_folder(operation, _, random, tmp_path):
    folder = tmp_path / "both"
    folder.mkdir()
    command, logs = operation.command(folder), (tmp_path / "first.log", tmp_path / "second.log")
    with running(command, logs[0]) as first:
        time.sleep(random.uniform(0, 0.5) * operation.seconds)
        with running(command, logs[1]) as second:
            results = [finish(first, logs[0]), finish(second, logs[1])]
    assert [result.code for result in results] == [0, 0], results
    operation.finish(folder)

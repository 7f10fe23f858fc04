"""The table of `make test-faults` and `make test`: each fault's tries, those survived, those lost.

A test marked ``fault("SIGKILL, training")`` is one try of that row, or as many as it records:
``record_property("tries", 7)``; if it fails all of them are lost. What it records as ``figure``,
a line of text, is printed below the table, and so is the reason of whatever was skipped.
``--table FILE`` writes the same as Markdown.
"""

import os
import platform
import time
from collections import Counter
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import psutil
import pytest

SEED = int(os.environ.get("SEED") or 0)
"""Of everything that is drawn: `make test-faults SEED=…` draws anew."""


def seeded(*key: int) -> np.random.Generator:
    """Make the generator of random numbers of a test; two keys, two generators."""
    return np.random.default_rng([SEED, *key])


class Tally:
    """The tries of all tests of a session, by fault."""

    def __init__(self):
        self.begun = time.monotonic()
        self.survived, self.lost = Counter(), Counter()
        self.figures: list[str] = []
        self.skipped: list[str] = []

    def add(self, report: pytest.TestReport) -> None:
        """Count a test when it has run, or could not."""
        known = dict(report.user_properties)
        fault = known.get("fault")
        if fault is None or (report.when == "teardown" and report.passed):
            return
        if report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
            self.skipped.append(f"{fault}: {str(reason).removeprefix('Skipped: ')}")
        elif report.failed:
            self.lost[fault] += known.get("tries", 1)
        elif report.when == "call":
            self.survived[fault] += known.get("tries", 1)
            self.figures += [
                str(value) for name, value in report.user_properties if name == "figure"
            ]

    @property
    def rows(self) -> list[tuple[str, int, int, int]]:
        """Fault, tries, survived, lost."""
        rows = []
        for fault in sorted({*self.survived, *self.lost}, key=str.casefold):
            kept, lost = self.survived[fault], self.lost[fault]
            rows.append((fault, kept + lost, kept, lost))
        return rows

    @property
    def notes(self) -> list[str]:
        """What stands below the table."""
        minutes = (time.monotonic() - self.begun) / 60
        skipped = [f"not tried: {line}" for line in dict.fromkeys(self.skipped)]
        return [*self.figures, *skipped, f"{_circumstances()}, {minutes:.0f} minutes"]

    def markdown(self) -> str:
        """Write the table and the notes for a document."""
        lines = ["| fault | tries | survived | lost |", "| --- | ---: | ---: | ---: |"]
        lines += [f"| {fault} | {n} | {kept} | {lost} |" for fault, n, kept, lost in self.rows]
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes)]) + "\n"

    def lines(self) -> list[str]:
        """Write them for a terminal."""
        width = max([len(row[0]) for row in self.rows], default=0)
        lines = [f"{'fault':{width}}  tries  survived  lost"]
        lines += [f"{f:{width}}  {n:5}  {kept:8}  {lost:4}" for f, n, kept, lost in self.rows]
        return [*lines, "", *self.notes]


def _circumstances() -> str:
    try:
        tensorflow = f"TensorFlow {version('tensorflow')}"
    except PackageNotFoundError:
        tensorflow = "TensorFlow"
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{datetime.now().astimezone():%Y-%m-%d}, seed {SEED}, {os.cpu_count()} cores, "
        f"{memory:.0f} GB, Python {platform.python_version()}, {tensorflow}"
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--table", metavar="FILE", help="write the table of faults as Markdown")


def pytest_configure(config: pytest.Config) -> None:
    # of the processes of pytest-xdist, only the one that prints
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Listener(config), "faults-listener")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        marker = item.get_closest_marker("fault")
        if marker is not None:
            # travels with the report, from the processes of pytest-xdist too
            item.user_properties.append(("fault", marker.args[0]))


class Listener:
    """Counts the reports, and prints the table at the end."""

    def __init__(self, config: pytest.Config):
        self.tally, self.table = Tally(), config.getoption("--table")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.tally.add(report)

    def pytest_terminal_summary(self, terminalreporter) -> None:
        if not self.tally.rows and not self.tally.skipped:
            return
        terminalreporter.section("faults")
        for line in self.tally.lines():
            terminalreporter.write_line(line)
        if self.table:
            Path(self.table).write_text(self.tally.markdown(), encoding="utf-8")

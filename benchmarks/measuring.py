"""Shared parts of the benchmarks: alternating cases, table lines, memory, reports."""

import json
import os
import platform
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import psutil

from hbac_utils.data.competition import Competition, open_competition
from hbac_utils.synthetic.render import synthesize

PACKAGES = ("tensorflow", "keras", "numpy", "scipy", "pandas", "pyarrow", "joblib")
PERIOD = 0.25  # seconds between two samples of the memory


@dataclass(frozen=True)
class Line:
    """One line of the table, with a floor or a ceiling."""

    name: str
    measured: float
    floor: float | None = None
    ceiling: float | None = None
    note: str = ""

    @property
    def goal(self) -> str:
        """Bound in words."""
        return f"≥ {_number(self.floor)}" if self.ceiling is None else f"≤ {self.ceiling:,.2f}"

    @property
    def verdict(self) -> str:
        """``pass`` or ``fail``."""
        kept = (
            self.measured >= self.floor if self.ceiling is None else self.measured <= self.ceiling
        )
        return "pass" if kept else "fail"

    def __str__(self) -> str:
        measured = _number(self.measured)
        return f"{self.name:66} {measured:>9} {self.goal:>9} {self.verdict:5}  {self.note}"


HEAD = f"{'case':66} {'value':>9} {'goal':>9}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def take_turns(turns: int, cases: dict[str, Callable]) -> dict[str, list]:
    """Run cases alternately, there and back, so that a drift of the machine hits all alike."""
    measured: dict[str, list] = {name: [] for name in cases}
    for turn in range(turns):
        for name in list(cases)[:: -1 if turn % 2 else 1]:
            measured[name].append(cases[name]())
    return measured


def ratio(measured: dict[str, list[float]], over: str, under: str) -> float:
    """Median over the turns of one case over another."""
    return float(np.median(np.divide(measured[over], measured[under])))


def simulated_competition(folder: Path, eegs: int, **settings) -> Competition:
    """Simulate a competition, or open the one of an earlier run."""
    if folder.is_dir():
        return open_competition(folder)
    print(f"simulating {eegs} EEGs in {folder}, once", flush=True)
    return synthesize(folder, eegs=eegs, progress=False, **settings)


def peak_memory(work: Callable[[], object]) -> tuple[object, float]:
    """Run a function; returns its result and the most memory of this process meanwhile, MB.

    Mapped files, which belong to the kernel's cache, are not counted.
    """
    samples, finished = [0.0], threading.Event()

    def sample() -> None:
        own = psutil.Process()
        while not finished.wait(PERIOD):
            memory = own.memory_info()
            samples.append((memory.rss - getattr(memory, "shared", 0)) / 2**20)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        return work(), max(samples)
    finally:
        finished.set()
        thread.join()


def write_report(path: Path, content: dict) -> None:
    """Write measurements as JSON, with the machine and the versions."""
    about = {
        "cores": os.cpu_count(), "machine": platform.platform(), "load": os.getloadavg(),
        "python": platform.python_version(), "versions": {name: version(name) for name in PACKAGES},
    }  # fmt: skip
    path.write_text(json.dumps(content | about, indent=2) + "\n")

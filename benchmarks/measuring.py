"""Shared parts of the benchmarks: competitions, alternating cases, table lines, reports."""

import json
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np

from hbac_utils.data.competition import Competition, open_competition
from hbac_utils.synthetic.render import synthesize

PACKAGES = ("tensorflow", "keras", "numpy", "scipy", "pandas", "pyarrow", "joblib")


@dataclass(frozen=True)
class Line:
    """One line of the table; without floor and ceiling it is only reported."""

    name: str
    measured: float
    floor: float | None = None
    ceiling: float | None = None
    note: str = ""
    raw: dict = field(default_factory=dict)

    @property
    def must(self) -> str:
        """Bound in words."""
        if self.ceiling is not None:
            return f"≤ {self.ceiling:,.2f}"
        return "reported" if self.floor is None else f"≥ {_number(self.floor)}"

    @property
    def verdict(self) -> str:
        """``ok``, ``short``, or empty without a bound."""
        if self.floor is None and self.ceiling is None:
            return ""
        reached = self.floor is None or self.measured >= self.floor
        kept = self.ceiling is None or self.measured <= self.ceiling
        return "ok" if reached and kept else "short"

    def __str__(self) -> str:
        measured = _number(self.measured)
        return f"{self.name:66} {measured:>9} {self.must:>11} {self.verdict:5}  {self.note}"


HEAD = f"{'line':66} {'measured':>9} {'must reach':>11}"


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


def write_report(path: Path, content: dict) -> None:
    """Write measurements as JSON, with the machine and the versions."""
    about = {
        "cores": os.cpu_count(), "machine": platform.platform(), "load": os.getloadavg(),
        "python": platform.python_version(), "versions": {name: version(name) for name in PACKAGES},
    }  # fmt: skip
    path.write_text(json.dumps(content | about, indent=2) + "\n")

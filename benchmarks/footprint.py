"""The anonymous memory of a process while it works, and whether it grows.

Counted is Linux' ``RssAnon``: pages of files that are mapped belong to the kernel's cache, which
gives them back when others need them.
"""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import stats

PERIOD = 0.25  # seconds between two looks
STRETCHES = 20


def anonymous(pid: int | str = "self") -> float:
    """Read a process' anonymous memory, MB; zero if it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    lines = [line for line in status.splitlines() if line.startswith("RssAnon")]
    return float(lines[0].split()[1]) / 1024 if lines else 0.0


def footprint(work: Callable[[], object]) -> tuple[object, np.ndarray]:
    """Do some work in this process and look at its memory meanwhile.

    Returns
    -------
    result
        What the work gives.
    megabytes : array of float
        A look every quarter of a second.
    """
    seen: list[float] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(PERIOD):
            seen.append(anonymous())

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        return work(), np.array(seen)
    finally:
        over.set()
        watcher.join()


def growth(megabytes: np.ndarray, thousands: float) -> tuple[float, float]:
    """Fit a line to looks that are evenly spread over so many thousands of pieces of work.

    Of means over stretches, as what is seen shortly after one another is much alike.

    Returns
    -------
    slope, error : float
        MB per 1,000 pieces, and the slope's standard error.
    """
    means = [stretch.mean() for stretch in np.array_split(megabytes, STRETCHES)]
    line = stats.linregress(thousands / STRETCHES * np.arange(STRETCHES), means)
    return float(line.slope), float(line.stderr)

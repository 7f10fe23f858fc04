"""Anonymous memory of a process during its work, and its growth.

``RssAnon`` is counted, as Linux reports it: pages of mapped files belong to the kernel's cache.
"""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import stats

PERIOD = 0.25  # seconds between two samples
STRETCHES = 20


def anonymous(pid: int | str = "self") -> float:
    """Anonymous memory of a process, MB; zero if it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    lines = [line for line in status.splitlines() if line.startswith("RssAnon")]
    return float(lines[0].split()[1]) / 1024 if lines else 0.0


def footprint(work: Callable[[], object]) -> tuple[object, np.ndarray]:
    """Run a function and sample this process' memory (MB); returns its result and the samples."""
    samples: list[float] = []
    finished = threading.Event()

    def sample() -> None:
        while not finished.wait(PERIOD):
            samples.append(anonymous())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        return work(), np.array(samples)
    finally:
        finished.set()
        thread.join()


def growth(megabytes: np.ndarray, thousands: float) -> tuple[float, float]:
    """Slope, MB per 1,000 pieces of work, of evenly spread samples, and its standard error.

    Fitted to means over stretches, because neighbouring samples are correlated.
    """
    means = [stretch.mean() for stretch in np.array_split(megabytes, STRETCHES)]
    line = stats.linregress(thousands / STRETCHES * np.arange(STRETCHES), means)
    return float(line.slope), float(line.stderr)

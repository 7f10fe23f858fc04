"""Verbs in processes of their own, to be killed, stopped or starved."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

ROOT = Path(__file__).parents[2]
PATIENCE = 300
"""Seconds after which a process counts as hanging."""

ENVIRONMENT = {"TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
"""Of two sessions of tests on two cores, each has one."""


class Lost(AssertionError):
    """What a fault has cost."""


def verb(*arguments: object) -> list[str]:
    """Write the command of a verb."""
    return [sys.executable, "-m", "hbac_utils", *map(str, arguments)]


@dataclass
class Result:
    """How a process has ended, and the last line that is no progress bar."""

    code: int
    errors: str

    @property
    def said(self) -> str:
        lines = [line for line in self.errors.replace("\r", "\n").splitlines() if line.strip()]
        return lines[-1] if lines else ""


@dataclass
class Running:
    """A command with all the processes that it has started so far."""

    process: subprocess.Popen
    log: Path
    seen: dict[int, psutil.Process] = field(default_factory=dict)

    def look(self) -> list[psutil.Process]:
        """Find its children, and theirs; a notebook's kernel is in a session of its own."""
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                self.seen[child.pid] = child
        return [child for child in self.seen.values() if child.is_running()]

    def kill(self, what: str = "all") -> None:
        """Send SIGKILL to ``all`` processes, to the ``verb``'s own, or to its ``children``."""
        children = self.look()
        if what != "children":
            self.process.kill()
        for child in children if what != "verb" else ():
            with suppress(psutil.NoSuchProcess):
                child.kill()

    def wait_at_most(self, seconds: float) -> None:
        """Wait so long, or until the command has ended."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)

    def wait(self) -> Result:
        """Wait until the command has ended."""
        code = self.process.wait(PATIENCE)
        return Result(code, self.log.read_text(errors="replace"))


orphans: list[psutil.Process] = []
"""Children that have outlived their verb: what comes next must bear them, for a while."""


@contextmanager
def running(command: Sequence[str], log: Path, **options) -> Iterator[Running]:
    """Start a command; nothing of it outlives the block, but orphans for a moment."""

    def heed() -> None:  # a shell lets its background jobs ignore Ctrl-C
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    environment = {**os.environ, "PYTHONPATH": str(ROOT), **ENVIRONMENT, **options.pop("env", {})}
    with log.open("w") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=file,
            start_new_session=True, **{"preexec_fn": heed} | options,
        )  # fmt: skip
    started = Running(process, log)
    try:
        yield started
    finally:
        if process.poll() is None:
            started.kill()
            process.wait()
        orphans.extend(child for child in started.seen.values() if child.is_running())


def end_orphans() -> None:
    """Kill what is left."""
    while orphans:
        with suppress(psutil.NoSuchProcess):
            orphans.pop().kill()


def done(command: Sequence[str], log: Path, **options) -> Result:
    """Run a command to its end."""
    with running(command, log, **options) as started:
        return started.wait()


@dataclass
class Operation:
    """Something that is begun, disturbed, and begun again with the same command.

    Attributes
    ----------
    command : callable
        Of the folder that it works in.
    check : callable
        Of the folder in the end; raises an AssertionError if it is not as it should be.
    marks : sequence of str
        Patterns of files in the folder: some faults come just after one of them has appeared.
    seconds : float
        How long it takes undisturbed.
    """

    command: Callable[[Path], list[str]]
    check: Callable[[Path], None]
    marks: Sequence[str]
    seconds: float

    def finish(self, folder: Path, log: Path, **options) -> None:
        """Run it to its end, and check what it has left."""
        result = done(self.command(folder), log, **options)
        if result.code != 0:
            raise Lost(f"exit code {result.code}: {result.errors[-2000:]}")
        self.check(folder)

    def disturb(
        self,
        scratch: Path,
        random: np.random.Generator,
        times: int,
        strike: Callable[[Running], None],
        ends: Callable[[Result], bool],
        after: float = 0.0,
    ) -> None:
        """Strike so many times at random moments, each time going on where it was, and finish.

        If the command is faster than the fault, its result is checked and another is begun.

        Parameters
        ----------
        scratch : Path
        random : numpy.random.Generator
        times : int
        strike : callable
            Does the harm to a running command.
        ends : callable
            Whether the command may end as it did.
        after : float
            Seconds that the command is given at least.
        """
        folders = iter(range(10 * times))
        folder = scratch / str(next(folders))
        folder.mkdir()
        struck = 0
        while struck < times:
            with running(self.command(folder), scratch / "log") as started:
                started.wait_at_most(after)
                self._wait_for_the_moment(started, folder, random)
                early = started.process.poll() is not None
                if not early:
                    strike(started)
                result = started.wait()
            if early or result.code == 0:
                if result.code != 0:
                    raise Lost(f"after {struck}: {result.code}: {result.errors[-2000:]}")
                self.check(folder)
                folder = scratch / str(next(folders))
                folder.mkdir()
            elif not ends(result):
                raise Lost(f"after {struck + 1}: {result.code}: {result.errors[-2000:]}")
            struck += not early
        self.finish(folder, scratch / "log")

    def _wait_for_the_moment(
        self, started: Running, folder: Path, random: np.random.Generator
    ) -> None:
        mark = str(random.choice(self.marks)) if random.random() < 0.5 else ""
        limit = time.monotonic() + self.seconds * (1.2 if mark else random.uniform(0.02, 1.0))
        before = _stamps(folder, mark)
        while time.monotonic() < limit and started.process.poll() is None:
            if mark and _stamps(folder, mark) - before:
                time.sleep(random.uniform(0, 0.03))
                return
            time.sleep(0.003)


def _stamps(folder: Path, mark: str) -> set[tuple[int, int]]:
    found = set()
    for path in folder.glob(mark) if mark else ():
        with suppress(FileNotFoundError):
            status = path.stat()
            found.add((status.st_ino, status.st_mtime_ns))
    return found


def timed(action: Callable[[], object]) -> float:
    """Measure how many seconds something takes."""
    begun = time.monotonic()
    action()
    return time.monotonic() - begun

"""Commands that the fault tests disturb, and the check of what they leave.

A disturbed command is started again; in the end its files must be those of an undisturbed one.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import psutil

ROOT = Path(__file__).parents[2]
TIMEOUT = 300  # seconds
ENVIRONMENT = {
    "PYTHONPATH": str(ROOT), "TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1",
    "MPLBACKEND": "agg",
}  # fmt: skip
HBAC = [sys.executable, "-m", "hbac_utils"]
QUICK = [sys.executable, str(Path(__file__).with_name("quick.py"))]
TIMES = ("windows_per_second", "seconds", "training_minutes", "minutes", "attempts")
"""Columns that differ from run to run."""


@dataclass
class Result:
    """Exit code and standard error of a process."""

    code: int
    errors: str

    @property
    def last(self) -> str:
        """The last line."""
        return [line for line in ["", *self.errors.splitlines()] if line.strip() or not line][-1]

    def assert_refused(self, reason: str) -> None:
        """Check that the command ended as for wrong input: no traceback, the last line an error."""
        assert self.code == 2, self.errors[-3000:]
        assert self.last.startswith("error: "), self.errors[-3000:]
        assert reason in self.errors  # of several workers, in an earlier line
        assert "Traceback" not in self.errors


@contextmanager
def running(command: list, log: Path) -> Iterator[subprocess.Popen]:
    """Start a command; no process of it outlives the block."""

    def heed() -> None:  # a shell's background jobs ignore Ctrl-C
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with log.open("w") as file:
        process = subprocess.Popen(
            [*map(str, command)], cwd=ROOT, env=os.environ | ENVIRONMENT, preexec_fn=heed,
            stdout=subprocess.DEVNULL, stderr=file, start_new_session=True,
        )  # fmt: skip
    try:
        yield process
    finally:
        kill(process)


def finish(process: subprocess.Popen, log: Path) -> Result:
    """Wait for the end of a process."""
    return Result(process.wait(TIMEOUT), log.read_text(errors="replace").replace("\r", "\n"))


def run(command: list, log: Path) -> Result:
    """Run a command to its end."""
    with running(command, log) as process:
        return finish(process, log)


def await_output(process: subprocess.Popen, folder: Path) -> None:
    """Wait until a command that has just been started writes into a folder, or ends."""
    begun = time.time()
    while process.poll() is None:
        with suppress(FileNotFoundError):  # what is removed meanwhile
            if any(path.stat().st_mtime > begun for path in folder.rglob("*")):
                return
        time.sleep(0.02)


def kill(process: subprocess.Popen, *, children: bool = True) -> None:
    """Send SIGKILL to a process, and to all that it started."""
    with suppress(psutil.NoSuchProcess):
        started = psutil.Process(process.pid).children(recursive=True) if children else []
        process.kill()
        for child in started:
            with suppress(psutil.NoSuchProcess):
                child.kill()


@dataclass
class Operation:
    """A command that is started, disturbed, and started again."""

    command: Callable[[Path], list]  # of the folder that it works in
    outputs: str  # pattern of the files that must be equal
    scratch: Path

    def __post_init__(self):
        self.log = self.scratch / "log"
        self.expected = self.scratch / "undisturbed"
        self.expected.mkdir()
        with running(self.command(self.expected), self.log) as process:
            await_output(process, self.expected)
            begun = time.monotonic()
            result = finish(process, self.log)
        assert result.code == 0, result.errors[-3000:]
        self.seconds = time.monotonic() - begun  # from the first output on

    def finish(self, folder: Path) -> None:
        """Run to the end, and compare the files with those of an undisturbed run."""
        result = run(self.command(folder), self.log)
        assert result.code == 0, result.errors[-3000:]
        self.check(folder)

    def check(self, folder: Path) -> None:
        """Compare the files with those of an undisturbed run."""
        names = self.files(folder)
        assert names == self.files(self.expected)
        for name in names:
            assert_same(folder / name, self.expected / name)

    def files(self, folder: Path) -> list[str]:
        """List the outputs, but for drafts of killed writers and logs, one a process."""
        return sorted(
            path.relative_to(folder).as_posix()
            for path in folder.glob(self.outputs)
            if path.is_file() and not path.name.startswith((".draft.", "events.out."))
        )

    def disturb(
        self,
        random: np.random.Generator,
        tries: int,
        strike: Callable[[subprocess.Popen], None],
        has_ended: Callable[[Result], bool],
    ) -> None:
        """Strike at random moments, resuming in between, and finish.

        If the command ends before the strike, its files are checked and another folder is begun.
        """
        struck = folders = 0
        while struck < tries:
            folder = self.scratch / f"disturbed{folders}"
            folder.mkdir(exist_ok=True)
            with running(self.command(folder), self.log) as process:
                await_output(process, folder)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(random.uniform(0, self.seconds))
                strike(process)
                result = finish(process, self.log)
            if result.code == 0:
                self.check(folder)
                folders += 1
            else:
                assert has_ended(result), (result.code, result.errors[-3000:])
                struck += 1
        self.finish(folder)


def assert_same(path: Path, expected: Path) -> None:
    """Compare two tables without times, two weights files, two arrays, or two recipes."""
    if path.suffix in (".csv", ".parquet"):
        read = pd.read_csv if path.suffix == ".csv" else pd.read_parquet
        tables = [read(each).drop(columns=[*TIMES], errors="ignore") for each in (path, expected)]
        pd.testing.assert_frame_equal(*tables, rtol=1e-4, atol=1e-5)
    elif path.suffix == ".h5":
        ours, theirs = arrays(path), arrays(expected)
        assert ours.keys() == theirs.keys()
        for name in ours:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-3, atol=1e-4, err_msg=name)
    elif path.suffix == ".npy" or path.name == "recipe.json":
        assert path.read_bytes() == expected.read_bytes(), path


def arrays(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of a weights file."""
    found = {}

    def add(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with h5py.File(path) as file:
        file.visititems(add)
    return found

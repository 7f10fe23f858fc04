"""Operations that the fault tests disturb, and checks of what they leave.

Each runs in a process of its own and is started again with the same command; in the end its
folder must be that of an undisturbed one.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import psutil
import yaml

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TIMEOUT = 300  # seconds
ENVIRONMENT = {"TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
TIMES = ("windows_per_second", "seconds", "training_minutes", "minutes", "attempts")
"""Columns that differ from run to run."""


def verb(*arguments: object) -> list[str]:
    """Command of a verb."""
    return [sys.executable, "-m", "hbac_utils", *map(str, arguments)]


def script(name: str, *arguments: object) -> list[str]:
    """Command of a script of this folder."""
    return [sys.executable, str(HERE / name), *map(str, arguments)]


@dataclass
class Result:
    """Exit code and standard error of a process."""

    code: int
    errors: str

    @property
    def last(self) -> str:
        """The last line."""
        lines = [line for line in self.errors.replace("\r", "\n").splitlines() if line.strip()]
        return lines[-1] if lines else ""

    @property
    def is_one_line(self) -> bool:
        """Whether the verb ended as for wrong input: one line, no traceback."""
        started = self.last.startswith("error: ")
        return self.code == 2 and started and "Traceback" not in self.errors


class Running:
    """A command and the processes that it has started so far."""

    def __init__(self, process: subprocess.Popen, log: Path):
        self.process, self.log = process, log

    def kill(self, what: str = "all") -> None:
        """Send SIGKILL to ``all`` processes, or to the ``verb``'s own."""
        children = []
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        for child in children if what == "all" else ():
            with suppress(psutil.NoSuchProcess):
                child.kill()

    def wait(self) -> Result:
        """Wait for the end."""
        code = self.process.wait(TIMEOUT)
        return Result(code, self.log.read_text(errors="replace"))


@contextmanager
def running(command: Sequence[str], log: Path, **options) -> Iterator[Running]:
    """Start a command; it does not outlive the block."""

    def heed() -> None:  # a shell's background jobs ignore Ctrl-C
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with log.open("w") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)} | ENVIRONMENT,
            stdout=subprocess.DEVNULL, stderr=file, start_new_session=True,
            **{"preexec_fn": heed} | options,
        )  # fmt: skip
    started = Running(process, log)
    try:
        yield started
    finally:
        if process.poll() is None:
            started.kill()
            process.wait()


class Operation:
    """A command that is started, disturbed, and started again.

    Parameters
    ----------
    scratch : Path
        Folder for the test; an undisturbed run is made there first.
    command : callable
        From the folder that it works in to the command.
    check : callable
        From that folder and an undisturbed one; asserts that they are equal.
    """

    def __init__(
        self,
        scratch: Path,
        command: Callable[[Path], list[str]],
        check: Callable[[Path, Path], None],
    ):
        self.scratch, self.command = scratch, command
        self.expected = scratch / "undisturbed"
        self.expected.mkdir(parents=True)
        self._compare = check
        begun = time.monotonic()
        self.run(self.expected)
        self.seconds = time.monotonic() - begun

    def run(self, folder: Path) -> None:
        """Run to the end without a disturbance."""
        with running(self.command(folder), self.scratch / "log") as started:
            result = started.wait()
        assert result.code == 0, result.errors[-2000:]

    def finish(self, folder: Path) -> None:
        """Run to the end, and check the folder."""
        self.run(folder)
        self._compare(folder, self.expected)

    def disturb(
        self,
        random: np.random.Generator,
        times: int,
        strike: Callable[[Running], None],
        may_end: Callable[[Result], bool],
    ) -> None:
        """Strike ``times`` times at random moments, resuming in between, and finish.

        If the command ends before the strike, its folder is checked and another is begun.
        """
        struck = folders = 0
        folder = self.scratch / "disturbed0"
        folder.mkdir()
        while struck < times:
            with running(self.command(folder), self.scratch / "log") as started:
                with suppress(subprocess.TimeoutExpired):
                    started.process.wait(random.uniform(0.1, 1.0) * self.seconds)
                early = started.process.poll() is not None
                if not early:
                    strike(started)
                result = started.wait()
            if result.code == 0:
                self._compare(folder, self.expected)
                folders += 1
                folder = self.scratch / f"disturbed{folders}"
                folder.mkdir()
            else:
                assert not early, result.errors[-2000:]
                assert may_end(result), (result.code, result.errors[-2000:])
            struck += not early
        self.finish(folder)


# -- operations ------------------------------------------------------------------------


def pack(competition, scratch: Path) -> Operation:
    """Pack a competition."""
    return Operation(
        scratch,
        lambda folder: verb("pack", "--data", competition.path, "--out", folder / "store"),
        lambda folder, expected: same_store(folder / "store", expected / "store"),
    )


def train(recipe: Path, competition, store, scratch: Path, *, notebook: bool = False) -> Operation:
    """Train by the verb, or without its notebook, which starts sooner."""
    arguments = ["train", "--data", competition.path, "--store", store.path, "--recipe", recipe]
    command = verb(*arguments) if notebook else script("without_notebook.py", *arguments)
    return Operation(
        scratch,
        lambda folder: [*command, "--run", str(folder / "run")],
        lambda folder, expected: same_run(folder / "run", expected / "run"),
    )


def infer(competition, run: Path, scratch: Path, *, notebook: bool = False) -> Operation:
    """Predict by the verb, or without its notebook."""
    arguments = ["infer", "--data", competition.path, "--run", run]
    command = verb(*arguments) if notebook else script("without_notebook.py", *arguments)
    return Operation(
        scratch,
        lambda folder: [*command, "--out", str(folder / "out")],
        lambda folder, expected: same_submission(folder / "out", expected / "out"),
    )


def sweep(recipe: Path, competition, store, scratch: Path, workers: int) -> Operation:
    """Sweep with fake trials."""
    scratch.mkdir(exist_ok=True)
    content = {
        "name": "small", "recipe": str(recipe), "grid": {"dropout": [0.3, 0.1, 0.2]},
        "folds": [0], "objective": "kl_all", "workers": workers,
    }  # fmt: skip
    file = scratch / "small.yaml"
    file.write_text(yaml.safe_dump(content))
    data = ["--data", competition.path, "--store", store.path]
    # a trial whose worker was killed three times is given up unless one asks for it
    command = script("replay_sweep.py", 0.3, file, *data, "--retry-failed")
    return Operation(
        scratch,
        lambda folder: [*command, "--out", str(folder / "sweeps")],
        lambda folder, expected: same_table(
            folder / "sweeps" / "small" / "results.csv", expected / "sweeps/small/results.csv"
        ),
    )


# -- what they leave -------------------------------------------------------------------


def same_store(store: Path, expected: Path) -> None:
    """Compare two stores byte by byte."""
    digests = [
        {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}
        for folder in (store, expected)
    ]
    assert digests[0] == digests[1]


def same_run(run: Path, expected: Path) -> None:
    """Compare the files, tables and weights of two runs."""
    assert file_names(run) == file_names(expected)
    for path in run.rglob("*"):
        theirs = expected / path.relative_to(run)
        if path.suffix in (".csv", ".parquet"):
            same_table(path, theirs)
        elif path.name.endswith(".weights.h5"):
            same_weights(path, theirs)
        elif path.name == "recipe.json":
            assert path.read_bytes() == theirs.read_bytes()


def same_table(table: Path, expected: Path) -> None:
    """Compare two tables, without times."""
    read = pd.read_csv if table.suffix == ".csv" else pd.read_parquet
    tables = [read(path).drop(columns=[*TIMES], errors="ignore") for path in (table, expected)]
    pd.testing.assert_frame_equal(*tables, rtol=1e-4, atol=1e-5)


def same_weights(weights: Path, expected: Path) -> None:
    """Compare all arrays of two weights files."""
    found: list[dict[str, np.ndarray]] = []
    for path in (weights, expected):
        arrays: dict[str, np.ndarray] = {}

        def add(name, item, arrays=arrays):
            if isinstance(item, h5py.Dataset):
                arrays[name] = item[()]

        with h5py.File(path) as file:
            file.visititems(add)
        found.append(arrays)
    ours, theirs = found
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-3, atol=1e-4, err_msg=name)


def same_submission(out: Path, expected: Path) -> None:
    """Compare what two inferences wrote."""
    assert file_names(out) == file_names(expected)
    same_table(out / "submission.csv", expected / "submission.csv")
    report = json.loads((out / "inference_report.json").read_text())
    assert report["fallbacks"] == {}


def file_names(folder: Path) -> list[str]:
    """List the files, but for drafts of killed writers and TensorBoard's, one a process."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(
        path.as_posix()
        for path in paths
        if "tensorboard" not in path.parts and not path.name.startswith(".draft.")
    )

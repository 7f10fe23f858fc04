"""A Dask scheduler and workers on loopback, each in its own process."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

TIMEOUT = 120  # seconds for whatever takes a few


@contextmanager
def dask_cluster(folder: Path, n_workers: int) -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """Start a cluster that writes into a folder; yield its address and the workers."""
    pytest.importorskip("distributed", reason="needs the package distributed")
    note, path = folder / "scheduler.json", [*sys.path, str(Path(__file__).parent)]
    environment = {"DASK_TEMPORARY_DIRECTORY": str(folder), "PYTHONPATH": os.pathsep.join(path)}
    with ExitStack() as stack:

        def start(*arguments: object) -> subprocess.Popen:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *map(str, arguments), "--no-dashboard"],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                env=os.environ | environment, cwd=folder,
            )  # fmt: skip
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        start("scheduler", "--host", "127.0.0.1", "--port", 0, "--scheduler-file", note)
        limit = time.monotonic() + TIMEOUT
        while not note.exists() or not note.read_text().endswith("}"):
            assert time.monotonic() < limit
            time.sleep(0.05)
        address = json.loads(note.read_text())["address"]
        options = ("--no-nanny", "--nthreads", 1)
        yield address, [start("worker", address, *options) for _ in range(n_workers)]

"""File systems that only one test sees: mounted in a namespace of its own, gone with it."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache

import pytest
from processes import ENVIRONMENT, PATIENCE, ROOT, Result

SERVER = """
import json, subprocess, sys
for line in sys.stdin:
    done = subprocess.run(json.loads(line), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, text=True, errors="replace")
    print(json.dumps([done.returncode, done.stderr]), flush=True)
"""


@lru_cache
def may_mount() -> bool:
    """Find out whether a small file system can be mounted here."""
    command = ["unshare", "-rm", "sh", "-c", "mount -t tmpfs -o size=4k tmpfs /mnt"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


mounts_needed = pytest.mark.skipif(
    not may_mount(), reason="no small file system can be mounted here"
)


@contextmanager
def within(prepare: str) -> Iterator[Callable[[str | Sequence[str]], Result]]:
    """Open a namespace, and yield a function that runs a command in it.

    Parameters
    ----------
    prepare : str
        A shell command that mounts.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **ENVIRONMENT}
    server = f"{prepare} && exec {shlex.join([sys.executable, '-c', SERVER])}"
    process = subprocess.Popen(
        ["unshare", "-rm", "sh", "-c", server], cwd=ROOT, env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip

    def run(command: str | Sequence[str]) -> Result:
        words = ["sh", "-c", command] if isinstance(command, str) else list(command)
        words = ["timeout", "-s", "KILL", str(PATIENCE), *words]
        process.stdin.write(json.dumps(words) + "\n")
        process.stdin.flush()
        return Result(*json.loads(process.stdout.readline()))

    try:
        yield run
    finally:
        process.stdin.close()
        process.wait(PATIENCE)

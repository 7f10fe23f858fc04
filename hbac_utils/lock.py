"""Locks that the kernel gives back when their holder dies, so that none is ever stale."""

import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder that is about to be made; wait while another process does.

    Whoever has to wait says so in a line on standard error, with the holder's process id.

    Parameters
    ----------
    folder : Path
        Its parent must exist; ``.<name>.lock`` is written there and removed at the end.
    """

    def wait(file: BinaryIO) -> None:
        holder = file.read().decode().strip() or "unknown"
        print(f"waiting: process {holder} is making {folder}", file=sys.stderr, flush=True)

    path = folder.with_name(f".{folder.name}.lock")
    file = locked(path, wait)
    try:
        file.truncate(0)
        with suppress(OSError):  # only for a message: a full disk locks as well
            os.write(file.fileno(), f"{os.getpid()}\n".encode())
        yield
    finally:
        # removed while it is held; who waits for it finds out in `locked`
        path.unlink(missing_ok=True)
        file.close()


def locked(path: Path, wait: Callable[[BinaryIO], None] | None = None) -> BinaryIO:
    """Open a file, made if it is not there, and lock it until it is closed.

    Parameters
    ----------
    path : Path
    wait : callable, optional
        Told the open file, at its beginning, before waiting for another process.

    Returns
    -------
    BinaryIO
        The file that is at the path while it is locked, open for reading and writing.

    Raises
    ------
    OSError
        If it cannot be made.
    """
    while True:
        # not "wb", which would empty the file of a process that is at it
        file = open(path, "r+b", opener=_create)  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if wait:
                wait(file)
            fcntl.flock(file, fcntl.LOCK_EX)
        # a file that its holder has renamed or removed locks nothing: a third may have a new one
        with suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(file.fileno())):
                return file
        file.close()


def _create(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT, 0o666)

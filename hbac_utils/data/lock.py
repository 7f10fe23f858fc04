"""A lock beside a folder: one process at a time makes it, the others wait."""

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder that is about to be made; wait while another process does.

    The kernel gives the lock back when its holder dies, so none is ever stale. Whoever has to
    wait says so in a line on standard error, with the holder's process id.

    Parameters
    ----------
    folder : Path
        Its parent must exist; ``.<name>.lock`` is written there and removed at the end.
    """
    path = folder.with_name(f".{folder.name}.lock")
    file = _taken(path, folder)
    try:
        file.truncate(0)
        with suppress(OSError):  # only for a message: a full disk locks as well
            os.write(file.fileno(), f"{os.getpid()}\n".encode())
        yield
    finally:
        # removed while it is held; who waits for it finds out in `_taken`
        path.unlink(missing_ok=True)
        file.close()


def _taken(path: Path, folder: Path) -> TextIO:
    while True:
        file = path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            print(f"waiting: process {holder} is making {folder}", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        # a file that its holder has removed locks nothing: a third process may have a new one
        if path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno())):
            return file
        file.close()

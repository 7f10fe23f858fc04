"""Files that appear whole: a reader, a kill or a power failure finds the old one or the new one."""

import errno
import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from hbac_utils.utils.errors import DiskError


@contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """Write a file beside its path, and rename it when all of it is on the disk.

    The draft, ``.draft.<name>``, is locked while it is written: of two writers the second waits.
    What a killed writer has left of it is overwritten by the next; if the block raises, the draft
    is removed and the old file stays.

    Parameters
    ----------
    path : str or Path
        In a folder that exists.

    Yields
    ------
    BinaryIO
        Open for writing; what is written to the file of its ``name`` instead counts as well.

    Raises
    ------
    OSError
        If the folder cannot be written to, or has no room.
    """
    path = Path(path)
    draft = path.with_name(f".draft.{path.name}")
    with locked(draft) as file:
        try:
            file.truncate(0)
            yield file
            file.flush()
            os.fsync(file.fileno())
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            with suppress(OSError):  # what a full disk did not take would be written once more
                file.close()
            raise
    flush(path.parent)


def flush(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems have no such thing for a folder
            raise
    finally:
        os.close(descriptor)


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


NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)
BROKEN = (errno.EIO, errno.ESTALE)


@contextmanager
def writing(place: str | Path) -> Iterator[None]:
    """Translate what the operating system says while something is written to a place.

    Parameters
    ----------
    place : str or Path
        For the message: a folder.

    Raises
    ------
    DiskError
        If there is no room, the place may not be written to, or the disk fails.
    """
    try:
        yield
    except OSError as error:
        said = described(error, place)
        if said is None:
            raise
        raise DiskError(said) from None


def described(error: OSError, place: str | Path) -> str | None:
    """Say what a disk's error means and what to do about it; None if it is another error."""
    where = f": {error.filename}" if error.filename else ""
    if error.errno in NO_ROOM:
        return (
            f"{place}: no room on the disk ({error.strerror}{where}); make room and give the same "
            "command again, which goes on where it was"
        )
    if error.errno in NOT_WRITABLE:
        return f"{place}: cannot be written ({error.strerror}{where}); name another path"
    if error.errno in BROKEN:
        return f"{place}: the disk fails ({error.strerror}{where}); see to it, or name another path"
    return None

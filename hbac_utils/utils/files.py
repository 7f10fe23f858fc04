"""Atomic files, folder locks, errors of the disk in one line, and where shipped files lie."""

import errno
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

from hbac_utils.utils.errors import DiskError

PACKAGE = Path(__file__).resolve().parents[1]
DRAFT = ".draft."  # prefix of the name of a file that is still being written


@contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """Write a file atomically: as a draft beside it, which is renamed at the end.

    A kill leaves the draft, see `remove_drafts`. Another library may write to the file of the
    yielded ``name`` instead.
    """
    path = Path(path)
    draft = path.with_name(f"{DRAFT}{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with draft.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def remove_drafts(folder: Path) -> None:
    """Remove the drafts that killed writers left in a folder whose lock is held."""
    for draft in folder.rglob(f"{DRAFT}*"):
        draft.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Wait until a file's bytes, or a folder's entries, are on the disk; not on Windows."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, ``.<name>.lock`` beside it; it ends with its process."""
    path = folder.with_name(f".{folder.name}.lock")
    held = FileLock(path)
    try:
        held.acquire(timeout=0)
    except Timeout:
        print(f"waiting: another process is writing {folder}", file=sys.stderr, flush=True)
        held.acquire()
    try:
        yield
    finally:
        with suppress(OSError):  # on Windows an open file cannot be removed
            path.unlink()
        held.release()


def check_writable(path: str | Path) -> None:
    """Refuse a file or folder that cannot be written, before long work; it need not exist."""
    path = Path(path).absolute()
    nearest = next(place for place in (path, *path.parents) if place.exists())
    if not os.access(nearest, os.W_OK) or (nearest != path and not nearest.is_dir()):
        raise DiskError(f"{path}: cannot be written (because of {nearest}); choose another path")


NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOT_WRITABLE = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EIO, errno.ESTALE,
    errno.ENAMETOOLONG, errno.ELOOP,
)  # fmt: skip


@contextmanager
def writing(place: str | Path) -> Iterator[None]:
    """Translate errors of a full, read-only or failing disk into a `DiskError` about ``place``."""
    try:
        yield
    except OSError as error:
        reason = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
        if error.errno in NO_SPACE:
            problem = f"no space on the disk ({reason}); free some space and run the command again"
        elif error.errno in NOT_WRITABLE:
            problem = f"cannot be written ({reason}); choose another path"
        else:
            raise
        raise DiskError(f"{place}: {problem}") from error


def resource_root() -> Path:
    """Return the folder that holds ``recipes``, ``sweeps``, ``notebooks`` and kernel metadata."""
    # in an installed wheel; else a checkout, or the library that a kernel unpacks
    installed = PACKAGE / "_resources"
    return installed if installed.is_dir() else PACKAGE.parent


def find_resource(path: str | Path) -> Path:
    """Return a relative path in the working folder if it exists there, else in `resource_root`."""
    path = Path(path)
    return path if path.exists() else resource_root() / path

"""What a disk does to those who write to it, in one line: it is full, read-only, or broken."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hbac_utils.errors import DiskError

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

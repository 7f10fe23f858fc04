"""Files that appear whole: a reader, a kill or a power failure finds the old one or the new one."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from hbac_utils.lock import locked


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

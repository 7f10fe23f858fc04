"""The competition's files: one large zip, downloaded and unpacked, resumed where it stopped."""

import shutil
import zipfile
import zlib
from pathlib import Path

from tqdm import tqdm

from hbac_utils.kernels.api import Kaggle, KaggleError
from hbac_utils.utils.errors import InputError, one_line

USUAL = 26e9  # bytes of the archive, where Kaggle does not say
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)
"""What `zipfile` raises: it is damaged, or packed in a way that Kaggle has no reason for."""

COMPLETE = ("train.csv", "test.csv", "sample_submission.csv")


def download(kaggle: Kaggle, folder: Path) -> Path:
    """Download and unpack the competition.

    Parameters
    ----------
    kaggle : Kaggle
    folder : Path
        For the unpacked files; the archive lies beside it until it is unpacked. A call that was
        stopped goes on when made again.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If the disk is too full.
    KaggleError
        If Kaggle refuses (the rules are to be accepted first), or the archive is damaged.
    """
    archive = folder.with_name(f"{folder.name}.zip")
    if not archive.exists() and all((folder / name).is_file() for name in COMPLETE):
        print(f"complete already: {folder}")
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    if not zipfile.is_zipfile(archive):  # its table of contents comes last
        response = kaggle.archive()
        size = int(response.headers.get("Content-Length") or USUAL)
        here = archive.stat().st_size if archive.exists() else 0
        # parquet gets no smaller by zipping: as much again for what is unpacked
        check_space(folder, 2 * size - here, f"for the archive of {gigabytes(size)} and unpacking")
        kaggle.fetch(response, archive)
    unpack(archive, folder)
    archive.unlink()
    return folder


def check_space(folder: Path, needed: float, what: str) -> None:
    """Refuse what would not fit on the disk.

    Raises
    ------
    InputError
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{folder}: {gigabytes(needed)} are needed {what}, and {gigabytes(free)} are free: "
            "make room, or name a folder on another disk (OUT=…)"
        )


def gigabytes(size: float) -> str:
    """Write a number of bytes for people."""
    return f"{size / 1e9:.1f} GB"


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip; files that are there with the right size are left.

    Raises
    ------
    InputError
        If the disk is too full.
    KaggleError
        If the archive is damaged; it is removed then.
    """
    try:
        with zipfile.ZipFile(archive) as content:
            waiting = [entry for entry in content.infolist() if not _is_there(entry, folder)]
            check_space(folder, sum(entry.file_size for entry in waiting), "for unpacking")
            for entry in tqdm(waiting, desc="unpack", unit="file"):
                _unpack_one(content, entry, folder)
    except DAMAGED as error:
        archive.unlink()
        reason = one_line(error)
        raise KaggleError(f"{archive} was damaged ({reason}) and is removed: call again") from None


def _is_there(entry: zipfile.ZipInfo, folder: Path) -> bool:
    path = folder / entry.filename
    return path.is_dir() or (path.is_file() and path.stat().st_size == entry.file_size)


def _unpack_one(content: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> None:
    # under another name first: a file that is half written must not pass for a whole one
    target = folder / entry.filename
    if not target.resolve().is_relative_to(folder.resolve()):
        raise zipfile.BadZipFile(f"{entry.filename} would lie outside the folder")
    if entry.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.partial")
    with content.open(entry) as source, partial.open("wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
    partial.replace(target)

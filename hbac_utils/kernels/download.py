"""Download and unpack the competition: 26 GB in one zip file; an interrupted call is resumed."""

import shutil
import zipfile
import zlib
from pathlib import Path

from tqdm import tqdm

from hbac_utils.data.layout import SLUG
from hbac_utils.kernels.api import Kaggle, KaggleError
from hbac_utils.utils.errors import InputError, one_line

ARCHIVE_SIZE = 26e9  # bytes; parquet is compressed already, so its files take as much again

TABLES = ("train.csv", "test.csv", "sample_submission.csv")


def download(kaggle: Kaggle, folder: Path) -> Path:
    """Download and unpack the competition; a complete folder is left as it is.

    Parameters
    ----------
    kaggle : Kaggle
    folder : Path
        For the files; the archive lies in it until it is unpacked.

    Raises
    ------
    InputError
        If the disk has too little space.
    KaggleError
        If Kaggle refuses (the rules must be accepted first), or the archive is damaged.
    """
    archive = folder / f"{SLUG}.zip"
    if not archive.exists() and all((folder / name).is_file() for name in TABLES):
        print(f"complete already: {folder}")
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    if not zipfile.is_zipfile(archive):  # not yet whole: the table of contents comes last
        downloaded = archive.stat().st_size if archive.exists() else 0
        _check_space(folder, 2 * ARCHIVE_SIZE - downloaded)
        kaggle.download_competition(folder)
    unpack(archive, folder)
    archive.unlink()
    return folder


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip file; files that exist with the right size are skipped.

    Raises
    ------
    InputError
        If the disk has too little space.
    KaggleError
        If the archive is damaged; it is removed then.
    """
    try:
        with zipfile.ZipFile(archive) as content:
            missing = [entry for entry in content.infolist() if not _exists(folder, entry)]
            _check_space(folder, sum(entry.file_size for entry in missing))
            for entry in tqdm(missing, desc="unpack", unit="file"):
                content.extract(entry, folder)
    # RuntimeError and NotImplementedError: encrypted, or compressed in an unknown way
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        archive.unlink()
        raise KaggleError(
            f"{archive}: damaged ({one_line(error)}) and removed; run the command again"
        ) from None


def _exists(folder: Path, entry: zipfile.ZipInfo) -> bool:
    path = folder / entry.filename
    return path.is_dir() or (path.is_file() and path.stat().st_size == entry.file_size)


def _check_space(folder: Path, needed: float) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{folder}: {needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free: make "
            "room, or name a folder on another disk (OUT=…)"
        )

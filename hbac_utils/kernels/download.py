"""Download and unpack the competition: 26 GB in one zip file; an interrupted call is resumed."""

import shutil
import zipfile
import zlib
from pathlib import Path

from hbac_utils.data.layout import SLUG
from hbac_utils.kernels.api import Kaggle, KaggleError
from hbac_utils.utils.errors import InputError, one_line
from hbac_utils.utils.interactive import progress

ARCHIVE_SIZE = 26e9  # bytes; parquet is compressed already, so its files take as much again


def download(kaggle: Kaggle, folder: Path) -> None:
    """Download and unpack the competition; what is complete is skipped.

    Raises InputError if the disk has too little space, and KaggleError if Kaggle refuses (the
    rules must be accepted first) or the archive is damaged; it is removed then.
    """
    archive = folder / f"{SLUG}.zip"
    tables = [folder / f"{name}.csv" for name in ("train", "test", "sample_submission")]
    if not archive.exists() and all(path.is_file() for path in tables):
        print(f"complete already: {folder}")
        return
    folder.mkdir(parents=True, exist_ok=True)
    if not zipfile.is_zipfile(archive):  # not yet whole: the table of contents comes last
        needed = 2 * ARCHIVE_SIZE - (archive.stat().st_size if archive.exists() else 0)
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise InputError(
                f"{folder}: {needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free: "
                "make room, or name a folder on another disk (OUT=…)"
            )
        kaggle.download_competition(folder)
    try:
        with zipfile.ZipFile(archive) as content:
            entries = content.infolist()
            for entry in progress(entries, len(entries), "unpack"):
                path = folder / entry.filename
                if not path.is_file() or path.stat().st_size != entry.file_size:
                    content.extract(entry, folder)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        archive.unlink()
        raise KaggleError(
            f"{archive}: damaged ({one_line(error)}) and removed; run the command again"
        ) from None
    archive.unlink()

"""Data sets on Kaggle: the competition's files, and the library's wheel."""

import json
import shutil
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

from hbac_utils import __version__
from hbac_utils.data.layout import SLUG
from hbac_utils.kernels.api import Kaggle, KaggleError
from hbac_utils.kernels.build import BUILD, bundle_library
from hbac_utils.kernels.metadata import LIBRARY
from hbac_utils.utils.errors import InputError, one_line
from hbac_utils.utils.files import PACKAGE
from hbac_utils.utils.interactive import progress

ARCHIVE_SIZE = 26e9  # bytes; parquet is compressed already, so its files take as much again


def download_competition(kaggle: Kaggle, folder: Path) -> None:
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
            files = content.infolist()
            for entry in progress(files, len(files), "unpack files"):
                path = folder / entry.filename
                if not path.is_file() or path.stat().st_size != entry.file_size:
                    content.extract(entry, folder)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        archive.unlink()
        raise KaggleError(
            f"{archive}: damaged ({one_line(error)}) and removed; run the command again"
        ) from None
    archive.unlink()


def save_wheel(kaggle: Kaggle, folder: Path = BUILD / "wheel-dataset") -> str:
    """Build the wheel in a folder, make or update the data set, and return its address.

    Raises InputError if there is no clone to build from, or a file holds the user's credentials,
    and KaggleError if Kaggle refuses the data set.
    """
    wheel = build_wheel(folder)
    with zipfile.ZipFile(wheel) as content:
        for name in content.namelist():
            if any(secret.encode() in content.read(name) for secret in kaggle.secrets):
                raise InputError(f"{name}: contains your Kaggle credentials; remove them")
    data_set = f"{kaggle.username}/{LIBRARY}"
    metadata = {
        "id": data_set,
        "title": LIBRARY.replace("-", " "),
        "licenses": [{"name": "apache-2.0"}],
    }
    (folder / "dataset-metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    notes = f"hbac_utils {__version__}, commit {bundle_library().commit}"
    return kaggle.save_dataset(data_set, folder, notes)


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this clone in a new folder, without a network."""
    if not (PACKAGE.parent / "pyproject.toml").is_file():
        raise InputError(f"{PACKAGE.parent}: no clone of the repository, which the wheel needs")
    shutil.rmtree(folder, ignore_errors=True)
    command = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "-t",
        "wheel",
        "-d",
        str(folder.resolve()),
    ]
    done = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True)
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2]
        raise InputError(f"the wheel cannot be built: {reason}; see constraints/build.txt")
    return next(folder.glob("*.whl"))

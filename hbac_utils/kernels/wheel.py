"""The library's wheel as a Kaggle data set, for notebooks that do not embed the library."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from hbac_utils import __version__
from hbac_utils.kernels.api import Kaggle
from hbac_utils.kernels.build import BUILD, bundle_library
from hbac_utils.kernels.metadata import LIBRARY
from hbac_utils.utils.errors import InputError
from hbac_utils.utils.files import PACKAGE


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

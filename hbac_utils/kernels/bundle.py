"""The library as a notebook's first cell: a zip in base64 that unpacks itself.

It travels in the push itself, so notebook and library cannot differ; it needs neither internet
nor a data set that Kaggle first has to process.
"""

import base64
import hashlib
import io
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

import nbformat

from hbac_utils import __version__
from hbac_utils.utils.errors import InputError

PACKED = ("hbac_utils/**/*.py", "recipes/*.yaml")
"""What a notebook needs of the repository; recipes lie beside the package, as they do there."""

EPOCH = (1980, 1, 1, 0, 0, 0)  # the zip format's first date

CELL = '''\
# hbac_utils {version}, commit {commit}: the library, put here by `make stage`
import base64, hashlib, io, os, sys, tempfile, zipfile

_library = base64.b64decode("""
{library}
""")
_sha256 = hashlib.sha256(_library).hexdigest()
if _sha256 != "{sha256}":
    raise RuntimeError(f"the embedded library is damaged ({{_sha256}}): stage and push again")
_folder = tempfile.mkdtemp(prefix="hbac_utils-")  # the working folder is saved as output
zipfile.ZipFile(io.BytesIO(_library)).extractall(_folder)
sys.path.insert(0, _folder)
os.environ["PYTHONPATH"] = os.pathsep.join([_folder, *filter(None, [os.environ.get("PYTHONPATH")])])
del _library
print(f"hbac_utils {version}, commit {commit}, sha256 {{_sha256[:12]}}, in {{_folder}}")
'''


@dataclass(frozen=True)
class Bundle:
    """The packed library.

    Attributes
    ----------
    data : bytes
        A zip; the same bytes for the same files.
    commit : str
        Of the repository, or ``unknown``.
    changed : tuple of str
        Paths that differ from the commit.
    """

    data: bytes
    commit: str
    changed: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """The zip's, hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def label(self) -> str:
        """The commit, with a mark if the library differs from it."""
        return f"{self.commit}+changes" if self.changed else self.commit

    def holds(self, text: str) -> bool:
        """Say whether a file of the library holds a text."""
        with zipfile.ZipFile(io.BytesIO(self.data)) as archive:
            return any(text.encode() in archive.read(name) for name in archive.namelist())

    def cell(self) -> nbformat.NotebookNode:
        """Make the cell that verifies the zip, unpacks it and puts it on ``sys.path``."""
        library = base64.encodebytes(self.data).decode().strip()
        source = CELL.format(
            version=__version__, commit=self.label, library=library, sha256=self.sha256
        )
        hidden = {"_kg_hide-input": True, "jupyter": {"source_hidden": True}}
        # its name is fixed, so that the same library gives the same notebook
        return nbformat.v4.new_code_cell(source, metadata=hidden, id="hbac-library")


def pack_library(root: Path) -> Bundle:
    """Zip the library that lies under ``root``, with fixed dates and in a fixed order.

    Raises
    ------
    InputError
        If it is not there: an installed package cannot be staged, only the repository.
    """
    files = sorted({path for pattern in PACKED for path in root.glob(pattern)})
    if not any(path.suffix == ".yaml" for path in files):
        raise InputError(f"{root}: no recipes in it; stage from a clone of the repository")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in files:
            entry = zipfile.ZipInfo(path.relative_to(root).as_posix(), EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes(), compresslevel=9)
    return Bundle(buffer.getvalue(), *_git_state(root))


def _git_state(root: Path) -> tuple[str, tuple[str, ...]]:
    commit = _git(root, "rev-parse", "--short", "HEAD")
    if commit is None:
        return "unknown", ("no git repository",)
    paths = [f":(glob){pattern}" for pattern in (*PACKED, "notebooks/*.ipynb")]
    status = _git(root, "status", "--porcelain", "--untracked-files=all", "--", *paths) or ""
    return commit.strip(), tuple(line[3:] for line in status.splitlines())


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout

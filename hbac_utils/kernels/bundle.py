"""The library as a notebook's first cell: a base64 zip that verifies and unpacks itself."""

import base64
import hashlib
import io
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

import nbformat

from hbac_utils import __version__
from hbac_utils.utils.files import PACKAGE, resource_root

EXCLUDED = ("synthetic", "sweeps", "kernels")  # packages that no notebook imports

CELL = '''\
# hbac_utils {version}, commit {commit}: the library, embedded by `make stage`
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
    """The zipped library, and the state of its repository."""

    data: bytes  # equal files give equal bytes
    commit: str  # with "+changes" if the library differs from it
    changed: tuple[str, ...]  # paths that differ from the commit
    sha256: str  # of the data, hexadecimal

    def contains(self, text: str) -> bool:
        """Search the files of the library for a text."""
        with zipfile.ZipFile(io.BytesIO(self.data)) as archive:
            return any(text.encode() in archive.read(name) for name in archive.namelist())

    def cell(self) -> nbformat.NotebookNode:
        """Code cell that verifies the zip, unpacks it and puts it on ``sys.path``."""
        library = base64.encodebytes(self.data).decode().strip()
        source = CELL.format(
            version=__version__, commit=self.commit, library=library, sha256=self.sha256
        )
        hidden = {"_kg_hide-input": True, "jupyter": {"source_hidden": True}}
        return nbformat.v4.new_code_cell(source, metadata=hidden, id="hbac-library")


def bundle_library(package: Path = PACKAGE) -> Bundle:
    """Zip the library, its recipes and those of the working folder."""
    modules = {path.relative_to(package.parent): path for path in package.glob("**/*.py")}
    files = {name: path for name, path in modules.items() if name.parts[1] not in EXCLUDED}
    for folder in (resource_root() / "recipes", Path("recipes")):
        files |= {Path("recipes", path.name): path for path in folder.glob("*.yaml")}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name.as_posix())  # of 1980: equal files give equal bytes
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name].read_bytes(), zipfile.ZIP_DEFLATED, 9)
    data, (commit, changed) = buffer.getvalue(), _git_state(package)
    label = f"{commit}+changes" if changed else commit
    return Bundle(data, label, changed, hashlib.sha256(data).hexdigest())


def _git_state(package: Path) -> tuple[str, tuple[str, ...]]:
    """Commit of the library's repository, and the changed paths of what is pushed."""
    if (package / "_resources").is_dir():
        return "release", ()

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(package.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    sent = ("hbac_utils", "recipes", "notebooks")
    try:
        commit = git("rev-parse", "--short", "HEAD").strip()
        changed = git("status", "--porcelain", "--untracked-files=all", "--", *sent)
    except (OSError, subprocess.CalledProcessError):
        return "unknown", ("no git repository",)
    return commit, tuple(line[3:] for line in changed.splitlines())

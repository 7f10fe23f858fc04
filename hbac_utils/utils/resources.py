"""Locate recipes, sweeps, notebooks and kernel metadata."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def resource_root() -> Path:
    """Return the folder that holds ``recipes``, ``sweeps``, ``notebooks`` and kernel metadata."""
    # in an installed wheel; else a checkout, or the library that a kernel unpacks
    installed = PACKAGE / "_resources"
    return installed if installed.is_dir() else PACKAGE.parent


def find_resource(path: str | Path) -> Path:
    """Return a relative path in the working folder if it exists there, else in `resource_root`."""
    path = Path(path)
    return path if path.exists() else resource_root() / path

"""The environment of a notebook: versions, hardware, attached inputs."""

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd
import psutil

from hbac_utils.data.layout import KAGGLE_INPUT

PACKAGES = ("tensorflow", "keras", "keras-cv", "numpy", "pandas", "pyarrow", "scipy")

DEFAULT_RECIPES = {True: "vipeegnet", False: "compact"}  # with a GPU, and without

DEPTHS = {"competitions": 1, "datasets": 2, "notebooks": 2, "models": 5}
"""Depth of an input's folder below these folders of ``/kaggle/input``."""


def is_rerun() -> bool:
    """Tell whether this is Kaggle's re-run on the hidden test set, which must not fail."""
    return bool(os.environ.get("KAGGLE_IS_COMPETITION_RERUN"))


def default_recipe() -> str:
    """Name the recipe that suits this machine: the strongest one with a GPU, else the smallest."""
    from hbac_utils.utils.backend import tf

    return DEFAULT_RECIPES[bool(tf.config.list_physical_devices("GPU"))]


def describe_environment() -> pd.DataFrame:
    """Tabulate where the notebook runs, processors, memory and versions."""
    from hbac_utils.utils.backend import tf

    gpus = [
        tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    memory = psutil.virtual_memory()
    kernel = os.environ.get("KAGGLE_KERNEL_RUN_TYPE")
    facts = {
        "runs on": "not Kaggle" if kernel is None else f"Kaggle, {kernel.lower()}",
        "GPUs": ", ".join(gpus) or "none",
        "processors": str(os.cpu_count()),
        "memory": f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GB free",
        "Python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
    }
    if is_rerun():
        facts["runs on"] += ", the hidden re-run"
    return pd.Series(facts, name="value").to_frame()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def attached(folder: Path = KAGGLE_INPUT) -> pd.DataFrame:
    """List the inputs of a Kaggle notebook: columns ``folder`` and ``what``."""
    rows = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        depth = DEPTHS.get(path.name, 0)
        mounts = path.glob("/".join("*" * depth)) if depth else [path]
        rows += [(str(mount), _kind(mount)) for mount in sorted(mounts) if mount.is_dir()]
    rows = rows or [(str(folder), "nothing" if folder.is_dir() else "no such folder")]
    return pd.DataFrame(rows, columns=["folder", "what"])


def _kind(path: Path) -> str:
    if (path / "train.csv").is_file() or (path / "test.csv").is_file():
        return "competition"
    if next(path.glob("**/metrics.json"), None):
        return "run"
    if next(path.glob("**/*.h5"), None) or next(path.glob("**/config.json"), None):
        return "pretrained weights"
    return "this library" if (path / "hbac_utils").is_dir() else "other"


def walk_attached(folder: Path = KAGGLE_INPUT) -> Iterator[tuple[Path, set[str]]]:
    """Walk the inputs of a Kaggle notebook, except the recordings: folders with their files."""
    for path, folders, files in os.walk(folder, followlinks=True):
        yield Path(path), set(files)
        if {"train.csv", "test.csv"} & set(files):
            folders.clear()
        folders.sort()

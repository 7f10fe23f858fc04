"""What a notebook runs on, what lies attached to it, which run it uses: facts to look at first."""

import os
import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import psutil

from hbac_utils.data.layout import KAGGLE_INPUT
from hbac_utils.labels import RELIABLE_VOTES
from hbac_utils.training.runs import read_metrics

if TYPE_CHECKING:  # it brings TensorFlow along
    from hbac_utils.inference.predict import Run

PACKAGES = ("tensorflow", "keras", "keras-cv", "numpy", "pandas", "pyarrow", "scipy")

DEPTHS = {"competitions": 1, "datasets": 2, "notebooks": 2, "models": 5}
"""How many folders below these of ``/kaggle/input`` something attached begins."""


def environment() -> pd.DataFrame:
    """Tabulate versions, processors, memory and where the notebook runs.

    Returns
    -------
    DataFrame of str
        One column, ``value``.
    """
    from hbac_utils.utils.backend import tf

    gpus = [
        tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    memory = psutil.virtual_memory()
    facts = {
        "runs on": _place(),
        "GPUs": ", ".join(gpus) or "none",
        "processors": str(os.cpu_count()),
        "memory": f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GB free",
        "Python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
    }
    return pd.Series(facts, name="value").to_frame()


def _place() -> str:
    run_type = os.environ.get("KAGGLE_KERNEL_RUN_TYPE")
    if run_type is None:
        return "not Kaggle"
    rerun = ", the hidden re-run" if is_rerun() else ""
    return f"Kaggle, {run_type.lower()}{rerun}"


def is_rerun() -> bool:
    """Tell whether Kaggle runs the notebook on the hidden test set, where nobody can mend it."""
    return bool(os.environ.get("KAGGLE_IS_COMPETITION_RERUN"))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def attached(folder: Path = KAGGLE_INPUT) -> pd.DataFrame:
    """List what is attached to a Kaggle notebook, read-only, and what it looks like.

    Returns
    -------
    DataFrame of str
        ``folder`` and ``what``.
    """
    rows = [(str(path), _kind(path)) for path in sorted(_mounts(folder))]
    rows = rows or [(str(folder), "nothing" if folder.is_dir() else "no such folder")]
    return pd.DataFrame(rows, columns=["folder", "what"])


def _mounts(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir() if folder.is_dir() else ():
        pattern = "/".join("*" * DEPTHS.get(path.name, 0))
        yield from (found for found in path.glob(pattern) if found.is_dir()) if pattern else [path]


def _kind(path: Path) -> str:
    if (path / "train.csv").is_file() or (path / "test.csv").is_file():
        return "competition"
    if next(path.glob("**/metrics.json"), None):
        return "run"
    if next(path.glob("**/*.h5"), None) or next(path.glob("**/config.json"), None):
        return "pretrained weights"
    if (path / "hbac_utils").is_dir():
        return "this library"
    return "other"


def describe_runs(runs: "Sequence[Run]") -> pd.DataFrame:
    """Tabulate which runs predict, and how they scored out of fold.

    Returns
    -------
    DataFrame of str
        A column per run.
    """
    facts = {f"run {number}": _describe(run) for number, run in enumerate(runs, start=1)}
    return pd.DataFrame(facts).fillna("")


def _describe(run: "Run") -> pd.Series:
    metrics = read_metrics(run.path)
    scores = metrics["scores"]
    facts = {
        "folder": str(run.path),
        "recipe": run.recipe.name,
        "fold models": ", ".join(run.models),
        "reads": ", ".join(run.recipe.inputs),
        "scored out of fold": f"{metrics['windows']:,} windows",
    }
    for key, name in (("kl_reliable", f"≥ {RELIABLE_VOTES} votes"), ("kl_all", "all votes")):
        if scores["model"][key] is not None:
            facts[f"out of fold, {name}"] = (
                f"KL {scores['model'][key]:.3f} (prior {scores['prior'][key]:.3f})"
            )
    return pd.Series(facts)

"""What an operation has left, compared with what an undisturbed one leaves."""

import hashlib
import json
import zipfile
from io import BytesIO
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

TIMES = ("windows_per_second", "seconds", "training_minutes", "minutes", "host", "attempts")
"""Columns that no two runs share."""


def assert_same_store(store: Path, expected: Path) -> None:
    """Compare two stores byte by byte."""
    assert _hashes(store) == _hashes(expected)


def assert_same_run(run: Path, expected: Path) -> None:
    """Compare two runs: files, histories, predictions, scores, weights."""
    names = _names(run)
    assert names == _names(expected)
    for name in names:
        ours, theirs = run / name, expected / name
        if name.endswith((".csv", ".parquet")):
            assert_same_table(ours, theirs)
        elif name.endswith(".weights.h5"):
            _assert_same_weights(ours, theirs)
        elif name.endswith(".npy"):
            np.testing.assert_allclose(np.load(ours), np.load(theirs), rtol=1e-4, atol=1e-6)
        elif name == "metrics.json":
            scores = [json.loads(path.read_text())["scores"] for path in (ours, theirs)]
            np.testing.assert_allclose(*(pd.DataFrame(s, dtype=float) for s in scores), rtol=1e-4)
        elif name == "recipe.json":
            assert ours.read_bytes() == theirs.read_bytes()


def assert_same_table(table: Path, expected: Path) -> None:
    """Compare two tables but for the times in them."""
    read = pd.read_csv if table.suffix == ".csv" else pd.read_parquet
    tables = [read(path).drop(columns=[*TIMES], errors="ignore") for path in (table, expected)]
    pd.testing.assert_frame_equal(*tables, rtol=1e-4, atol=1e-5)


def assert_same_submission(out: Path, expected: Path) -> None:
    """Compare what two inferences have written."""
    assert _names(out) == _names(expected)
    assert_same_table(out / "submission.csv", expected / "submission.csv")
    reports = [json.loads((p / "inference_report.json").read_text()) for p in (out, expected)]
    assert reports[0]["fallbacks"] == reports[1]["fallbacks"] == {}
    for page in out.glob("*.html"):
        assert page.stat().st_size > 50_000


def assert_same_sweep(folder: Path, expected: Path) -> None:
    """Compare two sweeps: the table, and every trial's run."""
    assert_same_table(folder / "results.csv", expected / "results.csv")
    assert "</html>" in (folder / "report.html").read_text()
    trials = sorted(path.name for path in (expected / "trials").iterdir())
    for trial in trials:
        run = folder / "trials" / trial
        assert not (run / "error.txt").exists()
        if (expected / "trials" / trial / "recipe.json").exists():
            assert_same_run(run, expected / "trials" / trial)


def _hashes(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def _names(folder: Path) -> list[str]:
    """List the files, hidden ones too; TensorBoard begins one in every process."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in found if "tensorboard" not in path.parts)


def _assert_same_weights(model: Path, expected: Path) -> None:
    ours, theirs = _weights(model), _weights(expected)
    assert ours.keys() == theirs.keys()
    for name in ours:
        # the optimizer's averages and the weights alike; of random generators the states
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-3, atol=1e-4, err_msg=name)


def _weights(model: Path) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(model) as file:
        content = BytesIO(file.read("model.weights.h5"))
    found = {}
    with h5py.File(content) as weights:
        weights.visititems(
            lambda name, item: found.update({name: item[()]} if hasattr(item, "size") else {})
        )
    return found

"""The inference notebook on malformed test folders and on a large one."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import spoiled

from hbac_utils.cli import main

pytestmark = pytest.mark.faults
PREDICTED = pytest.mark.fault("bad test folder, predicted by the notebook")


@pytest.fixture(autouse=True)
def rerun(monkeypatch):
    """Simulate Kaggle's hidden re-run."""
    monkeypatch.setenv("KAGGLE_IS_COMPETITION_RERUN", "1")


def inferred(folder: Path, run: Path, out: Path) -> dict:
    """Run the notebook by its verb, and read its report."""
    assert main(["infer", "--data", str(folder), "--run", str(run), "--out", str(out)]) == 0
    return json.loads((out / "inference_report.json").read_text())


@PREDICTED
def test_every_kind_of_bad_eeg_and_odd_ids(competition, run, tmp_path, capfd, record_property):
    kinds = [kind for kind in spoiled.FILES if kind.recording == "eeg"]
    record_property("tries", len(kinds))
    folder = spoiled.one_of_each(competition, tmp_path / "hidden", kinds)
    ids = spoiled.ids_as_floats(folder).ids
    report = inferred(folder, run, tmp_path / "out")
    written = pd.read_csv(tmp_path / "out" / "submission.csv", dtype=str)
    assert written["eeg_id"].tolist() == ids
    for eeg_id, kind in zip(ids, kinds, strict=True):
        assert kind.lost in report["fallbacks"].get(eeg_id, "")
        assert kind.repaired in report["repaired"].get(eeg_id, "")
    warning = "got the training prior, not a prediction"
    assert warning in report["warning"]
    assert warning in capfd.readouterr().err
    assert warning in (tmp_path / "out" / "inference.html").read_text()


@PREDICTED
@pytest.mark.parametrize(
    "spoil", [spoiled.no_rows, spoiled.id_of_words, spoiled.no_folder_of_eegs],
    ids=lambda spoil: spoil.__name__,
)  # fmt: skip
def test_bad_tables(spoil, competition, run, tmp_path):
    folder = spoiled.hidden_set(competition, tmp_path / "hidden")
    expected = spoil(folder)
    report = inferred(folder, run, tmp_path / "out")
    assert set(report["fallbacks"]) == {str(i) for i in expected.lost}
    written = pd.read_csv(tmp_path / "out" / "submission.csv", dtype=str, keep_default_na=False)
    assert written["eeg_id"].tolist() == [str(i) for i in expected.ids]


@PREDICTED
def test_five_thousand_rows_of_which_some_are_missing(competition, run, tmp_path):
    folder = spoiled.hidden_set(competition, tmp_path / "hidden", 8)
    sources = competition.test["eeg_id"].to_numpy()[np.arange(5000) % 8]
    for i, source in enumerate(sources):
        if i % 100:
            (folder / f"test_eegs/{i}.parquet").hardlink_to(folder / f"test_eegs/{source}.parquet")
    table = competition.test.loc[np.arange(5000) % 8].assign(eeg_id=range(5000))
    table.to_csv(folder / "test.csv", index=False)
    report = inferred(folder, run, tmp_path / "out")
    assert report["rows"] == 5000
    assert list(report["fallbacks"]) == [str(i) for i in range(0, 5000, 100)]
    assert not report["warning"], "one in a hundred gives no warning"

"""The inference notebook on malformed test folders: no row is lost, reasons are reported."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import spoiled

from hbac_utils.cli import main

pytestmark = pytest.mark.faults
EEGS = [kind for kind in spoiled.FILES if kind.recording == "eeg"]


@pytest.fixture(autouse=True)
def rerun(monkeypatch):
    """Simulate Kaggle's hidden re-run."""
    monkeypatch.setenv("KAGGLE_IS_COMPETITION_RERUN", "1")


def inferred(folder: Path, run: Path, out: Path) -> tuple[list, dict]:
    """Run the notebook by its verb; return the ids as written, and the report."""
    assert main(["infer", "--data", str(folder), "--run", str(run), "--out", str(out)]) == 0
    written = pd.read_csv(out / "submission.csv", dtype=str, keep_default_na=False)
    return written["eeg_id"].tolist(), json.loads((out / "inference_report.json").read_text())


@pytest.mark.fault("bad EEG, hidden re-run", tries=len(EEGS))
def test_every_kind_of_bad_eeg_and_odd_ids(competition, run, tmp_path, capfd):
    folder = spoiled.one_of_each(competition, tmp_path / "hidden", EEGS)
    ids = spoiled.ids_as_floats(folder).ids
    written, report = inferred(folder, run, tmp_path / "out")
    assert written == ids
    for eeg_id, kind in zip(ids, EEGS, strict=True):
        assert kind.lost in report["fallbacks"].get(eeg_id, "")
        assert kind.repaired in report["repaired"].get(eeg_id, "")
    warning = "got the training prior, not a prediction"
    assert warning in report["warning"]
    assert warning in capfd.readouterr().err
    assert warning in (tmp_path / "out" / "inference.html").read_text()


@pytest.mark.fault("bad test table, hidden re-run")
@pytest.mark.parametrize("spoil", [spoiled.no_rows, spoiled.no_folder_of_eegs])
def test_bad_tables(spoil, competition, run, tmp_path):
    folder = spoiled.hidden_set(competition, tmp_path / "hidden")
    expected = spoil(folder)
    written, report = inferred(folder, run, tmp_path / "out")
    assert written == [str(i) for i in expected.ids]
    assert set(report["fallbacks"]) == {str(i) for i in expected.lost}


@pytest.mark.fault("missing EEG, hidden re-run", tries=20)
def test_two_thousand_rows_of_which_one_in_a_hundred_is_missing(competition, run, tmp_path):
    folder = spoiled.hidden_set(competition, tmp_path / "hidden", 8)
    table = competition.test.loc[np.arange(2000) % 8]
    for i, source in enumerate(table["eeg_id"]):
        if i % 100:
            (folder / f"test_eegs/{i}.parquet").hardlink_to(folder / f"test_eegs/{source}.parquet")
    spoiled.write(folder, table.assign(eeg_id=range(2000)))
    written, report = inferred(folder, run, tmp_path / "out")
    assert written == [str(i) for i in range(2000)]
    assert list(report["fallbacks"]) == [str(i) for i in range(0, 2000, 100)]
    assert not report["warning"], "one in a hundred gives no warning"

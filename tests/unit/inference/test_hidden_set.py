"""Malformed test folders: the submission is complete and the reasons are reported.

What the readers make of each malformed file is in tests/unit/data/test_readers.py.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import spoiled

from hbac_utils.data.competition import open_competition
from hbac_utils.data.test_loader import BATCH_SIZE, read_batches
from hbac_utils.eda.examples import read_test_windows
from hbac_utils.inference.predict import Prediction, open_run, predict
from hbac_utils.inference.submission import check_submission, write_submission
from hbac_utils.labels import VOTE_COLUMNS
from hbac_utils.recipe import load_recipe
from hbac_utils.utils.errors import InputError

COLUMNS = list(VOTE_COLUMNS)


@pytest.fixture(autouse=True)
def rerun(monkeypatch):
    """Simulate Kaggle's hidden re-run."""
    monkeypatch.setenv("KAGGLE_IS_COMPETITION_RERUN", "1")


class Model:
    """Probabilities from the mean amplitude of the first six channels; can run out of memory."""

    def __init__(self, name: str, most: int = 99, fails=lambda signal: False):
        self.name, self.most, self.fails, self.asked = name, most, fails, []

    def predict_on_batch(self, signals):
        signal = np.nan_to_num(signals[self.name].astype(np.float32))
        self.asked.append(len(signal))
        if len(signal) > self.most or self.fails(signal):
            raise MemoryError("no memory\nat all")
        logits = np.abs(signal[:, :, :6]).mean(axis=1)
        weights = np.exp(0.1 * (logits - logits.max(axis=1, keepdims=True)))
        return weights / weights.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def runs(run) -> dict:
    """A run that reads EEGs, and one that reads spectrograms."""
    opened = open_run(run)
    recipe = load_recipe("paper-efficientnetv2b2")
    return {
        "eeg": dataclasses.replace(opened, models={"fold0": Model("eeg")}),
        "spectrogram": dataclasses.replace(
            opened, recipe=recipe, models={"fold0": Model("spectrogram")}
        ),
    }


@pytest.fixture
def folder(competition, tmp_path) -> Path:
    """A hidden test set of two rows; nothing else is in its folder."""
    return spoiled.hidden_set(competition, tmp_path / "hidden")


def submitted(runs: list, folder: Path, out: Path) -> Prediction:
    """Predict, write and check as the notebook does."""
    competition = open_competition(folder)
    prediction = predict(runs, competition, progress=False)
    check_submission(write_submission(prediction, out), competition)
    assert len(read_test_windows(competition, 1)) == min(1, len(prediction.submission))
    return prediction


@pytest.mark.parametrize("name", ["eeg", "spectrogram"])
def test_every_bad_recording_costs_nothing_but_itself(name, runs, competition, tmp_path):
    kinds = [kind for kind in spoiled.FILES if kind.recording == name]
    folder = spoiled.one_of_each(competition, tmp_path / "hidden", kinds)
    run = runs[name]
    prediction = submitted([run], folder, tmp_path / "out")
    report = json.loads((tmp_path / "out" / "inference_report.json").read_text())
    values = prediction.submission[COLUMNS].to_numpy()
    good = predict([run], competition, progress=False).submission[COLUMNS].to_numpy()[0]
    assert prediction.submission["eeg_id"].tolist() == list(range(len(kinds)))
    for i, kind in enumerate(kinds):
        lost, repaired = prediction.fallbacks.get(i, ""), prediction.repaired.get(i, "")
        assert (bool(lost), bool(repaired)) == (bool(kind.lost), bool(kind.repaired)), kind.name
        assert kind.lost in lost
        assert kind.repaired in repaired
        if kind.lost:
            np.testing.assert_allclose(values[i], run.prior, atol=1e-6, err_msg=kind.name)
        elif kind.same:
            np.testing.assert_allclose(values[i], good, atol=1e-3, err_msg=kind.name)
    assert set(report["fallbacks"]) == {str(i) for i in prediction.fallbacks}
    assert "got the training prior" in report["warning"]


@pytest.mark.parametrize("spoil", spoiled.TABLES, ids=lambda spoil: spoil.__name__)
def test_a_bad_table_loses_no_id(spoil, runs, folder, tmp_path):
    expected = spoil(folder)
    prediction = submitted([runs["eeg"]], folder, tmp_path / "out")
    assert prediction.submission["eeg_id"].tolist() == expected.ids
    assert set(prediction.fallbacks) == expected.lost
    # as another reader, such as Kaggle's, reads the file
    written = pd.read_csv(tmp_path / "out" / "submission.csv", dtype=str, keep_default_na=False)
    assert written["eeg_id"].tolist() == [str(i) for i in expected.ids]


@pytest.mark.parametrize("missing", ["folder", "column", "files"])
def test_without_spectrograms_the_runs_that_need_none_predict(missing, runs, folder, tmp_path):
    if missing == "column":
        spoiled.only_ids(folder)
    else:
        for path in (folder / "test_spectrograms").iterdir():
            path.unlink()
    if missing == "folder":
        (folder / "test_spectrograms").rmdir()
    both = submitted([runs["spectrogram"], runs["eeg"]], folder, tmp_path / "both")
    assert not both.fallbacks
    assert [summary["lost"] for summary in both.runs] == [2, 0]
    alone = submitted([runs["eeg"]], folder, tmp_path / "alone")
    np.testing.assert_allclose(both.submission[COLUMNS], alone.submission[COLUMNS], atol=1e-9)
    none = submitted([runs["spectrogram"]], folder, tmp_path / "none")
    assert "2 of 2 recordings (100.0%) got the training prior" in none.verdict()


def test_outside_the_rerun_a_missing_input_is_refused(runs, folder, monkeypatch):
    monkeypatch.delenv("KAGGLE_IS_COMPETITION_RERUN")
    spoiled.only_ids(folder)
    competition = open_competition(folder)
    with pytest.raises(InputError, match=r"no column spectrogram_id in test\.csv; use a run"):
        predict([runs["spectrogram"]], competition, progress=False)
    both = predict([runs["spectrogram"], runs["eeg"]], competition, progress=False)
    assert not both.fallbacks


# -- models that fail ------------------------------------------------------------------


def with_models(run, **models):
    return dataclasses.replace(run, models=models)


def test_without_memory_the_batch_is_halved_and_what_still_fails_gets_the_prior(
    runs, competition, tmp_path
):
    run, small = runs["eeg"], Model("eeg", most=3)
    halved = submitted([with_models(run, a=small)], competition.path, tmp_path)
    expected = predict([run], competition, progress=False)
    assert small.asked == [8, 4, 2, 2, 2, 2], "halved, and stays so"
    np.testing.assert_allclose(halved.submission[COLUMNS], expected.submission[COLUMNS], atol=1e-5)
    batch = next(read_batches(competition, competition.test, run.recipe.data, ("eeg",)))
    third = batch.recordings["eeg"][2][0].astype(np.float32)
    bad = Model("eeg", fails=lambda eeg: (eeg == third).all(axis=(1, 2)).any())
    prediction = submitted([with_models(run, a=bad)], competition.path, tmp_path)
    assert prediction.fallbacks == {
        competition.test["eeg_id"][2]: "the model failed: MemoryError: no memory at all"
    }


# -- reading ahead ---------------------------------------------------------------------


def test_batches_are_in_the_order_of_the_table(competition, tiny_recipe, monkeypatch):
    monkeypatch.setattr("hbac_utils.data.test_loader.BATCH_SIZE", 2)
    test = pd.concat([competition.test] * 2, ignore_index=True).head(13)
    batches = list(read_batches(competition, test, tiny_recipe.data, ("eeg",)))
    assert [list(batch.rows) for batch in batches] == [
        *([i, i + 1] for i in range(0, 12, 2)), [12],
    ]  # fmt: skip
    first, again = (batches[i].recordings["eeg"][0][0] for i in (0, 4))
    np.testing.assert_array_equal(first, again)
    assert BATCH_SIZE > 2

"""Test folders made bad on purpose: the submission is complete, whatever they are like."""

import dataclasses
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import spoiled
from keras import layers

from hbac_utils.data.competition import Competition, open_competition
from hbac_utils.data.examples import read_test_windows
from hbac_utils.ensemble import predict_all
from hbac_utils.errors import InputError
from hbac_utils.labels import VOTE_COLUMNS
from hbac_utils.models.views import KaggleSpectrogramView
from hbac_utils.prediction import Prediction, check_submission, open_run, write_submission
from hbac_utils.recipe import load_recipe

COLUMNS = list(VOTE_COLUMNS)
PREDICTED = pytest.mark.fault("bad test folder, predicted")


@pytest.fixture(autouse=True)
def rerun(monkeypatch):
    """It is Kaggle's hidden re-run, where nobody can mend anything."""
    monkeypatch.setenv("KAGGLE_IS_COMPETITION_RERUN", "1")


@pytest.fixture(scope="module")
def runs(run) -> dict:
    """The run that reads EEGs, and one that reads spectrograms, quickly made."""
    eeg = open_run(run)
    model = keras.Sequential(
        [
            keras.Input((300, 400), name="spectrogram"),
            KaggleSpectrogramView(),
            layers.AveragePooling2D(25),
            layers.Flatten(),
            layers.Dense(6, "softmax", kernel_initializer=keras.initializers.GlorotNormal(1)),
        ]
    )
    named = keras.Model({"spectrogram": model.inputs[0]}, model.outputs[0])
    recipe = load_recipe("paper-efficientnetv2b2")
    spectrogram = dataclasses.replace(eeg, recipe=recipe, models={"fold0": named})
    return {"eeg": eeg, "spectrogram": spectrogram}


@pytest.fixture
def folder(competition, tmp_path) -> Path:
    """A hidden test set of two rows; nothing else is in its folder."""
    return copied(competition, tmp_path / "hidden", 2)


def copied(competition: Competition, folder: Path, rows: int) -> Path:
    for kind in ("eeg", "spectrogram"):
        (folder / f"test_{kind}s").mkdir(parents=True)
    table = competition.test.head(rows)
    table.to_csv(folder / "test.csv", index=False)
    for row in table.itertuples():
        shutil.copy(competition.eeg_path("test", row.eeg_id), folder / "test_eegs")
        shutil.copy(
            competition.spectrogram_path("test", row.spectrogram_id), folder / "test_spectrograms"
        )
    return folder


def submitted(runs: list, folder: Path, out: Path) -> Prediction:
    """Predict, write, and check as the notebook does."""
    competition = open_competition(folder)
    prediction = predict_all(runs, competition, progress=False)
    check_submission(write_submission(prediction, out), competition)
    assert len(read_test_windows(competition, 2)) == min(2, len(prediction.submission))
    return prediction


@pytest.fixture(scope="module")
def unspoiled(runs, competition, tmp_path_factory) -> dict[str, np.ndarray]:
    folder = copied(competition, tmp_path_factory.mktemp("hidden") / "unspoiled", 2)
    return {
        name: predict_all([run], open_competition(folder), progress=False).submission[COLUMNS]
        for name, run in runs.items()
    }


@PREDICTED
@pytest.mark.parametrize("kind", spoiled.FILES, ids=lambda kind: kind.name)
def test_a_bad_recording_costs_nothing_but_itself(kind, runs, folder, unspoiled, tmp_path, capfd):
    test = open_competition(folder).test
    first, second = test["eeg_id"]
    kind.spoil(folder / f"test_{kind.recording}s" / f"{test[f'{kind.recording}_id'][0]}.parquet")
    run = runs[kind.recording]
    prediction = submitted([run], folder, tmp_path / "out")
    report = json.loads((tmp_path / "out" / "inference_report.json").read_text())

    assert prediction.submission["eeg_id"].tolist() == [first, second]
    values, before = prediction.submission[COLUMNS].to_numpy(), unspoiled[kind.recording].to_numpy()
    np.testing.assert_allclose(values[1], before[1], atol=1e-6)
    if kind.lost:
        assert kind.lost in prediction.fallbacks[first]
        np.testing.assert_allclose(values[0], run.prior, atol=1e-6)
        assert list(report["fallbacks"]) == [str(first)]
        assert "1 of 2 recordings (50.0%) got the training prior" in report["warning"]
        assert report["warning"] in capfd.readouterr().err
    else:
        assert not prediction.fallbacks
        assert not report["warning"]
        assert np.abs(values[0] - run.prior).max() > 1e-4
        assert kind.mended in "".join(report["mended"].values())
        assert bool(report["mended"]) == bool(kind.mended)
    if kind.same:
        np.testing.assert_allclose(values[0], before[0], atol=1e-3)


@PREDICTED
@pytest.mark.parametrize("spoil", spoiled.TABLES, ids=lambda spoil: spoil.__name__)
def test_a_bad_table_loses_no_id(spoil, runs, folder, tmp_path):
    expected = spoil(folder)
    prediction = submitted([runs["eeg"]], folder, tmp_path / "out")
    assert prediction.submission["eeg_id"].tolist() == expected.ids
    assert set(prediction.fallbacks) == expected.lost
    # what another reader, such as Kaggle's, finds in the file
    written = pd.read_csv(tmp_path / "out" / "submission.csv", dtype=str, keep_default_na=False)
    assert written["eeg_id"].tolist() == [str(i) for i in expected.ids]


@PREDICTED
@pytest.mark.parametrize("spoil", spoiled.WITHOUT_SPECTROGRAMS, ids=lambda spoil: spoil.__name__)
def test_without_spectrograms_the_runs_that_need_none_predict(spoil, runs, folder, tmp_path):
    spoil(folder)
    both = submitted([runs["spectrogram"], runs["eeg"]], folder, tmp_path / "both")
    assert not both.fallbacks
    assert [summary["lost"] for summary in both.runs] == [2, 0]
    alone = submitted([runs["eeg"]], folder, tmp_path / "alone")
    np.testing.assert_allclose(both.submission[COLUMNS], alone.submission[COLUMNS], atol=1e-9)
    none = submitted([runs["spectrogram"]], folder, tmp_path / "none")
    assert len(none.fallbacks) == 2
    assert "2 of 2 recordings (100.0%) got the training prior" in none.verdict()


def test_where_somebody_can_mend_it_a_view_without_its_data_is_refused(runs, folder, monkeypatch):
    monkeypatch.delenv("KAGGLE_IS_COMPETITION_RERUN")
    spoiled.no_column_of_spectrograms(folder)
    competition = open_competition(folder)
    with pytest.raises(InputError, match=r"no column spectrogram_id in test\.csv; use a run"):
        predict_all([runs["spectrogram"]], competition, progress=False)
    both = predict_all([runs["spectrogram"], runs["eeg"]], competition, progress=False)
    assert not both.fallbacks

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

from hbac_utils.cli import main
from hbac_utils.data.competition import Competition, open_competition
from hbac_utils.data.test_loader import read_input
from hbac_utils.eda.examples import read_test_windows
from hbac_utils.inference.predict import Prediction, open_run, predict
from hbac_utils.inference.submission import check_submission, write_submission
from hbac_utils.labels import VOTE_COLUMNS
from hbac_utils.models.views import KaggleSpectrogramView
from hbac_utils.recipe import load_recipe, override
from hbac_utils.training.trainer import train
from hbac_utils.utils.backend import tf
from hbac_utils.utils.errors import InputError

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
    prediction = predict(runs, competition, progress=False)
    check_submission(write_submission(prediction, out), competition)
    assert len(read_test_windows(competition, 1)) == min(1, len(prediction.submission))
    return prediction


@pytest.fixture(scope="module")
def unspoiled(runs, competition, tmp_path_factory) -> dict[str, np.ndarray]:
    folder = copied(competition, tmp_path_factory.mktemp("hidden") / "unspoiled", 2)
    return {
        name: predict([run], open_competition(folder), progress=False).submission[COLUMNS]
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
        assert kind.mended in "".join(report["repaired"].values())
        assert bool(report["repaired"]) == bool(kind.mended)
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


class Failing:
    """A model that cannot predict some recordings, or many at once."""

    def __init__(self, model, most=99, bad=lambda signals: False):
        self.model, self.most, self.bad, self.asked = model, most, bad, []

    def predict_on_batch(self, signals):
        self.asked.append(len(signals["eeg"]))
        if len(signals["eeg"]) > self.most or self.bad(signals["eeg"]):
            raise tf.errors.ResourceExhaustedError(None, None, "no memory\nat all")
        return self.model.predict_on_batch(signals)


def with_models(run, **models):
    return dataclasses.replace(run, models=models)


def test_without_memory_a_model_is_asked_with_fewer_at_a_time(runs, competition, tmp_path):
    whole = runs["eeg"]
    models = {name: Failing(model, most=3) for name, model in whole.models.items()}
    prediction = submitted([with_models(whole, **models)], competition.path, tmp_path)
    expected = predict([whole], competition, progress=False)
    assert not prediction.fallbacks
    assert models["fold0"].asked == [8, 4, 2, 2, 2, 2], "halved, and it stays so"
    np.testing.assert_allclose(
        prediction.submission[COLUMNS], expected.submission[COLUMNS], atol=1e-5
    )


def test_what_one_model_cannot_predict_is_left_to_the_others(runs, competition, tmp_path):
    whole = runs["eeg"]
    fine, other = whole.models.values()
    broken = Failing(fine, most=0)
    prediction = submitted([with_models(whole, a=broken, b=other)], competition.path, tmp_path)
    alone = predict([with_models(whole, b=other)], competition, progress=False)
    assert not prediction.fallbacks
    assert broken.asked == [8, 4, 2, 1], "given up"
    np.testing.assert_allclose(prediction.submission[COLUMNS], alone.submission[COLUMNS], atol=1e-6)


def test_what_no_model_can_predict_gets_the_prior(runs, competition, tmp_path):
    whole = runs["eeg"]
    model = whole.models["fold0"]
    third = competition.test["eeg_id"][2]
    row = competition.test.iloc[2]
    signal = read_input(competition, row, "eeg", whole.recipe.data).array
    bad = Failing(model, bad=lambda eeg: (eeg == signal).all(axis=(1, 2)).any())
    prediction = submitted([with_models(whole, a=bad)], competition.path, tmp_path / "raises")
    assert prediction.fallbacks == {
        third: "the model failed: ResourceExhaustedError: no memory at all"
    }
    nan = keras.Sequential(
        [
            keras.Input((10_000, 19), name="eeg"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(6, kernel_initializer=keras.initializers.Constant(np.nan)),
        ]
    )
    nan = keras.Model({"eeg": nan.inputs[0]}, nan.outputs[0])
    prediction = submitted([with_models(whole, a=nan)], competition.path, tmp_path / "nan")
    assert set(prediction.fallbacks.values()) == {"the model's output is not finite"}
    assert len(prediction.fallbacks) == 8


def test_where_somebody_can_mend_it_a_view_without_its_data_is_refused(runs, folder, monkeypatch):
    monkeypatch.delenv("KAGGLE_IS_COMPETITION_RERUN")
    spoiled.no_column_of_spectrograms(folder)
    competition = open_competition(folder)
    with pytest.raises(InputError, match=r"no column spectrogram_id in test\.csv; use a run"):
        predict([runs["spectrogram"]], competition, progress=False)
    both = predict([runs["spectrogram"], runs["eeg"]], competition, progress=False)
    assert not both.fallbacks


# -- the notebook ----------------------------------------------------------------------


def many_at_once(competition: Competition, folder: Path, kinds: list) -> None:
    """Lay out a folder with a recording for each kind, numbered."""
    table = competition.test.loc[np.arange(len(kinds)) % len(competition.test)]
    table = table.assign(**{f"{kind}_id": range(len(kinds)) for kind in ("eeg", "spectrogram")})
    for kind in ("eeg", "spectrogram"):
        (folder / f"test_{kind}s").mkdir(parents=True)
        for i, source in enumerate(
            competition.test[f"{kind}_id"].to_numpy()[np.arange(len(kinds)) % 8]
        ):
            shutil.copy(
                competition.path / f"test_{kind}s" / f"{source}.parquet",
                folder / f"test_{kind}s" / f"{i}.parquet",
            )
    for i, kind in enumerate(kinds):
        kind.spoil(folder / f"test_{kind.recording}s" / f"{i}.parquet")
    table.to_csv(folder / "test.csv", index=False)


def inferred(folder: Path, run: Path, out: Path) -> dict:
    """Run the real notebook by its verb, and read its report."""
    assert main(["infer", "--data", str(folder), "--run", str(run), "--out", str(out)]) == 0
    return json.loads((out / "inference_report.json").read_text())


def assert_as_expected(report: dict, kinds: dict) -> None:
    for eeg_id, kind in kinds.items():
        reason, what = report["fallbacks"].get(eeg_id, ""), report["repaired"].get(eeg_id, "")
        assert (bool(reason), bool(what)) == (bool(kind.lost), bool(kind.mended)), kind.name
        assert kind.lost in reason
        assert kind.mended in what


@pytest.fixture(scope="module")
def spectrogram_run(store, tmp_path_factory) -> Path:
    """A run that reads Kaggle's spectrograms, trained on a small image of them."""
    small = {"view.size": [40, 30], "backbone.variant": "b0", "backbone.weights": "none",
             "data.folds": 2, "stages.0.epochs": 1}  # fmt: skip
    folder = tmp_path_factory.mktemp("runs") / "spectrogram"
    train(override(load_recipe("paper-efficientnetv2b2"), small), store, folder, folds=[0])
    return folder


@pytest.mark.fault("bad test folder, predicted by the notebook")
@pytest.mark.parametrize(
    ("recording", "trained"),
    [("eeg", "run"), pytest.param("spectrogram", "spectrogram_run", marks=pytest.mark.faults)],
)
def test_the_notebook_bears_every_kind_and_odd_ids(
    recording, trained, competition, request, record_property, tmp_path, capfd
):
    run = request.getfixturevalue(trained)
    kinds = [kind for kind in spoiled.FILES if kind.recording == recording]
    record_property("tries", len(kinds))
    folder, out = tmp_path / "hidden", tmp_path / "out"
    many_at_once(competition, folder, kinds)
    ids = spoiled.ids_as_floats(folder).ids
    report = inferred(folder, run, out)
    written = pd.read_csv(out / "submission.csv", dtype=str)
    assert written["eeg_id"].tolist() == ids
    assert_as_expected(report, dict(zip(ids, kinds, strict=True)))
    warning = "got the training prior, not a prediction"
    assert warning in report["warning"]
    assert warning in capfd.readouterr().err
    assert warning in (out / "inference.html").read_text()


@pytest.mark.faults
@pytest.mark.fault("bad test folder, predicted by the notebook")
@pytest.mark.parametrize(
    "spoil",
    [spoiled.no_rows, spoiled.id_of_words, spoiled.id_missing, spoiled.id_that_leads_out,
     spoiled.in_utf16, spoiled.no_folder_of_eegs, spoiled.no_ids_but_in_the_sample],
    ids=lambda spoil: spoil.__name__,
)  # fmt: skip
def test_the_notebook_bears_bad_tables(spoil, run, folder, tmp_path):
    expected = spoil(folder)
    report = inferred(folder, run, tmp_path / "out")
    assert set(report["fallbacks"]) == {str(i) for i in expected.lost}
    written = pd.read_csv(tmp_path / "out" / "submission.csv", dtype=str, keep_default_na=False)
    assert written["eeg_id"].tolist() == [str(i) for i in expected.ids]


@pytest.mark.faults
@pytest.mark.fault("bad test folder, predicted by the notebook")
def test_the_notebook_bears_five_thousand_rows(competition, run, tmp_path):
    folder = copied(competition, tmp_path / "hidden", 8)
    table = competition.test.loc[np.arange(5000) % 8].assign(eeg_id=range(5000))
    for i, source in enumerate(competition.test["eeg_id"].to_numpy()[np.arange(5000) % 8]):
        if i % 100:  # every hundredth is not there
            (folder / "test_eegs" / f"{i}.parquet").hardlink_to(
                folder / f"test_eegs/{source}.parquet"
            )
    table.to_csv(folder / "test.csv", index=False)
    report = inferred(folder, run, tmp_path / "out")
    assert report["rows"] == 5000
    assert list(report["fallbacks"]) == [str(i) for i in range(0, 5000, 100)]
    assert not report["warning"], "one in a hundred is borne in silence"

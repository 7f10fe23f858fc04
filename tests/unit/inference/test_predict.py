"""Prediction with one or several runs: every model counts the same, missing ones are left out."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from hbac_utils.data.layout import SEGMENT
from hbac_utils.ensembling.pooling import load_blend
from hbac_utils.inference.predict import (
    describe_runs,
    find_runs,
    mean_prior,
    open_run,
    open_runs,
    predict,
    weighted_mean,
)
from hbac_utils.labels import VOTE_COLUMNS
from hbac_utils.recipe import load_recipe
from hbac_utils.synthetic.components import UNIT, open_components
from hbac_utils.synthetic.mixtures import Mixtures
from hbac_utils.utils.backend import keras
from hbac_utils.utils.errors import InputError

COLUMNS = list(VOTE_COLUMNS)


def attach(run, folder):
    folder.mkdir(parents=True)
    for name in ("recipe.json", "metrics.json"):
        shutil.copy(run / name, folder)
    return folder


@pytest.mark.parametrize(
    "place", ["hbac-training/run", "notebooks/alice/hbac-training/run", "datasets/alice/weights"]
)
def test_a_run_is_found_in_every_layout_of_kaggles_inputs(run, tmp_path, place):
    attached = attach(run, tmp_path / place)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "metrics.json").write_text("{}")
    # the folders of a competition hold thirty thousand files and are not searched
    attach(run, tmp_path / "competitions" / "hms" / "run")
    (tmp_path / "competitions" / "hms" / "test.csv").touch()
    assert find_runs(tmp_path) == [attached]
    shutil.rmtree(attached)
    with pytest.raises(InputError, match="attach the training notebook's output, or name a run"):
        find_runs(tmp_path)


def test_a_weighted_mean_leaves_out_missing_predictions():
    first, second, nan = [0.8, 0.2], [0.2, 0.8], [np.nan, np.nan]
    values = np.array([[first, first, nan, nan], [second, nan, second, nan]])
    np.testing.assert_allclose(weighted_mean(values), [[0.5, 0.5], first, second, nan])
    np.testing.assert_allclose(weighted_mean(values, [3, 1])[0], [0.65, 0.35])


class Model:
    """Predicts the same for all recordings, or fails."""

    def __init__(self, probabilities=None):
        self.probabilities = probabilities

    def predict_on_batch(self, signals):
        if self.probabilities is None:
            raise MemoryError("not today")
        return np.tile(self.probabilities, (len(signals["eeg"]), 1))


ONE, TWO, THREE = np.eye(6) * 0.4 + 0.1, np.eye(6)[::-1] * 0.4 + 0.1, np.full((6, 6), 1 / 6)


@pytest.fixture(scope="module")
def opened(run):
    return open_run(run)


def with_models(opened, *models, **changes):
    return dataclasses.replace(
        opened, models={f"fold{k}": model for k, model in enumerate(models)}, **changes
    )


def test_every_model_of_every_run_counts_the_same(opened, competition):
    runs = [with_models(opened, Model(ONE[0]), Model(TWO[0])), with_models(opened, Model(THREE[0]))]
    made = predict(runs, competition, progress=False)
    expected = (ONE[0] + TWO[0] + THREE[0]) / 3
    np.testing.assert_allclose(made.submission[COLUMNS], np.tile(expected, (8, 1)))
    assert list(made.by_fold) == ["tiny 1, fold0", "tiny 1, fold1", "tiny 2, fold0"]
    assert [summary["models"] for summary in made.runs] == [2, 1]
    assert not made.warning


def test_a_model_that_fails_is_left_out_and_a_run_that_fails(opened, competition):
    half = with_models(opened, Model(ONE[0]), Model())
    made = predict([half, with_models(opened, Model())], competition, progress=False)
    np.testing.assert_allclose(made.submission[COLUMNS], np.tile(ONE[0], (8, 1)))
    assert [summary["lost"] for summary in made.runs] == [0, 8]
    assert not made.fallbacks


def test_what_no_run_can_predict_gets_the_mean_prior_and_a_reason(opened, own_competition):
    prior = np.array([0.5, 0.1, 0.1, 0.1, 0.1, 0.1])
    runs = [
        with_models(opened, Model(ONE[0]), Model(ONE[0])),
        with_models(opened, Model(ONE[0]), prior=prior),
    ]
    ids = own_competition.test["eeg_id"].tolist()
    own_competition.eeg_path("test", ids[3]).unlink()
    made = predict(runs, own_competition, progress=False)
    assert list(made.fallbacks) == [ids[3]]
    assert "no such file" in made.fallbacks[ids[3]]
    expected = (2 * opened.prior + prior) / 3
    np.testing.assert_allclose(mean_prior(runs), expected)
    np.testing.assert_allclose(made.submission[COLUMNS].iloc[3], expected)
    assert made.summary()["recordings"].tolist() == [7, 1, 8]
    assert made.fallback_table()["eeg_id"].tolist() == [ids[3]]
    assert "WARNING: 1 of 8 recordings (12.5%) got the training prior" in made.verdict()


def test_a_missing_member_of_a_blend_is_refused_before_a_model_is_loaded(
    run, competition, monkeypatch
):
    one = [1.0] * 6
    member = {"name": "other", "run": "another digest", "weights": one}
    content = {
        "method": "mean", "kind": "linear", "members": [member], "scale": one, "bias": [0.0] * 6,
        "kl": 0.5, "windows": 9,
    }  # fmt: skip
    blend = load_blend(json.dumps(content))
    monkeypatch.setattr("hbac_utils.inference.predict.load_classifier", None)
    for call in (lambda: open_runs(run, blend), lambda: predict([run], competition, blend)):
        with pytest.raises(InputError, match="its member other is not among the runs; attach it"):
            call()


def test_runs_with_other_preprocessing_read_their_own_signals(opened, competition):
    class Peak:
        def predict_on_batch(self, signals):
            self.peak = np.abs(signals["eeg"]).max()
            return np.full((len(signals["eeg"]), 6), 1 / 6)

    models = Peak(), Peak()
    clipped = opened.recipe.model_copy(
        update={"data": opened.recipe.data.model_copy(update={"clip": 20.0})}
    )
    runs = [with_models(opened, models[0]), with_models(opened, models[1], recipe=clipped)]
    predict(runs, competition, progress=False)
    assert models[1].peak == 20
    assert models[0].peak > 20


def test_runs_are_described_by_their_scores(opened):
    table = describe_runs([opened, opened])
    assert list(table) == ["run 1", "run 2"]
    assert (table.loc["recipe"] == "tiny").all()
    assert (table.loc["fold models"] == "fold0, fold1").all()
    assert table.loc["out of fold, all votes"].str.startswith("KL ").all()


def test_the_model_in_the_package_reads_mixtures_it_has_not_seen(tmp_path):
    run = open_run("simulated")  # verifies the hashes
    assert run.recipe == load_recipe("simulated")
    assert sum(path.stat().st_size for path in run.path.rglob("*")) < 3_000_000
    made = open_components(tmp_path / "c", 40, 123, run.recipe.data.band, progress=False)
    mixed = Mixtures(made, run.recipe.data.clip).batch(np.random.default_rng(0), 120)
    eeg = (UNIT * mixed.eeg).astype(np.float16)
    outside = np.ones(eeg.shape[1], bool)
    outside[SEGMENT] = False
    (model,) = run.models.values()
    constant = np.tile(mixed.truth.mean(axis=0), (120, 1))
    whole = model.predict({"eeg": eeg}, verbose=0)
    alone = model.predict({"eeg": np.where(outside[:, None], 0, eeg)}, verbose=0)
    divergence = keras.losses.KLDivergence()
    prior, *scores = (float(divergence(mixed.truth, p)) for p in (constant, whole, alone))
    assert max(scores) < 0.6 * prior
